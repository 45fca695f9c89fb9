"""Judges the golden set: before anything else on a server, once for each state of the judge.

Pinned texts and rounds are stored by `warehouse.golden`; whether the judge drifted is a check of `marts.golden_drift`.
Without a pinned set nothing happens. While the latest round is one that drifted, a server is started for the set alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import orjson

from pollux_dagster.app.fixed_rounds import judge_round, judge_state
from pollux_dagster.app.resources import JudgeResource
from pollux_dagster.core.fixed_requests import FixedRequest
from pollux_dagster.judge.server import Servers
from pollux_dagster.orders.claims import Board
from pollux_dagster.orders.location import Location
from pollux_dagster.orders.order import Order
from pollux_dagster.warehouse.golden import GoldenRound, golden_requests
from pollux_dagster.warehouse.schema import create_schema
from pollux_dagster.warehouse.verdicts import judged_keys

if TYPE_CHECKING:
    from pollux_dagster.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """The pinned requests, and the verdict keys of rounds that exist already.

    `moved`: the latest round drifted from the baseline and was not accepted. Publication is stopped until a round shows
    that the judge is back, and only its server can give one.
    """

    requests: list[FixedRequest]
    judged: frozenset[str]
    moved: bool


def rounds_at(location: Location, order: Order) -> list[GoldenRound]:
    """The states of the judge in which workers have judged the order's golden set; what is no such state is passed
    over, so that its requests are asked again. Raises LocationError.
    """
    rounds = []
    for name in Board.look(location, order.order_id).names("rounds"):
        try:
            fields = orjson.loads(location.read(f"{order.prefix}/rounds/{name}") or b"")
            state = GoldenRound(**{**fields, "arguments": tuple(fields["arguments"])})
            if state.judge_id == order.judge_id and name == f"{state.round_id}.json":
                rounds.append(state)
        except (ValueError, TypeError, KeyError):
            continue
    return rounds


def load_golden_set(con: duckdb.DuckDBPyConnection, model: str) -> GoldenSet:
    """Read what `judge_golden_set` needs for the judge's `model`, while the warehouse is open."""
    create_schema(con)  # a warehouse from before golden sets lacks their tables
    requests = golden_requests(con)
    return GoldenSet(requests, judged_keys(con, GoldenRound.series), bool(requests) and _moved(con, model))


def _moved(con: duckdb.DuckDBPyConnection, model: str) -> bool:
    # Not at the top: scipy costs a second that every load of the definitions would spend.
    from pollux_dagster.warehouse.statistics.drift import latest_round_moved

    return latest_round_moved(con, model)


def judge_golden_set(
    golden: GoldenSet,
    servers: Servers,
    judge: JudgeResource,
    ledger: Ledger,
    run_id: str,
    log: Callable[[str], None],
) -> GoldenRound | None:
    """Judge what this state of the judge has no verdict on yet; returns the round, or None where nothing is pinned."""
    if not golden.requests:
        return None
    state = GoldenRound(*judge_state(judge, servers))
    judge_round(state, golden.requests, golden.judged, servers, judge, ledger, run_id, log)
    return state
