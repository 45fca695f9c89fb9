"""What a user names, found in the publication: judges, models, tasks, criteria; and the rows of its queries."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import duckdb

from pollux_dagster.publication_access import filled, has_table
from pollux_dagster.report import JUDGES, sample_in

Row = dict[str, Any]
_LISTED = 8  # names in a message
ID_DIGITS = 4
"""The fewest digits that stand for the id of a criterion or the key of a verdict."""
_TOLD_APART = 8  # digits


class SelectionError(RuntimeError):
    """The publication has nothing like what was asked for; the message says what comes near."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A judge of the publication, as meta.judges has it."""

    judge_id: str
    judge_name: str
    model: str
    is_demonstration: bool


def rows(con: duckdb.DuckDBPyConnection, sql: str, **values: str | int | None) -> list[Row]:
    """The rows of a query in which `$name` stands for the value of that name."""
    result = con.execute(filled(sql, **values))
    columns = [column for column, *_ in result.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


def chosen_judges(con: duckdb.DuckDBPyConnection, given: str | None) -> list[Judge]:
    """The judges of the publication that `given` names by name, profile, model or id; all of them without one.

    Raises:
        SelectionError: it names none.
    """
    known = [Judge(**row) for row in rows(con, JUDGES)]
    named = [
        judge
        for judge in known
        if given in (None, judge.judge_id, judge.judge_name, judge.judge_name.partition("@")[0], judge.model)
    ]
    if given is not None and not named:
        raise unknown("judge", given, [judge.judge_name for judge in known])
    return named


def chosen_model(con: duckdb.DuckDBPyConnection, given: str) -> str:
    """The model of that name.

    Raises:
        SelectionError: the tables have none; says why where it was left out of them.
    """
    known = {row["model_id"] for row in rows(con, "SELECT model_id FROM marts.model_quality")}
    if given in known:
        return given
    if has_table(con, "judging", "admission"):
        query = "SELECT reason FROM judging.admission WHERE model_id = $model AND NOT is_admitted"
        if reasons := [row["reason"] for row in rows(con, query, model=given)]:
            raise SelectionError(f"{given} is left out of every table: {'; '.join(dict.fromkeys(reasons))}")
    raise unknown("model", given, known)


def chosen_task(con: duckdb.DuckDBPyConnection, model_id: str, given: str | None) -> str | None:
    """The task of that name.

    Raises:
        SelectionError: the model answered no instruction of such a task.
    """
    found = rows(con, "SELECT DISTINCT task_type FROM staging.answers WHERE model_id = $model", model=model_id)
    known = {row["task_type"] for row in found}
    if given is not None and given not in known:
        raise unknown("task", given, known)
    return given


def chosen_criterion(con: duckdb.DuckDBPyConnection, model_id: str, given: str | None) -> Row | None:
    """criterion_id and criteria_name of the criterion with that name or id.

    Raises:
        SelectionError: the model's answers have no such criterion, or several of that name.
    """
    if given is None:
        return None
    query = "SELECT DISTINCT criterion_id, criteria_name FROM staging.scores WHERE model_id = $model"
    known = rows(con, query, model=model_id)
    named = [row for row in known if given == row["criteria_name"]]
    named = named or [row for row in known if _is_start(given, row["criterion_id"])]
    if len(named) > 1:
        ids = ", ".join(sorted(row["criterion_id"][:12] for row in named))
        raise SelectionError(f"{len(named)} criteria are called {given!r}, with different rubrics; give an id: {ids}")
    if not named:
        raise unknown("criterion", given, {row["criteria_name"] for row in known})
    return named[0]


def _is_start(given: str, identifier: str) -> bool:
    return len(given) >= ID_DIGITS and identifier.startswith(given.lower())


def unknown(what: str, given: str, known: Collection[str]) -> SelectionError:
    """The error that names what comes nearest to `given`."""
    close = get_close_matches(given, known, n=1)
    listed = ", ".join(sorted(known)[:_LISTED]) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")
    meant = f"did you mean {close[0]!r}?" if close else f"it has {listed or 'none'}"
    return SelectionError(f"the publication has no {what} {given!r}; {meant}")


def told_apart(criteria: Sequence[Row]) -> dict[str, str]:
    """A name for each criterion_id of rows with `criterion_id` and `criteria_name`: with its id where two share one."""
    names = {row["criterion_id"]: row["criteria_name"] for row in criteria}
    given = list(names.values())
    return {key: name if given.count(name) == 1 else f"{name} [{key[:_TOLD_APART]}]" for key, name in names.items()}


def publication(con: duckdb.DuckDBPyConnection) -> Row:
    """When, by which run and with which version it was made; `stale_since` and why where it could not be renewed,
    and of how many instructions it is a sample, where it is one.
    """
    (made,) = rows(con, "SELECT published_at, run_id, package_version, git_commit FROM meta.publication")
    stale = (
        rows(con, "SELECT stale_since, reason AS stale_reason FROM meta.staleness")
        if has_table(con, "meta", "staleness")
        else []
    )
    sample = sample_in(con)
    of = {} if sample is None else {"sample_instructions": sample[0], "of_instructions": sample[1]}
    return made | of | (stale[0] if stale else {})
