"""A landing folder, with the words that tests use: write something, then sync it into a warehouse or only read it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import duckdb

import pollux_dagster
from pollux_dagster.ingest.formats import FORMATS
from pollux_dagster.ingest.formats.format import Format
from pollux_dagster.ingest.landing_records import ModelOutput, Note, Record, Rejection, to_arrow
from pollux_dagster.ingest.landing_toml import Readings
from pollux_dagster.ingest.load import read_records
from pollux_dagster.ingest.scan import scan
from pollux_dagster.ingest.sync import SyncReport, sync

PACKAGE_TAXONOMY = Path(pollux_dagster.__file__).parent / "taxonomy"
# A folder of public benchmarks with real answers (ru_arena, vicuna_bench); tests that want it are skipped without.
REAL_ANSWERS = Path(os.environ.get("REAL_ANSWERS", "no-real-answers"))
RUBRIC = "0: нет\n1: да"
_Kind = TypeVar("_Kind", bound=Record)


@dataclass
class Landing:
    """A landing folder to write into."""

    landing: Path

    def write(self, path: str, *rows: object) -> Path:
        """A JSONL file of these rows; bytes and text go in as they are."""
        lines = [
            row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode()
            for row in rows
        ]
        return self.write_bytes(path, b"".join(line + b"\n" for line in lines))

    def write_json(self, path: str, document: object) -> Path:
        return self.write_bytes(path, json.dumps(document, ensure_ascii=False, indent=1).encode())

    def write_bytes(self, path: str, body: bytes) -> Path:
        target = self.landing / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body)
        return target


@dataclass
class Files(Landing):
    """A landing folder of which every file is read for itself, without a warehouse.

    It shows what the rows of a file become, before anything between files is decided: here an answer has no known
    prompt yet, and repeated rows are not told from first ones. Reading takes a thousandth of the time of a sync.
    """

    found: list[tuple[str, int, Record]] = field(default_factory=list)
    formats: dict[str, Format] = field(default_factory=dict)
    """What each file is taken for."""

    def read(self) -> None:
        """Read all files, as a sync would: afterwards the other methods tell what was found."""
        files = scan(self.landing).files
        readings = Readings(files, [format_.name for format_ in FORMATS])
        self.found, self.formats = [], {}
        for file in files:
            with file.open() as handle:
                opened = read_records(file, handle, readings.of(file.path))
                self.formats[file.path] = opened.format
                for number, records in opened.rows:
                    self.found += [(file.path, number, record) for record in records]

    def of_kind(self, kind: type[_Kind]) -> list[tuple[str, int, _Kind]]:
        """(file, row, record) of every record of this type."""
        found = [(path, row, record) for path, row, record in self.found if isinstance(record, kind)]
        return sorted(found, key=lambda item: item[:2])

    def rejected(self) -> list[tuple[str, int, str]]:
        """(file, row, reason) of every rejected row."""
        return [(path, row, str(record.reason)) for path, row, record in self.of_kind(Rejection)]

    def details(self) -> list[str]:
        """What is said about every rejected row."""
        return [record.detail for _, _, record in self.of_kind(Rejection)]

    def notes(self) -> list[tuple[str, int, str]]:
        """(file, row, kind) of every note."""
        return [(path, row, record.kind) for path, row, record in self.of_kind(Note)]

    def outputs(self) -> list[tuple[Any, ...]]:
        """(model, prompt, sample, answer) of every answer, without the reasoning that it opens with."""
        outputs = [(row, record) for _, row, record in self.of_kind(ModelOutput)]
        table = to_arrow(ModelOutput, "", [*outputs])
        columns = [table[name].to_pylist() for name in ("model_id", "prompt_id", "sample_index", "answer")]
        found = [(model, prompt, sample, text or "") for model, prompt, sample, text in zip(*columns, strict=True)]
        return sorted(found, key=lambda output: (output[0], output[1] or "", *output[2:]))


@dataclass
class World(Landing):
    """One landing folder and one warehouse."""

    con: duckdb.DuckDBPyConnection

    def sync(self, taxonomy: Path | None = None, landing: Path | None = None) -> SyncReport:
        """Sync the landing folder. Tests that are about the package's own taxonomy name it: it takes time to read."""
        report = sync(self.con, landing or self.landing, run_id="test", taxonomy=taxonomy)
        for file in report.files:
            assert file.accepted + file.rejected == file.row_count, file
            assert file.accepted >= 0, file
        return report

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.con.execute(query).fetchall()

    def rejected(self) -> list[tuple[str, int, str]]:
        """(file, row, reason) of every rejected row."""
        return self.rows("SELECT file_path, row_number, reason FROM raw.rejected_rows ORDER BY ALL")

    def outputs(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT model_id, prompt_id, sample_index, answer FROM raw.model_outputs ORDER BY ALL")


def instruction(prompt_id: object, **fields: object) -> dict[str, object]:
    criteria = [{"criteria_name": "Польза", "rubrics": RUBRIC}]
    return {"prompt_id": prompt_id, "instruction": f"Вопрос {prompt_id}", "criteria": criteria, **fields}


def answer(prompt_id: object, text: object = "ответ", **fields: object) -> dict[str, object]:
    return {"prompt_id": prompt_id, "answer": text, **fields}
