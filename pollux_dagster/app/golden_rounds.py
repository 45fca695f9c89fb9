"""Judging the golden set: first thing on a server, in each state of the judge once.

Pinned texts and rounds are the warehouse's (`warehouse.golden`), whether the judge moved is a check of
`marts.golden_drift`. Nothing happens where no set was pinned. While the latest round is one that moved, a server is
started for the set alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import duckdb

from pollux_dagster.app.resources import JudgeResource
from pollux_dagster.core.work import Answer, Criterion
from pollux_dagster.judge.evaluate import evaluate
from pollux_dagster.judge.server import ServerHandle
from pollux_dagster.judge.work import Evaluation
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
    """The pinned requests, and the keys of rounds' verdicts that are there already.

    `moved`: the latest round moved away from the baseline, and nobody accepted it. Publication is stopped until a
    round says that the judge is back, which only its server can tell.
    """

    requests: list[GoldenRequest]
    judged: frozenset[str]
    moved: bool


def load_golden_set(con: duckdb.DuckDBPyConnection, model: str) -> GoldenSet:
    """What `judge_golden_set` needs of the judge's `model`, read while the warehouse is open."""
    create_schema(con)  # a warehouse of before golden sets has no table of them
    requests = golden_requests(con)
    return GoldenSet(requests, judged_golden_keys(con), bool(requests) and _moved(con, model))


def _moved(con: duckdb.DuckDBPyConnection, model: str) -> bool:
    # Here and not above: scipy costs a second that the graph would pay at every start.
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
    """Judge what this state of the judge has no verdict on yet; the round, or None where nothing is pinned."""
    if not golden.requests:
        return None
    identity, endpoint = judge.identity(), server.endpoint
    state = GoldenRound(
        identity.judge_id, identity.model, endpoint.engine, endpoint.engine_version, tuple(judge.arguments)
    )
    pending = [request for request in golden.requests if state.verdict_key(request) not in golden.judged]
    if pending:
        log(
            f"golden set: {len(pending)} of {len(golden.requests)} requests to judge, a state of the judge not seen yet"
        )
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
        )
    return state


def _answers(pending: list[GoldenRequest], state: GoldenRound) -> Iterator[Answer]:
    """Requests of one answer stand together in the set."""
    for (instruction, reference, answer), requests in groupby(
        pending, key=lambda r: (r.instruction, r.reference_answer, r.answer)
    ):
        yield Answer(instruction, reference, answer, [(state.verdict_key(r), r.criterion_id) for r in requests])
