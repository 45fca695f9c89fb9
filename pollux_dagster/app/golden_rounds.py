"""Judges the golden set: before anything else on a server, once for each state of the judge.

Pinned texts and rounds are stored by `warehouse.golden`; whether the judge drifted is a check of `marts.golden_drift`.
Without a pinned set nothing happens. While the latest round is one that drifted, a server is started for the set alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import duckdb

from pollux_dagster.app.resources import JudgeResource
from pollux_dagster.core.work import Answer, Criterion
from pollux_dagster.judge.server import ServerHandle
from pollux_dagster.ledger.ledger import Ledger
from pollux_dagster.warehouse.golden import (
    GoldenRequest,
    GoldenRound,
    golden_requests,
    judged_golden_keys,
)
from pollux_dagster.warehouse.schema import create_schema


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """The pinned requests, and the verdict keys of rounds that exist already.

    `moved`: the latest round drifted from the baseline and was not accepted. Publication is stopped until a round shows
    that the judge is back, and only its server can give one.
    """

    requests: list[GoldenRequest]
    judged: frozenset[str]
    moved: bool


def load_golden_set(con: duckdb.DuckDBPyConnection, model: str) -> GoldenSet:
    """Read what `judge_golden_set` needs for the judge's `model`, while the warehouse is open."""
    create_schema(con)  # a warehouse from before golden sets lacks their tables
    requests = golden_requests(con)
    return GoldenSet(requests, judged_golden_keys(con), bool(requests) and _moved(con, model))


def _moved(con: duckdb.DuckDBPyConnection, model: str) -> bool:
    # Not at the top: scipy costs a second that every load of the definitions would spend.
    from pollux_dagster.warehouse.statistics.drift import latest_round_moved

    return latest_round_moved(con, model)


def judge_golden_set(
    golden: GoldenSet,
    server: ServerHandle,
    judge: JudgeResource,
    ledger: Ledger,
    run_id: str,
    log: Callable[[str], None],
) -> GoldenRound | None:
    """Judge what this state of the judge has no verdict on yet; returns the round, or None where nothing is pinned."""
    if not golden.requests:
        return None
    identity, endpoint = judge.identity(), server.endpoint
    state = GoldenRound(
        identity.judge_id, identity.model, endpoint.engine, endpoint.engine_version, tuple(judge.arguments)
    )
    pending = [request for request in golden.requests if state.verdict_key(request) not in golden.judged]
    if pending:
        # Here for the reason given in defs/judging.py.
        from pollux_dagster.judge.evaluate import evaluate
        from pollux_dagster.judge.work import Evaluation

        log(f"golden set: {len(pending)} of {len(golden.requests)} requests to judge, for a new state of the judge")
        evaluate(
            _answers(pending, state),
            Evaluation(
                {
                    r.criterion_id: Criterion(r.criterion_id, r.criteria_name, r.rubrics, r.levels, r.is_gate)
                    for r in pending
                },
                judge.judge_profile,
                state.round_id,
                run_id,
                total=len(golden.requests),
                cached=len(golden.requests) - len(pending),
            ),
            server=server,
            ledger=ledger,
            progress=lambda _: None,
            log=log,
        )
    return state


def _answers(pending: list[GoldenRequest], state: GoldenRound) -> Iterator[Answer]:
    """The answers with their requests; requests of one answer are adjacent in the set."""
    for (instruction, reference, answer), requests in groupby(
        pending, key=lambda r: (r.instruction, r.reference_answer, r.answer)
    ):
        yield Answer(instruction, reference, answer, [(state.verdict_key(r), r.criterion_id) for r in requests])
