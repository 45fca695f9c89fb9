"""Whether an evaluation would find anything to do: what the last publication was made from, against what there is now.

An evaluation without news would build the same tables from the same rows, check and publish them again, and send
nothing. So a whole evaluation that publishes records a hash of its inputs; while they are the same, there is nothing to
do. In doubt there is news: only what is known to be equal is not evaluated again. Other ways to publish (one asset,
tables rebuilt) record nothing, because they leave out steps that these inputs go through.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import duckdb

from pollux_dagster.app.resources import Resources, records_folder
from pollux_dagster.core.scope import WHOLE, Scope
from pollux_dagster.core.times import shown_in_sql
from pollux_dagster.ingest.resolve import resolved_state
from pollux_dagster.ingest.scan import scan, unread_lines
from pollux_dagster.runs.interruption import is_stopped_query
from pollux_dagster.settings import Settings
from pollux_dagster.warehouse.connection import WarehouseLockedError, connect
from pollux_dagster.warehouse.fingerprints import fingerprint
from pollux_dagster.warehouse.provenance import record_run
from pollux_dagster.warehouse.requests import SETTLED_RUNS, has_pending, sample_of, settled_failures

PUBLISH_STEP = "publish"
"""The step of `meta.runs` whose details hold the state that a publication was made from."""
_CODE = {".py", ".sql", ".toml", ".txt", ".json"}
_COMPUTING = ("duckdb", "polars", "pyarrow", "numpy", "scipy", "pandas", "great-expectations")
_JUDGED_APART = ("judging.golden_requests", "judging.golden_rounds", "judging.exam_rounds", "judging.exam_results")


def tables_configuration(settings: Settings, scope: Scope = WHOLE) -> str:
    """The code and the settings that decide what the tables hold, besides the judge's identity, and where they go.

    Made when the definitions are loaded: code that is replaced during a run did not make that run's tables.
    """
    return json.dumps(
        [
            _code_state(),
            settings.minimum_coverage,
            settings.maximum_rejected_share,
            settings.failing_models,
            settings.human_aggregation,
            settings.calibration_proxy,
            settings.repeats,
            settings.judge_reasoning,
            [sorted(scope.models), scope.limit],
            *([settings.publication_url] if settings.publication_url else []),  # a new location has no copy yet
        ]
    )


def record_publication(
    con: duckdb.DuckDBPyConnection, run_id: str, started: datetime, configuration: str, published: Path, ledger: Path
) -> None:
    """Record in `meta.runs` what the publication that a whole evaluation has just made was made from, and its file."""
    details: dict[str, object] = {"state": _state(con, configuration, ledger), "files": _files_state(published)}
    record_run(con, run_id, PUBLISH_STEP, started, details)


def published_without_news(settings: Settings, scope: Scope = WHOLE) -> str | None:
    """The time of the present publication, where an evaluation would only make it again; None where there is news.

    Opens the warehouse for reading, waits for no other process and changes nothing.
    """
    if not settings.warehouse.exists():
        return None
    try:
        with connect(settings.warehouse, read_only=True, wait_s=0) as con:
            recorded = con.execute(_LAST_PUBLICATION, [PUBLISH_STEP]).fetchone()
            if recorded is None or not _is_settled(con, settings, scope, state=recorded[1], file_state=recorded[2]):
                return None
            published = settings.sample if sample_of(con) else settings.published
        return _publication_of(published, recorded[0])
    except Exception as error:
        if is_stopped_query(error):
            raise
        return None  # whatever it is, the run that follows will say it, and mark the publication as not renewed


def as_served_last(settings: Settings) -> Settings | None:
    """The settings with the model that one of their servers served when it judged last; None where none of them did.

    What a server serves now is not asked: other weights behind the same address are found when there is something to
    judge, or by `pollux run --force`.
    """
    servers = [urlsplit(url).netloc for url in settings.judge_url.split()]
    try:
        with connect(settings.warehouse, read_only=True, wait_s=0) as con:
            row = con.execute(_SERVED_LAST, {"servers": servers}).fetchone()
    except Exception as error:
        if is_stopped_query(error):
            raise
        return None
    if row is None:
        return None
    judge_id, model = row
    same = (settings, replace(settings, judge_model=model))
    return next((each for each in same if Resources.of(each).judge.identity().judge_id == judge_id), None)


def unread_sentences(settings: Settings) -> list[str]:
    """What of the landing folder is not read, in the words of a run; nothing where all of it is."""
    return unread_lines(scan(settings.landing).ignored)


def settled_sentences(settings: Settings) -> list[str]:
    """What a run says of the failures that it does not ask for again, read from the warehouse; nothing without any."""
    judge_id = Resources.of(settings).judge.identity().judge_id
    try:
        with connect(settings.warehouse, read_only=True, wait_s=0) as con:
            return settled_lines(con, judge_id)
    except duckdb.Error:
        return []


def settled_lines(con: duckdb.DuckDBPyConnection, judge_id: str) -> list[str]:
    """`settled_sentences` of an open warehouse."""
    settled = settled_failures(con, judge_id=judge_id)
    if not settled:
        return []
    by_status = ", ".join(f"{status}: {count}" for status, count in settled.items())
    return [
        f"{sum(settled.values())} requests failed in the same way in {SETTLED_RUNS} runs ({by_status}) and are not "
        "asked for again: they stay failures and count against coverage; `pollux run --force` asks for them"
    ]


def published_without_news_within(settings: Settings, seconds: float) -> str | None:
    """`published_without_news`; None as well where it takes longer, as it may with a large landing folder.

    Asked in a process of its own, which can be ended, and with which its hold on the warehouse ends.
    """
    environment = {**os.environ, **settings.to_environment()}
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() or None


def publication_of_scope(settings: Settings, scope: Scope) -> Path:
    """The publication that a run of the scope makes: of a sample where the warehouse's requests are one, else of all.

    A limit that no instruction exceeds makes no sample, and neither does a run that ended before its requests.
    """
    if not scope.limit:
        return settings.published
    try:
        with connect(settings.warehouse, read_only=True, wait_s=0) as con:
            return settings.sample if sample_of(con) else settings.published
    except (duckdb.Error, WarehouseLockedError):
        return settings.published


def _is_settled(
    con: duckdb.DuckDBPyConnection, settings: Settings, scope: Scope, *, state: str, file_state: str
) -> bool:
    published = settings.sample if sample_of(con) else settings.published
    use = Resources.of(settings)
    judge_id = use.judge.identity().judge_id
    return (
        state == _state(con, tables_configuration(settings, scope), settings.ledger)
        and con.execute("SELECT judge_id FROM meta.last_judge").fetchall() == [(judge_id,)]
        and use.landing.is_current(con)
        and not use.ledger.open().has_journals()
        and not has_pending(con, judge_id=judge_id, model_ids=scope.models)
        and file_state == _files_state(published)
    )


def _state(con: duckdb.DuckDBPyConnection, configuration: str, ledger: Path) -> str:
    """A hash of what the tables are made from: code, settings, landed rows, verdicts, golden set and exam, judge."""
    loaded = con.execute("SELECT segment FROM meta.ledger_segments ORDER BY segment").fetchall()
    judge = con.execute("SELECT judge_id FROM meta.last_judge").fetchall()
    apart = [fingerprint(con, table) for table in _JUDGED_APART]
    kept = [_listed(folder) for folder in (ledger / "segments", records_folder(ledger))]
    inputs = (configuration, resolved_state(con), loaded, judge, apart, kept)
    return hashlib.sha256(repr(inputs).encode()).hexdigest()


def _listed(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of each file; a run reads them and says which is damaged."""
    found = ((path.name, path.stat()) for path in folder.glob("*") if path.is_file())
    return sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)


def _files_state(published: Path) -> str:
    """A hash of the publication and of its picture: one that was damaged or edited since has to be made again."""
    digest = hashlib.sha256()
    for path in (published, published.with_name("leaderboard.png")):
        if path.exists():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@cache
def _code_state() -> str:
    """A hash of the code, because another version may compute other tables from the same rows."""
    digest = hashlib.sha256(repr((sys.version, [version(package) for package in _COMPUTING])).encode())
    for package in ("pollux_dagster", "dbt_like_sql"):
        root = Path(str(files(package)))
        for path in sorted(path for path in root.rglob("*") if path.suffix in _CODE and path.is_file()):
            digest.update(f"{path.relative_to(root)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _publication_of(published: Path, run_id: str) -> str | None:
    """When the published file was made, if that run made it and nothing was recorded against it since."""
    with connect(published, read_only=True, wait_s=0) as con:
        found = con.execute(_PUBLISHED_BY, [run_id])
        row = found.fetchone()
        is_stale = con.execute("SELECT count(*) > 0 FROM meta.staleness").fetchone()
    return None if row is None or is_stale != (False,) else str(row[0])


_PUBLISHED_BY = f"SELECT {shown_in_sql('published_at')} FROM meta.publication WHERE run_id = ?"  # noqa: S608 - ours
_LAST_PUBLICATION = """
SELECT run_id, details->>'state', details->>'files' FROM meta.runs WHERE step = ? ORDER BY position DESC LIMIT 1
"""


_SERVED_LAST = """
SELECT judge_id, model FROM meta.judges WHERE judge_id IN (FROM meta.last_judge) AND judge_id IN (
    SELECT judge_id FROM judging.verdicts WHERE list_contains($servers::VARCHAR[], server)
)
"""


if __name__ == "__main__":
    print(published_without_news(Settings.from_environment()) or "")  # noqa: T201
