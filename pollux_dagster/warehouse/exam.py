"""The judge's exam in the warehouse: which states of which judges took it, and the results.

The requests are made by `core.exam`; `statistics.exam_effects` computes the effects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import duckdb
import polars as pl

from pollux_dagster.core.exam import ExamRequest, exam_id, exam_requests
from pollux_dagster.core.fixed_requests import FixedRequest, Round
from pollux_dagster.core.transactions import transaction


class ExamRound(Round):
    """A state of a judge in which it took the exam."""

    __slots__ = ()
    series = "exam"


def fixed_exam_requests() -> Mapping[str, tuple[ExamRequest, FixedRequest]]:
    """The exam's requests by request key, as they are sent. No criterion is a gate: nothing depends on a verdict."""
    return {request.request_key: (request, _fixed(request)) for request in exam_requests()}


def _fixed(request: ExamRequest) -> FixedRequest:
    asked = request.question
    criterion = hashlib.sha256(f"{asked.criteria_name}\x00{asked.rubrics}".encode()).hexdigest()
    return FixedRequest(
        request.request_key,
        asked.instruction,
        asked.reference_answer,
        asked.answer,
        criterion,
        asked.criteria_name,
        asked.rubrics,
        asked.levels,
        is_gate=False,
    )


def exam_scores(con: duckdb.DuckDBPyConnection, taken: ExamRound) -> pl.DataFrame:
    """One row per request of the exam: item, criterion, probe, and the score in [0, 1], NULL without an ok verdict."""
    found = con.execute(
        "SELECT verdict_key, score FROM judging.verdicts WHERE judge_id = ? AND status = 'ok'", [taken.round_id]
    ).fetchall()
    scores: dict[str, float] = dict(found)
    rows = []
    for request, fixed in fixed_exam_requests().values():
        score, levels = scores.get(taken.verdict_key(fixed)), fixed.levels
        normalized = None if score is None else (score - levels[0]) / (levels[-1] - levels[0])
        rows.append((request.item_id, request.criteria_name, request.probe, normalized))
    schema = {"item_id": pl.String, "criteria_name": pl.String, "probe": pl.String, "score": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def record_exam(con: duckdb.DuckDBPyConnection, taken: ExamRound, results: pl.DataFrame, *, run_id: str) -> None:
    """Record that the exam was taken in this state, with its results; earlier results of the state are replaced."""
    with transaction(con):
        con.execute(
            "INSERT OR REPLACE INTO judging.exam_rounds SELECT $round_id, $judge_id, $model, $engine, $engine_version, "
            "$arguments, $exam_id, now(), $run_id, (SELECT coalesce(max(position), 0) + 1 FROM judging.exam_rounds)",
            {
                "round_id": taken.round_id,
                "judge_id": taken.judge_id,
                "model": taken.model,
                "engine": taken.engine,
                "engine_version": taken.engine_version,
                "arguments": " ".join(taken.arguments),
                "exam_id": exam_id(),
                "run_id": run_id,
            },
        )
        con.execute("DELETE FROM judging.exam_results WHERE round_id = ?", [taken.round_id])
        con.register("_exam_results", results.with_columns(round_id=pl.lit(taken.round_id)))
        con.execute("INSERT INTO judging.exam_results BY NAME SELECT * FROM _exam_results")
        con.unregister("_exam_results")
