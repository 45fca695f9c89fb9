"""Any JSON object as a row of each landing format: records, or one RowRejected, never another error."""

from __future__ import annotations

import copy

from pollux_dagster.ingest.formats import FORMATS
from pollux_dagster.ingest.formats.context import FileContext
from pollux_dagster.ingest.json_rows import read_line
from pollux_dagster.ingest.rows import RowRejected
from tests.fuzz.fuzz_targets.landing_files import SEEDS as FILES
from tests.fuzz.fuzz_targets.landing_files import check_records

CONTEXTS = (
    FileContext("m.jsonl"),
    FileContext("org__model/samples_task_2025-01-01T00-00-00.jsonl"),
    FileContext(" .json", "m"),
)
SEEDS = tuple(body for body in FILES if body.startswith(b"{") and body.count(b"\n") == 0)


def check(data: bytes) -> None:
    row = read_line(1, data)
    if isinstance(row.fields, RowRejected):
        return
    for reader in (format_.read for format_ in FORMATS if format_.read is not None):
        for context in CONTEXTS:
            try:
                records = reader(copy.deepcopy(row.fields), context)
            except RowRejected:
                continue
            assert records
            check_records([(1, record) for record in records])
