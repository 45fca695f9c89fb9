"""Inputs that are small to send and large to read: each is refused or read within a stated bound on memory.

Every reading runs in a process of its own that reports its peak: sparse files and repetitive bodies make the inputs
at test time, so that nothing large is stored.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pollux_dagster.ingest import limits
from pollux_dagster.ingest.load import hash_file
from pollux_dagster.ingest.parquet_probe import _environment, _prober
from pollux_dagster.ingest.scan import scan
from tests.ingest.landing_world import World, answer, instruction

GOOD = json.dumps(answer(1)).encode() + b"\n"
READ = """
import json, resource, sys
from pathlib import Path
from pollux_dagster.ingest import limits
from pollux_dagster.ingest.containers import open_container
from pollux_dagster.ingest.rows import RowRejected
from pollux_dagster.ingest.scan import scan
import pyarrow.parquet
for name, value in json.loads(sys.argv[2]).items():
    setattr(limits, name, value)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(file,) = scan(Path(sys.argv[1])).files
rows, reasons = 0, []
with file.absolute.open("rb") as handle:
    for row in open_container(file, handle).rows:
        rows += 1
        if isinstance(row.fields, RowRejected):
            reasons.append(row.fields.reason.value)
        row = None
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"rows": rows, "reasons": sorted(set(reasons)), "mib": (peak - before) / 1024}))
"""


def read(landing: Path, **changed_limits: int) -> dict[str, object]:
    """Rows, reasons and the MiB that reading the one file in `landing` added to the peak of a fresh process."""
    command = [sys.executable, "-c", READ, str(landing), json.dumps(changed_limits)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    said: dict[str, object] = json.loads(done.stdout)
    return said


def sparse(path: Path, size: int, head: bytes = b"", tail: bytes = b"") -> Path:
    """A file of `size` bytes that takes no disk between its head and its tail."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
        file.seek(size - len(tail))
        file.write(tail)
    return path


@pytest.mark.parametrize(
    "head",
    [
        b'{"prompt_id": 1, "answer": "',
        *(pytest.param(head, marks=pytest.mark.slow) for head in (b"[", b"", b"prompt_id,answer\t")),
    ],
)
def test_two_gigabytes_of_one_line_are_refused_unread(tmp_path: Path, head: bytes) -> None:
    sparse(tmp_path / "line.jsonl", 2 * 1024 * limits.MIB, head)
    said = read(tmp_path)
    assert (said["rows"], said["reasons"]) == (1, ["too_large"])
    assert isinstance(said["mib"], float) and said["mib"] < 16


@pytest.mark.parametrize("size", [2 * 1024 * limits.MIB, limits.MAX_FILE_BYTES + 1])
def test_a_refused_file_is_hardly_read_and_not_hashed(tmp_path: Path, size: int) -> None:
    sparse(tmp_path / "line.jsonl", size, b'{"prompt_id": 1, "answer": "')
    (file,) = scan(tmp_path).files
    before = bytes_read()
    assert hash_file(file).startswith("refused:")
    assert bytes_read() - before < 4 * limits.MAX_LINE_BYTES


def bytes_read() -> int:
    """What this process has asked the system for, from files, pipes and sockets."""
    return int(Path("/proc/self/io").read_text().split()[1])


OTHER_LIMITS = {"MAX_FILE_BYTES": 80 * limits.MIB, "MAX_UNPACKED_RATIO": 10**6}


@pytest.mark.parametrize("changed", [{}, pytest.param(OTHER_LIMITS, marks=pytest.mark.slow)])
def test_a_gzip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, changed: dict[str, int]) -> None:
    bomb = gzip.compress(bytes(64 * limits.MIB)) * 16
    (tmp_path / "answers.jsonl").write_bytes(bomb)
    said = read(tmp_path, **changed)
    assert (said["rows"], said["reasons"]) == (1, ["too_large"])
    assert isinstance(said["mib"], float) and said["mib"] < 16


def test_a_refused_file_that_becomes_another_refused_file_says_so(world: World) -> None:
    world.write_bytes("a.jsonl", b"7z\xbc\xaf\x27\x1c")
    world.sync()
    assert world.rejected() == [("a.jsonl", 0, "compressed")]
    world.write_bytes("a.jsonl", b"%PDF-1")
    world.sync()
    assert world.rejected() == [("a.jsonl", 0, "unknown_format")]


@pytest.mark.slow
def test_a_line_over_the_limit_is_passed_over_without_being_held(tmp_path: Path) -> None:
    sparse(tmp_path / "answers.jsonl", 400 * limits.MIB, GOOD, b"\n" + GOOD)
    said = read(tmp_path)
    assert (said["rows"], said["reasons"]) == (3, ["too_large"])
    assert isinstance(said["mib"], float) and said["mib"] < 4 * limits.MAX_LINE_BYTES / limits.MIB


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'{"prompt_id": 1, "answer": ' + b"[]," * 7_000_000 + b"1}", id="one row"),
        pytest.param(b"[" + b"{}," * 7_000_000 + b"{}]", id="one document", marks=pytest.mark.slow),
    ],
)
def test_json_that_would_become_millions_of_objects_is_refused_unparsed(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "answers.json").write_bytes(text)
    said = read(tmp_path)
    assert (said["rows"], said["reasons"]) == (1, ["too_large"])
    assert isinstance(said["mib"], float) and said["mib"] < 4 * len(text) / limits.MIB + 16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "rows", "reasons"),
    [
        (b"prompt_id,answer\n1,a\n2,b\n" + b'3,"' + b'c\n","' * 300_000, 300_003, ["invalid_csv", "wrong_type"]),
        (b"prompt_id,answer\n" + b'b","\n' * 300_000, 300_000, ["invalid_csv"]),
        (b'prompt_id,answer\n1,"' + b"c\n" * 1_500_000, 1_500_000, ["invalid_csv", "wrong_type"]),
        (b'prompt_id,answer\n1,"' + b"c" * 3_000_000 + b"\n2,b\n", 2, ["too_large"]),
        (b"prompt_id" + b",x" * 10_000_000 + b"\n1,2\n", 1, ["unknown_format"]),
    ],
    ids=[
        "a quote that never closes",
        "each line opens one",
        "text after a quote",
        "a long line",
        "ten million columns",
    ],
)
def test_a_csv_record_without_end_is_given_up_and_the_next_line_read(
    tmp_path: Path, body: bytes, rows: int, reasons: list[str]
) -> None:
    (tmp_path / "answers.csv").write_bytes(body)
    said = read(tmp_path, MAX_LINE_BYTES=limits.MIB)
    assert (said["rows"], said["reasons"]) == (rows, reasons)
    assert isinstance(said["mib"], float) and said["mib"] < 64


@pytest.mark.slow
def test_a_parquet_dictionary_does_not_unfold_into_memory(tmp_path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), pa.array(["я" * 500_000]))
    pq.write_table(pa.table({"prompt_id": list(range(500)), "answer": text}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < limits.MIB
    said = read(tmp_path)
    assert (said["rows"], said["reasons"]) == (500, [])
    assert isinstance(said["mib"], float) and said["mib"] < 300
    said = read(tmp_path, MAX_PARQUET_BYTES=100 * limits.MIB)
    assert (said["rows"], said["reasons"]) == (500, ["too_large"])


@pytest.mark.slow
def test_parquet_text_in_a_newer_encoding_does_not_unfold_into_memory(tmp_path: Path) -> None:
    texts = ["я" * 500_000 + str(number) for number in range(600)]
    table = pa.table({"prompt_id": list(range(600)), "answer": texts})
    encoding = {"answer": "DELTA_BYTE_ARRAY"}
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False, column_encoding=encoding, compression="zstd")
    said = read(tmp_path)
    assert (said["rows"], said["reasons"]) == (600, [])
    assert isinstance(said["mib"], float) and said["mib"] < 300


@pytest.mark.slow
def test_a_parquet_run_length_does_not_unfold_into_memory(tmp_path: Path) -> None:
    table = pa.table({"prompt_id": [1], "criteria": pa.array([[1] * 4_000_000], pa.list_(pa.int64()))})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    said = read(tmp_path)
    assert (said["rows"], said["reasons"]) == (1, ["too_large"])
    assert isinstance(said["mib"], float) and said["mib"] < 300


def test_a_parquet_footer_that_claims_too_many_rows_is_refused(tmp_path: Path) -> None:
    nothing = pa.table({"prompt_id": pa.nulls(2_000_000, pa.int64()), "answer": pa.nulls(2_000_000, pa.string())})
    pq.write_table(nothing, tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < limits.MIB
    assert read(tmp_path, MAX_PARQUET_ROWS=1_000_000)["reasons"] == ["too_large"]


def _one_text() -> pa.Table:
    return pa.table({"prompt_id": [1], "answer": ["a" * 150_000_000]})


def _list_of_nulls() -> pa.Table:
    return pa.table({"prompt_id": [1], "criteria": _list(pa.nulls(30_000_000, pa.int64()))})


def _list_of_one_text() -> pa.Table:
    indices = pa.array(np.zeros(20_000_000, dtype=np.int32))
    return pa.table({"prompt_id": [1], "criteria": _list(pa.DictionaryArray.from_arrays(indices, ["я" * 100]))})


def _texts_that_repeat_the_one_before() -> pa.Table:
    return pa.table({"prompt_id": list(range(32)), "answer": ["a" * 8_000_000] * 32})


def _wide_nulls() -> pa.Table:
    return pa.table({"prompt_id": list(range(1024)), "answer": pa.nulls(1024, pa.binary(200_000))})


def _list(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


PLAIN: dict[str, Any] = {"use_dictionary": False, "compression": "brotli"}
BOMBS: dict[str, tuple[Callable[[], pa.Table], dict[str, Any]]] = {
    "one text in a page": (_one_text, PLAIN),
    "a list of nulls": (_list_of_nulls, {"compression": "brotli", "data_page_size": 2**31 - 1}),
    "a list of one text": (_list_of_one_text, {"compression": "brotli"}),
    "delta encoding": (_texts_that_repeat_the_one_before, {**PLAIN, "column_encoding": {"answer": "DELTA_BYTE_ARRAY"}}),
    "nulls of a fixed length": (_wide_nulls, PLAIN),
}


# The limit is on the memory of the process that looks at the file, whatever it is that unfolds.
LIKE_OTHERS = set(BOMBS) - {"one text in a page"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LIKE_OTHERS else ()) for name in BOMBS]
)
def test_a_parquet_file_that_unfolds_in_its_pages_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    make, options = BOMBS[name]
    pq.write_table(make(), tmp_path / "a.parquet", write_statistics=False, **options)
    assert (tmp_path / "a.parquet").stat().st_size < 20_000
    said = read(tmp_path, MAX_PARQUET_MEMORY=96 * limits.MIB)
    assert (said["rows"], said["reasons"]) == (1, ["too_large"])
    assert isinstance(said["mib"], float) and said["mib"] < 96


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _deep_footer(depth: int) -> bytes:
    """A Parquet file of nothing but a schema nested `depth` times, in Thrift's compact protocol."""
    group = b"\x35\x00\x18\x01g\x15\x02\x00"  # required, named g, one child
    leaf = b"\x15\x02\x25\x00\x18\x01v\x00"  # INT32, required, named v
    footer = b"\x15\x02\x19\xfc" + _varint(depth + 1) + group * depth + leaf + b"\x16\x00\x19\x0c\x00"
    return b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"


@pytest.mark.parametrize("depth", [pytest.param(1, marks=pytest.mark.slow), 100_000])
def test_a_schema_nested_beyond_the_readers_stack_costs_its_own_file(tmp_path: Path, depth: int) -> None:
    (tmp_path / "a.parquet").write_bytes(_deep_footer(depth))
    said = read(tmp_path)
    assert (said["rows"], said["reasons"]) == (1, ["unreadable_file"] if depth > 1 else ["empty_file"])


@pytest.mark.slow
def test_a_parquet_file_that_takes_too_long_is_refused(tmp_path: Path) -> None:
    numbers = pa.table({"prompt_id": list(range(1000)), **{f"c{n}": pa.nulls(1000, pa.int64()) for n in range(100)}})
    pq.write_table(numbers, tmp_path / "a.parquet")
    assert read(tmp_path, MAX_PARQUET_CPU_S=60)["reasons"] == []
    assert read(tmp_path, MAX_PARQUET_CPU_S=0)["reasons"] == ["too_large"]


def test_the_process_that_looks_at_a_parquet_file_knows_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLLUX_JUDGE_API_KEY", "secret")
    assert "secret" not in str(_environment())


def test_files_are_read_by_children_of_one_process_and_of_another_where_it_is_gone(world: World) -> None:
    world.write("instructions.jsonl", instruction(1))
    used = []
    for number in range(3):
        rows = pa.table({"prompt_id": [1], "model_id": [f"m{number}"], "answer": ["x"]})
        pq.write_table(rows, world.landing / f"{number}.parquet")
        world.sync(taxonomy=None)
        assert len(world.outputs()) == number + 1
        process = _prober(os.getpid())._process
        assert process is not None
        used.append(process)
        if number == 1:
            process.kill()
    assert used[0] is used[1] is not used[2]


ASK = """
import os, sys
from pollux_dagster.ingest.parquet_probe import Kind, _Prober
prober = _Prober()
never = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)  # nobody writes to it: who opens it again to read waits
prober.read(never, 2, Kind.PARQUET)
"""


def test_a_killed_process_leaves_nobody_reading_for_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    asking = psutil.Popen([sys.executable, "-c", ASK, str(pipe)])
    while len(started := asking.children(recursive=True)) < 2:
        time.sleep(0.02)
    asking.kill()
    asking.wait()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive


def test_a_sync_over_large_files_keeps_the_rest_of_the_folder(world: World) -> None:
    world.write("instructions.jsonl", instruction(1))
    world.write("m.jsonl", answer(1))
    sparse(world.landing / "line.jsonl", 2 * 1024 * limits.MIB, b"{")
    world.write_bytes("bomb.jsonl", gzip.compress(bytes(128 * limits.MIB)))
    os.mkfifo(world.landing / "pipe.jsonl")
    report = world.sync(taxonomy=None)
    assert world.rejected() == [("bomb.jsonl", 0, "too_large"), ("line.jsonl", 0, "too_large")]
    assert len(world.outputs()) == 1
    assert [path for path, _ in report.ignored] == ["pipe.jsonl"]
