"""The judge's exam: asked of the configured judge on its own server, recorded in the warehouse and beside the ledger.

What this state of the judge has a usable verdict on is not asked again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import polars as pl

from pollux_dagster.app.fixed_rounds import judge_round, judge_state
from pollux_dagster.app.resources import JudgeResource, LedgerResource, Resources
from pollux_dagster.runs.home_lock import only_run
from pollux_dagster.settings import Settings
from pollux_dagster.warehouse.duckdb_resource import WarehouseResource
from pollux_dagster.warehouse.exam import ExamRound, exam_scores, fixed_exam_requests, record_exam
from pollux_dagster.warehouse.provenance import record_run, register_judge
from pollux_dagster.warehouse.record_files import keep_records, restore_records
from pollux_dagster.warehouse.schema import create_schema
from pollux_dagster.warehouse.verdicts import judged_keys, load_verdicts


@dataclass(frozen=True, slots=True)
class TakenExam:
    """An exam with its `results`, rows of judging.exam_results. `asked` counts the requests that were sent for it."""

    round: ExamRound
    judge_name: str
    asked: int
    results: pl.DataFrame

    @property
    def flagged(self) -> pl.DataFrame:
        """The rows whose effect lies beyond the limit, the largest first."""
        return self.results.filter(pl.col("flagged")).sort("grain", pl.col("effect").abs(), descending=[False, True])


def take_exam(
    warehouse: WarehouseResource,
    judge: JudgeResource,
    ledger: LedgerResource,
    run_id: str,
    log: Callable[[str], None],
) -> TakenExam:
    """Ask the judge the exam and record the results. The warehouse is closed while the judge works.

    Raises:
        ServerError: the judge's server does not start, or cannot be used.
        EvaluationError: it refuses or fails everything for a while.
    """
    # Not at the top: scipy costs a second that every load of the definitions would spend.
    from pollux_dagster.warehouse.statistics.exam_effects import exam_effects

    started = datetime.now(UTC)
    identity, book = judge.identity(), ledger.open()
    book.seal_leftovers()
    with warehouse.get_connection() as con:
        create_schema(con)
        # In a new warehouse, before the records are written again.
        for path in restore_records(con, ledger.records).damaged:
            log(f"a damaged record was set aside and its contents are lost: {path}, with a report beside it")
        register_judge(con, identity)
        load_verdicts(con, book.segments())
        judged = judged_keys(con, ExamRound.series)
    warehouse.release()
    # All requests on one answer together, so that they share the server's prefix cache.
    requests = sorted((fixed for _, fixed in fixed_exam_requests().values()), key=lambda r: (r.instruction, r.answer))
    with judge.serve(log) as servers:
        taken = ExamRound(*judge_state(judge, servers))
        asked = judge_round(taken, requests, judged, servers, judge, book, run_id, log)
    with warehouse.get_connection() as con:
        load_verdicts(con, book.segments())
        results = exam_effects(exam_scores(con, taken))
        record_exam(con, taken, results, run_id=run_id)
        details = {"judge_id": identity.judge_id, "round_id": taken.round_id, "requested": asked}
        record_run(con, run_id, "exam", started, details)
        keep_records(con, ledger.records)
    return TakenExam(taken, identity.judge_name, asked, results)


def examine_judge(settings: Settings, log: Callable[[str], None]) -> TakenExam:
    """The exam of the settings' judge, as the command takes it. While another run uses the home, this one waits."""
    use = Resources.of(settings)
    with only_run(settings.home, lambda line: print(line, file=sys.stderr)):  # noqa: T201
        return take_exam(use.warehouse, use.judge, use.ledger, f"exam-{uuid4()}", log)
