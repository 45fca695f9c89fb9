"""How large a home's Dagster storage is after many nights: `python -m bench.nights --nights 200`.

Real: one evaluation as `pollux run` makes it, against a judge that answers at once, and what Dagster stored of it; the
pruning. Simulated: each further night is a copy of those rows and files under a new run id and date, with the ticks
that hourly pruning would leave of a day; and the clock of the pruning.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.schedules import SqlScheduleStorage
from dagster._core.storage.schedules.schema import JobTickTable
from dagster._core.utils import make_new_run_id
from dagster._time import datetime_from_timestamp

from pollux_dagster.app.evaluation import evaluate_landing
from pollux_dagster.definitions import build_defs
from pollux_dagster.runs.instance import open_instance
from pollux_dagster.runs.retention import DAY_S, HOUR_S, prune
from pollux_dagster.settings import Retention, Settings
from tests.fakes.fake_judge import KEY, FakeJudge, replying
from tests.pipeline_world import ANSWERS, write_answers, write_instructions

# Ticks of an hour at which there was nothing to do; the sensors' intervals are 15 and 120 s.
SENSORS = {"landing_sensor": 240, "dead_runs": 30}
HOURS = 7  # of ticks: those that are kept, and those since the last hourly pruning


def main() -> None:
    """Print the size of the storage every twentieth night, with and without pruning."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--nights", type=int, default=200)
    arguments.add_argument("--models", type=int, default=3)
    arguments.add_argument("--keep-days", type=int, default=Retention().days)
    arguments.add_argument("--never-prune", action="store_true", help="for comparison")
    given = arguments.parse_args()
    with TemporaryDirectory(prefix="pollux-nights-") as folder:
        settings = evaluated(Path(folder), given.models)
        settings = replace(settings, retention=Retention(days=given.keep_days))
        with open_instance(settings.dagster_home) as instance:
            simulate(instance, settings, given.nights, is_pruned=not given.never_prune)


def evaluated(folder: Path, models: int) -> Settings:
    """A home with one real evaluation."""
    with FakeJudge(replying()) as judge:
        os.environ["POLLUX_JUDGE_API_KEY"] = KEY
        paths = {"POLLUX_HOME": str(folder / "home"), "POLLUX_LANDING": str(folder / "landing")}
        settings = Settings.from_environment(
            {**paths, "POLLUX_JUDGE_URL": judge.url, "POLLUX_JUDGE_SERVED_MODEL": "judge"}
        )
        write_instructions(settings.landing, 6)
        for model in range(models):
            write_answers(settings.landing, f"model-{model}", 6, partial(_answer, model))
        evaluate_landing(build_defs(settings), settings)
    return settings


def _answer(model: int, number: int) -> str:
    return ANSWERS[(number + model) % 3]


def simulate(instance: dg.DagsterInstance, settings: Settings, nights: int, *, is_pruned: bool) -> None:
    (run,) = (record.dagster_run for record in instance.get_run_records())
    events = len(instance.all_logs(run.run_id))
    print(f"a night: 1 run, {events} events, {HOURS * sum(SENSORS.values())} ticks")
    print(f"{'night':>5} {'MB':>8} {'runs':>6} {'ticks':>8} {'pruning, s':>10}")
    began, longest = time.time(), 0.0
    for night in range(1, nights + 1):
        now = began + night * DAY_S
        run = copy_run(instance, settings, run, now - HOUR_S)
        write_ticks(instance, now)
        if is_pruned:
            started = time.monotonic()
            with mock.patch("time.time", lambda at=now: at):
                prune(instance, settings)
            longest = max(longest, time.monotonic() - started)
        if night % 20 == 0 or night in (1, 5, 10, nights):
            count = len(instance.get_run_ids())
            megabytes = sum(path.stat().st_size for path in settings.dagster_home.rglob("*") if path.is_file()) / 1e6
            print(f"{night:5} {megabytes:8.1f} {count:6} {_ticks(instance):8} {longest:10.1f}", flush=True)


def copy_run(instance: dg.DagsterInstance, settings: Settings, run: dg.DagsterRun, at: float) -> dg.DagsterRun:
    """The rows and files of the run once more, under a new id, as ended at `at`."""
    runs, events = instance.run_storage, instance.event_log_storage
    assert isinstance(runs, SqlRunStorage)
    assert isinstance(events, SqliteEventLogStorage)
    ids = {"old": run.run_id, "new": make_new_run_id()}
    copy = runs.add_run(run._replace(run_id=ids["new"]))
    with runs.connect() as conn:
        conn.execute(
            sa.update(RunsTable).where(RunsTable.c.run_id == ids["new"]).values(start_time=at - 60, end_time=at)
        )
    shutil.copy(events.path_for_shard(ids["old"]), events.path_for_shard(ids["new"]))
    with closing(sqlite3.connect(events.path_for_shard(ids["new"]))) as con, con:
        con.execute("UPDATE event_logs SET run_id = :new, event = replace(event, :old, :new)", ids)
    with events.index_connection() as conn:
        for table in (SqlEventLogStorageTable, AssetCheckExecutionsTable):
            columns = {column.name: column for column in table.columns if column.name != "id"}
            copied = sa.select(*({**columns, "run_id": sa.literal(ids["new"])}).values()).where(
                table.c.run_id == ids["old"]
            )
            conn.execute(sa.insert(table).from_select([*columns], copied))
    output = settings.dagster_home / "storage"
    shutil.copytree(output / ids["old"], output / ids["new"])
    return copy


def write_ticks(instance: dg.DagsterInstance, now: float) -> None:
    """Ticks of the last hours: one of each sensor through Dagster, the others as its copies."""
    schedules = instance.schedule_storage
    assert isinstance(schedules, SqlScheduleStorage)
    for sensor, an_hour in SENSORS.items():
        tick = instance.create_tick(
            TickData(sensor, sensor, InstigatorType.SENSOR, TickStatus.SKIPPED, now, selector_id=sensor, run_ids=[],
                     skip_reason="the landing folder has not changed", end_timestamp=now + 1)
        )  # fmt: skip
        with schedules.connect() as conn:
            row = conn.execute(sa.select(JobTickTable).where(JobTickTable.c.id == tick.tick_id)).mappings().one()
            same = {name: value for name, value in row.items() if name != "id"}
            times = (datetime_from_timestamp(now - at * HOUR_S / an_hour) for at in range(1, HOURS * an_hour))
            conn.execute(sa.insert(JobTickTable), [{**same, "timestamp": at} for at in times])


def _ticks(instance: dg.DagsterInstance) -> int:
    schedules = instance.schedule_storage
    assert isinstance(schedules, SqlScheduleStorage)
    with schedules.connect() as conn:
        return int(conn.execute(sa.select(sa.func.count()).select_from(JobTickTable)).scalar_one())


if __name__ == "__main__":
    main()
