"""How large a home's Dagster storage is after many nights: `python bench/nights.py --nights 200`.

Real: one evaluation by the two jobs of `pollux run`, against a judge that answers at once; Dagster's storage, which
every further night is written to through Dagster's own instance; the pruning. Simulated: the nights after the first are
that evaluation's events under new run ids and dates, with a day of sensor ticks each, and the clock of the pruning.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import dagster as dg  # noqa: E402
import sqlalchemy as sa  # noqa: E402
from dagster import EventLogEntry  # noqa: E402
from dagster._core.definitions.run_request import InstigatorType  # noqa: E402
from dagster._core.scheduler.instigation import TickData, TickStatus  # noqa: E402
from dagster._core.storage.schedules import SqlScheduleStorage  # noqa: E402
from dagster._core.storage.schedules.schema import JobTickTable  # noqa: E402
from dagster._core.utils import make_new_run_id  # noqa: E402
from dagster._time import datetime_from_timestamp  # noqa: E402

from pollux_dagster.defs.evaluation import evaluate_landing  # noqa: E402
from pollux_dagster.defs.instance import open_instance  # noqa: E402
from pollux_dagster.defs.retention import DAY_S, prune  # noqa: E402
from pollux_dagster.defs.settings import Retention, Settings  # noqa: E402
from tests.judge.fake_judge import KEY, FakeJudge  # noqa: E402
from tests.pipeline_world import ANSWERS, write_answers, write_instructions  # noqa: E402

SENSORS = ("landing_sensor", "dead_runs")
TICKS_A_DAY = 2880  # of each sensor, at 30 s


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
    with FakeJudge() as judge:
        os.environ["POLLUX_JUDGE_API_KEY"] = KEY
        paths = {"POLLUX_HOME": str(folder / "home"), "POLLUX_LANDING": str(folder / "landing")}
        settings = Settings.from_environment({**paths, "POLLUX_JUDGE_URL": judge.url})
        write_instructions(settings.landing, 6)
        for model in range(models):
            write_answers(settings.landing, f"model-{model}", 6, lambda i, m=model: ANSWERS[(i + m) % 3])
        evaluate_landing(settings)
    return settings


def simulate(instance: dg.DagsterInstance, settings: Settings, nights: int, *, is_pruned: bool) -> None:
    runs = [record.dagster_run for record in instance.get_run_records(ascending=True)]
    templates = [(run, instance.all_logs(run.run_id)) for run in runs]
    print(f"a night: {len(runs)} runs, {sum(len(logs) for _, logs in templates)} events, "
          f"{len(SENSORS) * TICKS_A_DAY} ticks")  # fmt: skip
    print(f"{'night':>5} {'MB':>8} {'runs':>6} {'ticks':>8} {'pruning, s':>10}")
    began, longest = time.time(), 0.0
    for night in range(1, nights + 1):
        now = began + night * DAY_S
        for run, logs in templates:
            replay(instance, settings, run, logs, now - 3600)
        write_ticks(instance, now)
        if is_pruned:
            started = time.monotonic()
            with mock.patch("time.time", lambda now=now: now):
                prune(instance, settings)
            longest = max(longest, time.monotonic() - started)
        if night % 20 == 0 or night in (1, 5, 10, nights):
            count = len(instance.get_run_ids())
            megabytes = sum(path.stat().st_size for path in settings.dagster_home.rglob("*") if path.is_file()) / 1e6
            print(f"{night:5} {megabytes:8.1f} {count:6} {_ticks(instance):8} {longest:10.1f}", flush=True)


def replay(
    instance: dg.DagsterInstance, settings: Settings, run: dg.DagsterRun, logs: Sequence[EventLogEntry], at: float
) -> None:
    """Write the run again, as of `at`, with its captured output."""
    run_id = make_new_run_id()
    instance.run_storage.add_run(run._replace(run_id=run_id, status=dg.DagsterRunStatus.NOT_STARTED))
    for event in logs:
        instance.handle_new_event(event._replace(run_id=run_id, timestamp=at + event.timestamp - logs[0].timestamp))
    output = settings.dagster_home / "storage"
    if (output / run.run_id).is_dir():
        shutil.copytree(output / run.run_id, output / run_id)


def write_ticks(instance: dg.DagsterInstance, now: float) -> None:
    """A day of ticks at which nothing was to be done: one of each sensor through Dagster, the others as its copies."""
    schedules = instance.schedule_storage
    assert isinstance(schedules, SqlScheduleStorage)
    for sensor in SENSORS:
        tick = instance.create_tick(
            TickData(sensor, sensor, InstigatorType.SENSOR, TickStatus.SKIPPED, now, selector_id=sensor, run_ids=[],
                     skip_reason="the landing folder has not changed", end_timestamp=now + 1)
        )  # fmt: skip
        with schedules.connect() as conn:
            row = conn.execute(sa.select(JobTickTable).where(JobTickTable.c.id == tick.tick_id)).mappings().one()
            copies = [
                {**{name: value for name, value in row.items() if name != "id"},
                 "timestamp": datetime_from_timestamp(now - DAY_S * at / TICKS_A_DAY)}
                for at in range(1, TICKS_A_DAY)
            ]  # fmt: skip
            conn.execute(sa.insert(JobTickTable), copies)


def _ticks(instance: dg.DagsterInstance) -> int:
    schedules = instance.schedule_storage
    assert isinstance(schedules, SqlScheduleStorage)
    with schedules.connect() as conn:
        return int(conn.execute(sa.select(sa.func.count()).select_from(JobTickTable)).scalar_one())


if __name__ == "__main__":
    main()
