"""A landing folder and a warehouse, with the two words that tests use: write something, sync."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

import pollux_dagster
from pollux_dagster.ingest.sync import SyncReport, sync

PACKAGE_TAXONOMY = Path(pollux_dagster.__file__).parent / "taxonomy"
# A folder of public benchmarks with real answers (ru_arena, vicuna_bench); tests that want it are skipped without.
REAL_ANSWERS = Path(os.environ.get("REAL_ANSWERS", "no-real-answers"))
RUBRIC = "0: нет\n1: да"


@dataclass
class World:
    """One landing folder and one warehouse."""

    landing: Path
    con: duckdb.DuckDBPyConnection

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

    def sync(self, taxonomy: Path | None = PACKAGE_TAXONOMY, landing: Path | None = None) -> SyncReport:
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
