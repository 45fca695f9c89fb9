"""Names that strangers chose: of landing files, models, prompts and runs. None of them leads anywhere on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.core.model_ids import model_partition_key
from pollux_dagster.core.verdicts import Verdict, VerdictStatus
from pollux_dagster.ingest.load import load_file
from pollux_dagster.ingest.scan import scan
from pollux_dagster.ingest.sync import sync
from pollux_dagster.ledger.ledger import Ledger
from pollux_dagster.warehouse.schema import create_schema
from tests.security.hostile import HOSTILE

VERDICT = Verdict(
    verdict_key="k", judge_id="j", status=VerdictStatus.OK, score=1.0, rationale=None, raw_text="1", error=None,
    finish_reason="stop", prompt_tokens=1, completion_tokens=1, cached_tokens=0, attempts=1, latency_s=0.1,
    engine="e", engine_version="v", system_fingerprint=None, server="s", run_id="r",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)  # fmt: skip
SECRET = '{"prompt_id": 1, "answer": "чужая тайна"}\n'


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        create_schema(connection)
        yield connection


def test_nothing_outside_the_landing_folder_is_read(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    landing, outside = tmp_path / "landing", tmp_path / "outside"
    (landing / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.jsonl").write_text(SECRET)
    (landing / "absolute.jsonl").symlink_to(outside / "secret.jsonl")
    (landing / "sub" / "relative.jsonl").symlink_to("../../outside/secret.jsonl")
    (landing / "folder").symlink_to(outside)
    (landing / "dangling.jsonl").symlink_to("nowhere")
    (landing / "loop.jsonl").symlink_to("loop.jsonl")
    (landing / "chain.jsonl").symlink_to("absolute.jsonl")
    report = sync(con, landing, run_id="test", taxonomy=None)
    assert report.files == ()
    assert len(report.ignored) == 6
    assert con.execute("SELECT count(*) FROM landing.model_outputs").fetchone() == (0,)


def test_a_link_inside_the_landing_folder_is_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(SECRET)
    (tmp_path / "b.jsonl").symlink_to("a.jsonl")
    assert [file.path for file in scan(tmp_path).files] == ["a.jsonl", "b.jsonl"]


def test_a_file_that_becomes_a_link_after_the_scan_is_not_followed(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "secret.jsonl").write_text(SECRET)
    landed = tmp_path / "landing" / "a.jsonl"
    landed.write_text("{}")
    (file,) = scan(tmp_path / "landing").files
    landed.unlink()
    landed.symlink_to(tmp_path / "secret.jsonl")
    loaded = load_file(con, file, "hash", "run")
    assert (loaded.row_count, loaded.rejected) == (1, 1)
    assert con.execute("SELECT reason FROM landing.rejected_rows").fetchall() == [("unreadable_file",)]
    assert con.execute("SELECT count(*) FROM landing.model_outputs").fetchone() == (0,)


def test_file_names_of_any_bytes_are_stored_and_never_obeyed(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    names = [b"a'; DROP TABLE landing.files; --.jsonl", b"\xff\xfe.jsonl", b"\x1b[2J.jsonl", b"a\nb.jsonl", b"*.jsonl"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text(SECRET)
    report = sync(con, tmp_path, run_id="test", taxonomy=None)
    assert len(report.files) == len(names)
    stored = {path for (path,) in con.execute("SELECT file_path FROM landing.files").fetchall()}
    assert "\\xff\\xfe.jsonl" in stored


@pytest.mark.parametrize("name", HOSTILE)
def test_a_partition_key_is_short_printable_and_one_per_model(name: str) -> None:
    key = model_partition_key(HOSTILE[name])
    assert key.isprintable()
    assert len(key) <= 100
    assert "..." not in key
    assert key != model_partition_key(HOSTILE[name] + "x")


@pytest.mark.parametrize("name", HOSTILE)
def test_the_ledger_keeps_its_files_in_its_own_folder_whatever_the_run_is_called(name: str, tmp_path: Path) -> None:
    root = tmp_path / "ledger"
    with Ledger(root).writer(HOSTILE[name]) as writer:
        writer.append(VERDICT)
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in made if path.suffix == ".parquet"]
    for path in made:
        assert path.resolve().is_relative_to(root)
        assert path.name.isascii()
        assert len(path.name) < 120
