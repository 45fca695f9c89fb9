"""Any bytes as a Parquet file. The seeds are real files, since no fuzzer invents a footer that parses."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from pollux_dagster.ingest.parquet_rows import read_parquet
from pollux_dagster.ingest.rows import RowRejected


def _file(table: pa.Table, **options: str | bool) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


_ANSWERS = {"prompt_id": [1, 2, 3], "answer": ["a", None, "b" * 40]}
_CRITERIA = {"prompt_id": [1], "criteria": [[{"criteria_name": "c", "rubrics": "0: a\n1: b"}]], "m": [b"\xff"]}
SEEDS = (
    _file(pa.table(_ANSWERS), compression="none"),
    _file(pa.table(_ANSWERS), compression="none", use_dictionary=False),
    _file(pa.table(_CRITERIA), compression="zstd"),
)


def check(data: bytes) -> None:
    for number, row in enumerate(read_parquet(io.BytesIO(b"PAR1" + data[4:]))):
        assert isinstance(row.fields, dict | RowRejected)
        assert number < 1_000_000
        if number >= 10_000:
            return  # a footer may claim rows by the million, each of them one rejected row
