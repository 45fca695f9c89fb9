"""The golden set on the command line: pin one, accept a round. Judging it is part of every evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import duckdb

from pollux_dagster.app.resources import Resources
from pollux_dagster.settings import Settings
from pollux_dagster.warehouse import golden
from pollux_dagster.warehouse.connection import connect
from pollux_dagster.warehouse.record_files import keep_records
from pollux_dagster.warehouse.schema import create_schema


def pin_golden_set(settings: Settings, answers: int) -> int:
    """Pin a set from the verdicts of the settings' judge; returns its number of requests.

    Raises:
        GoldenSetError: no answer is completely judged yet.
        WarehouseLockedError: a run is writing to the warehouse and did not finish in time.
    """
    use = Resources.of(settings)
    with _recorded(use) as con:
        return golden.pin_golden_set(con, judge_id=use.judge.identity().judge_id, answers=answers)


def accept_round(settings: Settings) -> str:
    """Make the latest round its model's baseline; returns a description of it. Raises as `pin_golden_set` does."""
    with _recorded(Resources.of(settings)) as con:
        return golden.accept_latest_round(con)


@contextmanager
def _recorded(use: Resources) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse; what the block changes in it is copied beside the ledger."""
    with closing(connect(use.warehouse.database)) as con:
        create_schema(con)
        yield con
        keep_records(con, use.ledger.records)
