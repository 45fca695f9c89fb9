"""What has landed, asked before a run: which models there are, and whether the judge knows their criteria."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from difflib import get_close_matches
from uuid import uuid4

import duckdb

from pollux_dagster.app.resources import Resources
from pollux_dagster.core.profiles import JudgeProfile
from pollux_dagster.core.text import counted
from pollux_dagster.runs.home_lock import HomeBusyError, only_run
from pollux_dagster.settings import Settings
from pollux_dagster.warehouse.connection import WarehouseCorruptError, WarehouseLockedError, connect
from pollux_dagster.warehouse.requests import unknown_criteria
from pollux_dagster.warehouse.schema import create_schema

_LISTED = 10  # models in a message
_NAMED = 5  # criteria in a message


class UnknownModelError(ValueError):
    """A model that was named has no answer in the landing folder; the message names those that are nearest."""


@contextmanager
def landed(settings: Settings, *, keep: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse in which the landing folder has been read as it is now: the home's, or, before there is one, one in
    memory, so that asking makes no home. keep: make the home, for a run that would read the folder again.

    Raises:
        HomeBusyError: a run is in progress, whose raw tables this would change.
        WarehouseLockedError: another process has the warehouse open and did not close it in time.
    """
    if keep or settings.warehouse.exists() or settings.ledger.exists():
        with only_run(settings.home), closing(connect(settings.warehouse)) as con:
            _read(con, settings)
            yield con
    else:
        with closing(connect(":memory:")) as con:
            _read(con, settings)
            yield con


def _read(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    create_schema(con)
    Resources.of(settings).landing.sync(con, f"plan-{uuid4()}")


def require_landed(con: duckdb.DuckDBPyConnection, wanted: Sequence[str]) -> None:
    """Refuse a name that no model in raw.model_outputs has.

    Raises:
        UnknownModelError: with the nearest names, and the first of all of them.
    """
    models = landed_model_ids(con)
    for unknown in (model for model in wanted if model not in models):
        near = " or ".join(get_close_matches(unknown, models, n=3))
        meant = f"; did you mean {near}?" if near else "."
        more = f" and {len(models) - _LISTED} more" if len(models) > _LISTED else ""
        raise UnknownModelError(
            f"--model: expected a model with answers in the landing folder, got {unknown!r}{meant} There are "
            f"{', '.join(models[:_LISTED]) or 'none'}{more}"
        )


def require_models(settings: Settings, wanted: Sequence[str]) -> None:
    """`require_landed` before a run. A model that the home knows is taken for landed; otherwise the folder is read,
    unless another process uses the home: the run that waits for it asks again.

    Raises:
        UnknownModelError: as there.
    """
    if wanted and not set(wanted) <= _known(settings):
        with suppress(HomeBusyError, WarehouseLockedError), landed(settings) as con:
            require_landed(con, wanted)


def criteria_refusal(con: duckdb.DuckDBPyConnection, profile: JudgeProfile) -> str | None:
    """Why a judge that was trained on a few criteria is not asked, which would score any other one too; None where it
    knows all that have landed.
    """
    if not profile.criteria or not (unknown := unknown_criteria(con, profile.criteria)):
        return None
    named = ", ".join(f"«{name}»" for name in unknown[:_NAMED]) + (" …" if len(unknown) > _NAMED else "")
    return (
        f"the judge {profile.name} knows {len(profile.criteria)} criteria, and the landed answers have "
        f"{counted(len(unknown), 'other')}: {named}. It would score them without knowing them, so nothing is asked. "
        "Use a judge that reads rubrics, for instance --profile pollux-4b, on a GPU or at --judge-url (`pollux judges "
        "list` names them); or leave these criteria out: of the instructions that carry them, or of taxonomy/tasks.json"
    )


def _known(settings: Settings) -> set[str]:
    try:
        with closing(connect(settings.warehouse, read_only=True, wait_s=0)) as con:
            return set(landed_model_ids(con))
    except (duckdb.Error, WarehouseLockedError, WarehouseCorruptError):  # who opens it to write says which
        return set()


def landed_model_ids(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The models that have an output in raw, by name. Raises duckdb.Error."""
    found = con.execute("SELECT DISTINCT model_id FROM raw.model_outputs ORDER BY model_id").fetchall()
    return [model for (model,) in found]
