"""The file analysts read: built beside the target under another name, then put in its place in one rename.

Readers open it read-only; one that is open keeps the file it opened, and the next open finds the new one.
Nothing here decides whether publishing is allowed: the blocking checks come before.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import filelock
import orjson

from pollux_dagster.warehouse.builds import outdated_tables
from pollux_dagster.warehouse.sql_models import SqlModel
from pollux_dagster.warehouse.statistics import TABLES
from pollux_dagster.warehouse.transactions import transaction

# What it takes to walk a number back: mart → scores → verdict → answer → landing file → run.
_TABLES = (
    "raw.instructions",
    "raw.criteria",
    "raw.instruction_criteria",
    "raw.model_outputs",
    "raw.human_scores",
    "raw.rejected_rows",
    "landing.files",
    "meta.judges",
    "meta.runs",
    "meta.column_lineage",
    *(f"statistics.{table}" for table in TABLES),
)
_ATTACHED = "publication"


@dataclass(frozen=True, slots=True)
class PublicationReport:
    """`row_counts` by table as published; `size_bytes` of the file now at `path`."""

    path: Path
    judge_names: tuple[str, ...]
    row_counts: Mapping[str, int]
    views: tuple[str, ...]
    size_bytes: int

    @property
    def tables(self) -> int:
        """Tables in the file, views not counted."""
        return len(self.row_counts)

    @property
    def rows(self) -> int:
        """Rows of all tables together."""
        return sum(self.row_counts.values())


class PublicationBusyError(RuntimeError):
    """Another process is publishing to the same target."""


class MixedTablesError(RuntimeError):
    """Some tables were built from others that have been rebuilt since, with other rows."""


def publish(
    con: duckdb.DuckDBPyConnection,
    target: Path,
    *,
    models: Sequence[SqlModel],
    run_id: str,
    package_version: str,
    git_commit: str | None,
) -> PublicationReport:
    """Replace `target` with a snapshot of `models` and all that explains them. Its mode is 0600.

    `models` are in the order of `load_models`; tables of models that no longer exist are not published.
    The snapshot is taken in one transaction. Until the final rename the last good file is untouched; what a
    killed publication left behind is removed by the next one.

    Raises:
        PublicationBusyError: another process is publishing to `target` right now.
        MixedTablesError: a table is not built from the tables it would be published with.
        duckdb.CatalogException: a table to publish does not exist; build the models first.
    """
    target = target.absolute()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _only_publisher(target), _scratch_folder(target) as scratch:
        draft = scratch / target.name
        with _attached(con, draft):
            report = _copy_snapshot(con, target, models, run_id, package_version, git_commit)
        draft.chmod(0o600)
        _fsync(draft)
        draft.replace(target)
        _fsync(target.parent)
    return PublicationReport(target, report.judge_names, report.row_counts, report.views, target.stat().st_size)


def _copy_snapshot(
    con: duckdb.DuckDBPyConnection,
    target: Path,
    models: Sequence[SqlModel],
    run_id: str,
    package_version: str,
    git_commit: str | None,
) -> PublicationReport:
    tables = [model.table for model in models if model.materialized == "table"]
    views = [model for model in models if model.materialized == "view"]
    with transaction(con):
        _refuse_mixed_tables(con, [*tables, *(f"statistics.{table}" for table in TABLES)])
        row_counts: dict[str, int] = {}
        for table in (*_TABLES, *tables):
            row_counts[table] = _copy(con, table, f"FROM {table}")
        row_counts["judging.verdicts"] = _copy(con, "judging.verdicts", _PUBLISHED_VERDICTS)
        row_counts["meta.check_results"] = _copy(con, "meta.check_results", _LATEST_CHECKS)
        judge_names = _write_publication_row(con, run_id, package_version, git_commit, row_counts)
        _create_views(con, views)
    return PublicationReport(target, judge_names, row_counts, tuple(view.table for view in views), 0)


def _refuse_mixed_tables(con: duckdb.DuckDBPyConnection, tables: Sequence[str]) -> None:
    if outdated := outdated_tables(con, tables):
        count = len({table for table, _ in outdated})
        told = ", ".join(f"{table} from an earlier {source}" for table, source in outdated[:5])
        raise MixedTablesError(
            f"expected tables of one state, but the sources of {count} were rebuilt since, with other rows: {told}. "
            "Another run is building; it publishes when it is done. If none is, run `pollux run` again"
        )


def _copy(con: duckdb.DuckDBPyConnection, table: str, query: str) -> int:
    schema = table.split(".")[0]
    con.execute(f"CREATE SCHEMA IF NOT EXISTS {_ATTACHED}.{schema}")
    (count,) = con.execute(f"CREATE TABLE {_ATTACHED}.{table} AS {query}").fetchone() or (0,)
    return int(count)


def _create_views(con: duckdb.DuckDBPyConnection, views: Sequence[SqlModel]) -> None:
    """Their SQL names no database: run from inside the publication it means the publication's tables."""
    (warehouse,) = con.execute("SELECT current_database()").fetchone() or ("",)
    con.execute(f"USE {_ATTACHED}")
    try:
        for view in views:
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {view.schema}")
            con.execute(f"CREATE VIEW {view.table} AS {view.sql}")
    finally:
        con.execute(f'USE "{warehouse}"')


def _write_publication_row(
    con: duckdb.DuckDBPyConnection,
    run_id: str,
    package_version: str,
    git_commit: str | None,
    row_counts: Mapping[str, int],
) -> tuple[str, ...]:
    names: Sequence[tuple[str]] = con.execute(
        "SELECT DISTINCT judge_name FROM staging.scores ORDER BY judge_name"
    ).fetchall()
    con.execute(
        f"CREATE TABLE {_ATTACHED}.meta.publication AS {_PUBLICATION}",
        {
            "run_id": run_id,
            "package_version": package_version,
            "git_commit": git_commit,
            "row_counts": orjson.dumps(dict(row_counts)).decode(),
        },
    )
    return tuple(name for (name,) in names)


@contextmanager
def _only_publisher(target: Path) -> Iterator[None]:
    """Held by the operating system, so a killed publisher does not leave it locked."""
    lock = filelock.FileLock(target.parent / f".{target.name}.lock", mode=0o600)
    try:
        with lock.acquire(timeout=0):
            yield
    except filelock.Timeout as error:
        raise PublicationBusyError(
            f"{target}: another process is publishing to it (it holds {lock.lock_file}); let it finish, then retry"
        ) from error


@contextmanager
def _scratch_folder(target: Path) -> Iterator[Path]:
    """A private folder on the target's own file system, so that the last step is a rename."""
    prefix = f".{target.name}.draft-"
    for leftover in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover)
    # Not a TemporaryDirectory: where rights are taken away meanwhile, its clean-up calls itself without end.
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _attached(con: duckdb.DuckDBPyConnection, draft: Path) -> Iterator[None]:
    quoted = str(draft).replace("'", "''")
    con.execute(f"ATTACH '{quoted}' AS {_ATTACHED}")
    try:
        yield
        con.execute(f"CHECKPOINT {_ATTACHED}")
    finally:
        con.execute(f"DETACH {_ATTACHED}")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# The ledger also keeps verdicts that no current request asks for.
_PUBLISHED_VERDICTS = """
SELECT * FROM judging.verdicts WHERE verdict_key IN (SELECT verdict_key FROM staging.scores)
"""

_LATEST_CHECKS = """
SELECT * FROM meta.check_results
QUALIFY row_number() OVER (PARTITION BY asset, check_name ORDER BY checked_at DESC) = 1
"""

_PUBLICATION = """
SELECT
    now() AS published_at, $run_id AS run_id, $package_version AS package_version,
    $git_commit::VARCHAR AS git_commit,
    (SELECT list(judge_id ORDER BY judge_id) FROM (SELECT DISTINCT judge_id FROM staging.scores))
        AS judge_ids,
    (SELECT list(judge_name ORDER BY judge_name) FROM (SELECT DISTINCT judge_name FROM staging.scores))
        AS judge_names,
    (SELECT coalesce(bool_or(is_demonstration), FALSE) FROM staging.scores) AS has_demonstration_judge,
    $row_counts::JSON AS row_counts
"""
