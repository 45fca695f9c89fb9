"""Whether an evaluation would find anything to do: what the last publication was made from, against what there is now.

An evaluation without news would build the same tables from the same rows, check and publish them again, and send
nothing. So every publication records a hash of its inputs; while they are the same, there is nothing to do. In doubt
there is news: only what is known to be equal is not evaluated again.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from functools import cache
from pathlib import Path

import duckdb

import dbt_like_sql
import pollux_dagster
from pollux_dagster.app.resources import Resources
from pollux_dagster.ingest.resolve import resolved_state
from pollux_dagster.settings import Settings
from pollux_dagster.warehouse.connection import WarehouseCorruptError, WarehouseLockedError, WarehouseModeError, connect
from pollux_dagster.warehouse.fingerprints import fingerprint
from pollux_dagster.warehouse.provenance import record_run
from pollux_dagster.warehouse.requests import has_pending

PUBLISH_STEP = "publish"
"""The step of `meta.runs` whose details hold the state that a publication was made from."""
_CODE = {".py", ".sql", ".toml", ".txt", ".json"}
_JUDGED_APART = ("judging.golden_requests", "judging.golden_rounds", "judging.exam_rounds", "judging.exam_results")


def tables_configuration(settings: Settings) -> str:
    """The settings that decide what the tables hold, besides the judge's identity."""
    return json.dumps(
        [
            settings.minimum_coverage,
            settings.maximum_rejected_share,
            settings.failing_models,
            settings.human_aggregation,
            settings.calibration_proxy,
            settings.repeats,
            settings.judge_reasoning,
        ]
    )


def record_publication(
    con: duckdb.DuckDBPyConnection, run_id: str, started: datetime, configuration: str, rows: int
) -> None:
    """Record in `meta.runs` what the publication that was just made was made from."""
    record_run(con, run_id, PUBLISH_STEP, started, {"state": _state(con, configuration), "rows": rows})


def published_without_news(settings: Settings) -> str | None:
    """The time of the present publication, where an evaluation would only make it again; None where there is news.

    Opens the warehouse for reading, and does not wait for another process that writes to it.
    """
    use = Resources.of(settings)
    if not settings.warehouse.exists() or not settings.published.exists():
        return None
    try:
        with connect(settings.warehouse, read_only=True, wait_s=0) as con:
            recorded = con.execute(_LAST_PUBLICATION, [PUBLISH_STEP]).fetchone()
            if recorded is None or not _is_settled(con, use, recorded[1], tables_configuration(settings)):
                return None
        return _publication_of(settings.published, recorded[0])
    except (WarehouseLockedError, WarehouseModeError, WarehouseCorruptError, duckdb.Error):
        return None  # another run is under way, or a run will say what is wrong with the file


def _is_settled(con: duckdb.DuckDBPyConnection, use: Resources, state: str, configuration: str) -> bool:
    judge_id = use.judge.identity().judge_id
    ledger = use.ledger.open()
    loaded = {name for (name,) in con.execute("SELECT segment FROM meta.ledger_segments").fetchall()}
    return (
        state == _state(con, configuration)
        and con.execute("SELECT judge_id FROM meta.last_judge").fetchall() == [(judge_id,)]
        and use.landing.is_current(con)
        and not ledger.has_journals()
        and loaded == {str(segment) for segment in ledger.segments()}
        and not has_pending(con, judge_id=judge_id)
    )


def _state(con: duckdb.DuckDBPyConnection, configuration: str) -> str:
    """A hash of what the tables are made from: code, settings, landed rows, verdicts, golden set and exam, judge."""
    segments = con.execute("SELECT segment FROM meta.ledger_segments ORDER BY segment").fetchall()
    judge = con.execute("SELECT judge_id FROM meta.last_judge").fetchall()
    apart = [fingerprint(con, table) for table in _JUDGED_APART]
    inputs = (_code_state(), duckdb.__version__, configuration, resolved_state(con), segments, judge, apart)
    return hashlib.sha256(repr(inputs).encode()).hexdigest()


@cache
def _code_state() -> str:
    """A hash of the code of this package, because another version may compute other tables from the same rows."""
    digest = hashlib.sha256()
    for package in (pollux_dagster, dbt_like_sql):
        root = Path(str(package.__file__)).parent
        for path in sorted(path for path in root.rglob("*") if path.suffix in _CODE and path.is_file()):
            digest.update(f"{path.relative_to(root)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _publication_of(published: Path, run_id: str) -> str | None:
    """When the published file was made, if that run made it and nothing was recorded against it since."""
    with connect(published, read_only=True, wait_s=0) as con:
        found = con.execute(
            "SELECT strftime(published_at, '%Y-%m-%d %H:%M') FROM meta.publication WHERE run_id = ?", [run_id]
        )
        row = found.fetchone()
        is_stale = con.execute("SELECT count(*) > 0 FROM meta.staleness").fetchone()
    return None if row is None or is_stale != (False,) else str(row[0])


_LAST_PUBLICATION = """
SELECT run_id, details->>'state' FROM meta.runs WHERE step = ? ORDER BY position DESC LIMIT 1
"""
