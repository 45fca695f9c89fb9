"""What the command line does with the golden set: pin one, accept a round. Judging it is part of every evaluation."""

from __future__ import annotations

from pollux_dagster.defs.build import resources
from pollux_dagster.defs.resources import JudgeResource, records_folder
from pollux_dagster.defs.settings import Settings
from pollux_dagster.warehouse.connection import connect
from pollux_dagster.warehouse.golden import accept_latest_round, pin_golden_set
from pollux_dagster.warehouse.records import keep_records
from pollux_dagster.warehouse.schema import create_schema


def pin_for(settings: Settings, answers: int) -> int:
    """Pin a set from the verdicts of the settings' judge; returns its number of requests.

    Raises:
        GoldenSetError: the judge has judged nothing completely yet.
        WarehouseLockedError: a run is writing to the warehouse and did not finish in time.
    """
    judge = resources(settings)["judge"]
    assert isinstance(judge, JudgeResource)
    con = connect(settings.warehouse)
    try:
        create_schema(con)
        pinned = pin_golden_set(con, judge_id=judge.identity().judge_id, answers=answers)
        keep_records(con, records_folder(settings.ledger))
        return pinned
    finally:
        con.close()


def accept_for(settings: Settings) -> str:
    """Make the latest round its model's baseline; returns which it is, in words. Raises as `pin_for` does."""
    con = connect(settings.warehouse)
    try:
        create_schema(con)
        accepted = accept_latest_round(con)
        keep_records(con, records_folder(settings.ledger))
        return accepted
    finally:
        con.close()
