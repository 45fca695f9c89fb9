"""Whatever bytes land, a sync ends, and accepted + rejected is the number of rows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pollux_dagster.ingest import load
from pollux_dagster.ingest.formats.context import context_of
from pollux_dagster.warehouse.schema import create_schema
from tests.ingest.landing_world import Files, World, answer, instruction

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "prompt_id", "answer", "instruction", "criteria", "model_id", "sample_index", "question_id",
    "choices", "turns", "doc_id", "arguments", "resps", "target", "custom_id", "response", "error",
    "output", "generator", "score", "criteria_name", "rubrics", "criteria_score", "annotator",
    "reference_answer", "task_type", "name", "scale", "messages", "conversations", "prompt", "completion", "uid",
    "result", "conversation_a", "conversation_b", "model_a", "model_b", "id", "epoch", "input", "doc", "model_response",
    "instance", "origin_prompt", "prediction", "inputs", "meta", "data", "annotations", "fields", "responses",
)  # fmt: skip
ROWS = st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=8), min_size=1, max_size=5)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, as_lines=st.booleans(), cut=st.integers(0, 40), flip=st.integers(0, 400))
def test_rows_of_random_fields_are_accepted_or_rejected(
    world: World, rows: list[dict[str, object]], as_lines: bool, cut: int, flip: int
) -> None:
    text = "\n".join(json.dumps(row) for row in rows) if as_lines else json.dumps(rows)
    body = bytearray(text.encode())
    if flip < len(body):
        body[flip] ^= 0x81
    world.write_bytes("x.jsonl", bytes(body[: len(body) - cut]))
    report = world.sync(taxonomy=None)
    assert report.rows >= 1
    assert report.rejected == sum(report.rejected_by_reason.values())
    assert not world.rows("SELECT detail FROM raw.rejected_rows WHERE detail LIKE '%the reader failed%'")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from([b"", b"PAR1", b"\x1f\x8b", b"{", b"[", b"prompt_id,answer\n"]))
def test_random_bytes_are_rejected_and_nothing_else(files: Files, body: bytes, opening: bytes) -> None:
    files.write_bytes("x.bin", opening + body)
    files.read()  # no reader fails
    assert files.rejected() or files.outputs()


def test_a_reader_that_fails_on_a_file_costs_that_file_only(asked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.write("m.jsonl", answer(1))
    asked.write("n.jsonl", answer(2))

    def failing(path: str, document: object) -> object:
        if path == "m.jsonl":
            raise KeyError("a bug")
        return context_of(path, document)

    monkeypatch.setattr(load, "context_of", failing)
    asked.sync()
    assert asked.rejected() == [("m.jsonl", 0, "unreadable_file")]
    assert [m for m, _, _, _ in asked.outputs()] == ["n"]


def test_a_file_that_changes_while_it_is_read_keeps_its_old_rows_and_is_read_next_time(
    asked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = asked.write("m.jsonl", answer(1, "старый"))
    asked.sync()
    asked.write("m.jsonl", answer(1, "новый ответ"))

    def touching(path_: str, document: object) -> object:
        os.utime(path, ns=(7, 7))
        return context_of(path_, document)

    with monkeypatch.context() as patch:
        patch.setattr(load, "context_of", touching)
        report = asked.sync()
    assert [p for p, _ in report.ignored] == ["m.jsonl"]
    assert asked.outputs() == [("m", "1", 0, "старый")]
    assert asked.sync().loaded == ("m.jsonl",)
    assert asked.outputs() == [("m", "1", 0, "новый ответ")]


SYNC = """
import sys, pathlib, duckdb
from pollux_dagster.ingest.sync import sync
with duckdb.connect(sys.argv[1]) as con:
    print("started", flush=True)
    sync(con, pathlib.Path(sys.argv[2]), run_id="r", taxonomy=None)
    print("done", flush=True)
"""


@pytest.mark.slow
def test_a_sync_killed_anywhere_leaves_a_warehouse_the_next_one_finishes(tmp_path: Path) -> None:
    landing, database = tmp_path / "landing", tmp_path / "w.duckdb"
    landing.mkdir()
    with duckdb.connect(str(database)) as con:
        create_schema(con)
        world = World(landing, con)
        world.write("instructions.jsonl", *(instruction(n) for n in range(50)))
        for model in range(20):
            world.write(f"m{model}.jsonl", *(answer(n, "слово " * 200) for n in range(50)))
    for delay in (0.0, 0.05, 0.15, 0.4):
        command = [sys.executable, "-c", SYNC, str(database), str(landing)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "started\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
    with duckdb.connect(str(database)) as con:
        world = World(landing, con)
        world.sync(taxonomy=None)
        assert world.rejected() == []
        assert world.rows("SELECT count(*) FROM raw.model_outputs") == [(1000,)]
        assert world.rows("SELECT count(*) FROM landing.model_outputs") == [(1000,)]
