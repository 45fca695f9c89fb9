"""What the warehouse knows and nobody could compute again: the golden set and its rounds, the judges, the runs.

Everything else in the file follows from landing folder and ledger. These few tables are copied beside the ledger
whenever they change and read back into a warehouse that is new, so that its file can be lost or set aside.
"""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import duckdb

from pollux_dagster.warehouse.transactions import transaction

TABLES = ("meta.judges", "meta.runs", "judging.golden_requests", "judging.golden_rounds")


def keep_records(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Write the tables to `folder`, one Parquet file each, replaced atomically."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for table in TABLES:
        draft = folder / f".{table}.{os.getpid()}.tmp"
        try:
            draft.touch(mode=0o600)
            con.sql(f"FROM {table}").write_parquet(str(draft), compression="zstd")
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(folder / f"{table}.parquet")
        finally:
            draft.unlink(missing_ok=True)


def restore_records(con: duckdb.DuckDBPyConnection, folder: Path) -> int:
    """Read the tables back into a warehouse that has no judge yet; returns the rows, 0 where there is nothing to do."""
    if con.execute("FROM meta.judges LIMIT 1").fetchone():
        return 0
    restored = 0
    with transaction(con):
        for table in TABLES:
            if (file := folder / f"{table}.parquet").exists():
                insert = f"INSERT INTO {table} BY NAME FROM read_parquet(?)"
                (rows,) = con.execute(insert, [str(file)]).fetchone() or (0,)
                restored += rows
    return restored


def restore_requests(con: duckdb.DuckDBPyConnection, *, judge_id: str) -> int:
    """Give back their requests to judges other than `judge_id` that have verdicts and no request; returns the rows.

    A new warehouse makes requests for today's judge only. The others get those they have a verdict for: theirs is
    a result that stands beside today's, not work to be done.
    """
    forgotten = con.execute(_FORGOTTEN_JUDGES, [judge_id]).fetchall()
    restored = 0
    for (other,) in forgotten:
        for repeat in count():
            (rows,) = con.execute(_RESTORE, {"judge_id": other, "repeat_index": repeat}).fetchone() or (0,)
            restored += rows
            if not rows:
                break
    return restored


_FORGOTTEN_JUDGES = """
SELECT judge_id FROM meta.judges
WHERE judge_id <> ? AND judge_id IN (SELECT judge_id FROM judging.verdicts)
  AND judge_id NOT IN (SELECT judge_id FROM judging.requests)
"""

_RESTORE = """
INSERT INTO judging.requests (
    verdict_key, judge_id, model_id, prompt_id, sample_index, criterion_id, repeat_index
)
SELECT verdict_key, $judge_id, model_id, prompt_id, sample_index, criterion_id, $repeat_index
FROM (
    SELECT *, sha256($judge_id || '|' || answer_key || '|' || criterion_key || '|' || $repeat_index) AS verdict_key
    FROM judging.judgeable
)
WHERE verdict_key IN (SELECT verdict_key FROM judging.verdicts WHERE judge_id = $judge_id)
"""
