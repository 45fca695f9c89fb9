"""Who judged and what each step of a run did: `meta.judges` and `meta.runs`, for tracing a number."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import orjson

from pollux_dagster.core.profiles import JudgeIdentity


def register_judge(con: duckdb.DuckDBPyConnection, identity: JudgeIdentity) -> None:
    """Record the judge. The first registration stays, because an identity never changes under its id."""
    con.execute(
        "INSERT INTO meta.judges VALUES (?, ?, ?, ?, ?, ?, now()) ON CONFLICT DO NOTHING",
        [
            identity.judge_id,
            identity.judge_name,
            identity.model,
            identity.weights_revision,
            identity.is_demonstration,
            identity.canonical_json(),
        ],
    )


def record_run(
    con: duckdb.DuckDBPyConnection, run_id: str, step: str, started: datetime, details: dict[str, object]
) -> None:
    """Add one row to `meta.runs` with what `step` of the run did."""
    con.execute(
        "INSERT INTO meta.runs SELECT ?, ?, ?, ?, ?, (SELECT coalesce(max(position), 0) + 1 FROM meta.runs)",
        [run_id, step, started, datetime.now(UTC), orjson.dumps(details, default=str).decode()],
    )
