"""Who judged: one row of `meta.judges` per judge identity, written before its first request."""

from __future__ import annotations

import duckdb

from pollux_dagster.core.profiles import JudgeIdentity


def register_judge(con: duckdb.DuckDBPyConnection, identity: JudgeIdentity) -> None:
    """Remember the judge. The first registration stays: an identity never changes under its id."""
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
