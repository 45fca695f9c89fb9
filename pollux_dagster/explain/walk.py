"""The two commands: what was asked for, chosen from the publication, and the same as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from pollux_dagster.core.text import escaped_json
from pollux_dagster.explain.answer import ExplainedAnswer, explain_answer
from pollux_dagster.explain.comparison import Comparison, compare_models, scored_both
from pollux_dagster.explain.mean import ExplainedMean, explain_mean
from pollux_dagster.explain.selection import (
    ID_DIGITS,
    Row,
    SelectionError,
    chosen_criterion,
    chosen_judges,
    chosen_model,
    chosen_task,
    rows,
)
from pollux_dagster.explain.verdict import ExplainedVerdict, explain_verdict

Walked = Sequence[ExplainedMean] | ExplainedAnswer | ExplainedVerdict | Sequence[Comparison]
_KEY = re.compile(rf"[0-9a-fA-F]{{{ID_DIGITS},64}}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to explain: `what` is a model or the first digits of a verdict's key, the rest narrows a model down."""

    what: str
    judge: str | None = None
    task: str | None = None
    criterion: str | None = None
    prompt_id: str | None = None
    answers: int = 5


def walk_back(con: duckdb.DuckDBPyConnection, wanted: Wanted, home: Path, profile: str) -> Walked:
    """The means of a model under each judge, one of its answers, or a verdict.

    Raises:
        SelectionError: the publication has no such thing.
    """
    judges = chosen_judges(con, wanted.judge)
    is_model = rows(con, "SELECT 1 FROM marts.model_quality WHERE model_id = $model LIMIT 1", model=wanted.what)
    if _KEY.fullmatch(wanted.what) and not is_model:
        if wanted.task or wanted.criterion or wanted.prompt_id:
            raise SelectionError(
                f"{wanted.what} is no model of the publication; only a model's scores are narrowed down"
            )
        verdict = explain_verdict(con, wanted.what.lower(), home, profile)
        if verdict.requests[0]["judge_id"] not in {judge.judge_id for judge in judges}:
            raise SelectionError(f"the verdict is one of {verdict.requests[0]['judge_name']}, not of {wanted.judge}")
        return verdict
    model_id = chosen_model(con, wanted.what)
    if wanted.prompt_id is not None:
        if wanted.task or wanted.criterion:
            raise SelectionError("an instruction has one task and is shown with all its criteria; give it alone")
        return explain_answer(con, judges, model_id, wanted.prompt_id)
    task, criterion = chosen_task(con, model_id, wanted.task), chosen_criterion(con, model_id, wanted.criterion)
    means = (explain_mean(con, judge, model_id, task, criterion, wanted.answers) for judge in judges)
    if found := [mean for mean in means if mean is not None]:
        return found
    raise SelectionError(f"{_listed([judge.judge_name for judge in judges])} scored nothing of {model_id} like that")


def compare(
    con: duckdb.DuckDBPyConnection, model: str, other: str, judge: str | None, answers: int
) -> Sequence[Comparison]:
    """Two models under each judge that compared them.

    Raises:
        SelectionError: the publication has no such models or judge, or no judge scored both.
    """
    judges = chosen_judges(con, judge)
    first, second = chosen_model(con, model), chosen_model(con, other)
    if first == second:
        raise SelectionError(f"expected two models to compare, got {first} twice")
    compared = (compare_models(con, each, first, second, answers) for each in judges)
    if found := [each for each in compared if each is not None]:
        return found
    if lacking := [each for each in judges if scored_both(con, each, first, second)]:
        raise SelectionError(
            f"marts.pairwise_comparison has no row of {first} and {second}, though {lacking[0].judge_name} scored "
            "both: a row was lost or the tables are not of one run; `pollux run --force` makes the publication again"
        )
    raise SelectionError(f"{_listed([each.judge_name for each in judges])} did not score both {first} and {second}")


def _listed(judges: Sequence[str]) -> str:
    return f"the judge {judges[0]}" if len(judges) == 1 else f"no one of the judges {', '.join(judges)}"


def as_json(walked: Walked, made: Row) -> str:
    """What was found and the publication `made` that it is from, as JSON; times in ISO 8601, and no character that a
    terminal would act on.
    """
    match walked:
        case ExplainedAnswer():
            found: Row = {"answer": asdict(walked)}
        case ExplainedVerdict():
            found = {"verdict": asdict(walked)}
        case _:
            kind = "comparisons" if isinstance(walked[0], Comparison) else "means"
            found = {kind: [asdict(each) for each in walked]}
    document = json.dumps({"publication": made} | found, ensure_ascii=False, indent=1, default=_text)
    return escaped_json(document, keep="\n")


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
