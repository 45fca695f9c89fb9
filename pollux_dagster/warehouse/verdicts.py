"""The ledger's projection: `judging.verdicts` is whatever the ledger's segments say, key by key.

An ok verdict is never replaced by a failure, a later one replaces an earlier one of the same kind, and the
rule does not depend on the order of loading: segments may arrive, be merged by compaction and be loaded
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from pollux_dagster.warehouse.transactions import transaction


def load_verdicts(con: duckdb.DuckDBPyConnection, segments: Sequence[str | Path]) -> int:
    """Bring judging.verdicts up to date with the ledger's Parquet `segments`; returns rows added or changed.

    Segments loaded before are not read again. Each new one is loaded and remembered in one transaction, so a
    killed load goes on where it stopped and memory holds one segment. A verdict that no segment holds any more,
    because its segment was damaged and set aside, leaves the table: it is asked for again, and the ledger is whole.
    """
    listed = [str(segment) for segment in segments]
    loaded = {name for (name,) in con.execute("SELECT segment FROM meta.ledger_segments").fetchall()}
    if gone := loaded.difference(listed):
        loaded = _forget_segments(con, loaded, gone, listed)
    changed = 0
    for segment in listed:
        if segment in loaded:
            continue
        with transaction(con):
            (merged,) = con.execute(_MERGE_SEGMENT, [segment]).fetchone() or (0,)
            con.execute(_REMEMBER_SEGMENT, {"segment": segment})
        loaded.add(segment)
        changed += merged
    return changed


def _forget_segments(
    con: duckdb.DuckDBPyConnection, loaded: set[str], gone: set[str], listed: Sequence[str]
) -> set[str]:
    """Drop what only the segments that are `gone` held; returns the segments that still count as loaded.

    After a merge nothing is dropped. Otherwise every segment is loaded again: an older verdict may come back.
    """
    held = "SELECT verdict_key, created_at, run_id FROM read_parquet($listed)" if listed else "SELECT NULL, NULL, NULL"
    with transaction(con):
        con.execute(
            "DELETE FROM meta.ledger_segments WHERE list_contains($gone::VARCHAR[], segment)", {"gone": [*gone]}
        )
        parameters = {"listed": [*listed]} if listed else {}
        (dropped,) = con.execute(_DELETE_UNHELD.format(held=held), parameters).fetchone() or (0,)
        if dropped:
            con.execute("DELETE FROM meta.ledger_segments")
    return set() if dropped else loaded - gone


_DELETE_UNHELD = """
DELETE FROM judging.verdicts AS kept WHERE NOT EXISTS (
    SELECT 1 FROM ({held}) AS held (verdict_key, created_at, run_id)
    WHERE held.verdict_key = kept.verdict_key AND held.created_at = kept.created_at AND held.run_id = kept.run_id
)
"""

_REMEMBER_SEGMENT = """
INSERT INTO meta.ledger_segments SELECT $segment, count(*), now() FROM read_parquet($segment)
"""

# "Better" compares (ok, time, run): the same winner whichever of two segments is loaded first.
_MERGE_SEGMENT = """
MERGE INTO judging.verdicts AS kept
USING (
    SELECT
        verdict_key, judge_id, status, score, rationale, raw_text, error, finish_reason, prompt_tokens,
        completion_tokens, cached_tokens, attempts, latency_s, engine, engine_version, system_fingerprint,
        server, run_id, created_at
    FROM read_parquet(?)
    QUALIFY row_number() OVER (
        PARTITION BY verdict_key ORDER BY status = 'ok' DESC, created_at DESC, run_id DESC
    ) = 1
) AS new
ON kept.verdict_key = new.verdict_key
WHEN MATCHED
    AND (new.status = 'ok', new.created_at, new.run_id) > (kept.status = 'ok', kept.created_at, kept.run_id)
THEN UPDATE SET
    judge_id = new.judge_id, status = new.status, score = new.score, rationale = new.rationale,
    raw_text = new.raw_text, error = new.error, finish_reason = new.finish_reason,
    prompt_tokens = new.prompt_tokens, completion_tokens = new.completion_tokens,
    cached_tokens = new.cached_tokens, attempts = new.attempts, latency_s = new.latency_s,
    engine = new.engine, engine_version = new.engine_version, system_fingerprint = new.system_fingerprint,
    server = new.server, run_id = new.run_id, created_at = new.created_at
WHEN NOT MATCHED THEN INSERT (
    verdict_key, judge_id, status, score, rationale, raw_text, error, finish_reason, prompt_tokens,
    completion_tokens, cached_tokens, attempts, latency_s, engine, engine_version, system_fingerprint, server,
    run_id, created_at
) VALUES (
    new.verdict_key, new.judge_id, new.status, new.score, new.rationale, new.raw_text, new.error,
    new.finish_reason, new.prompt_tokens, new.completion_tokens, new.cached_tokens, new.attempts,
    new.latency_s, new.engine, new.engine_version, new.system_fingerprint, new.server,
    new.run_id, new.created_at
)
"""
