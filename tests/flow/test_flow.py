"""What the sensors ask for, whatever the order in which drops, ticks and ends of runs come.

The sensors and the instance are the real ones. Simulated are the daemon, whose order of events is varied here, and the
runs: an ingest reads what is in the folder when it begins, an evaluation publishes what was ingested when it
begins. One run at a time, as the lock of the home has it.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.api import create_execution_plan

from pollux_dagster.defs.automation import (
    LANDED_TAG,
    LAUNCH_AGAIN_AFTER,
    NEW,
    SCOPE_TAG,
    Progress,
    evaluate_job,
    ingest_job,
    landing_sensor,
    nightly_schedule,
)
from pollux_dagster.runs.home_lock import BEGUN_TAG
from tests.flow.flow_world import flow_settings

DROP, TICK, BEGIN, END = "drop", "tick of the landing sensor", "begin", "end"


@pytest.fixture(scope="module")
def jobs() -> dict[str, dg.JobDefinition]:
    """Small jobs of the same names: the sensors know runs by the names of their jobs."""

    @dg.op
    def step() -> None:
        pass

    @dg.op
    def another_step() -> None:
        pass

    def job(name: str) -> dg.JobDefinition:
        return dg.GraphDefinition(name=name, node_defs=[step, another_step]).to_job()

    return {name: job(name) for name in (ingest_job.name, evaluate_job.name)}


def look(sensor: dg.SensorDefinition, context: dg.SensorEvaluationContext) -> dg.SensorResult:
    result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


class Simulation:
    """A landing folder, a queue of runs of which one is under way, and what has been published."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, jobs: dict[str, dg.JobDefinition]) -> None:
        self.landing = folder
        self._sensor = landing_sensor(folder)
        self.instance = instance
        self._jobs = jobs
        self._cursor: str | None = None
        self._queue: list[str] = []
        self._running: str | None = None
        self._ingested: frozenset[str] = frozenset()
        self._evaluating: frozenset[str] = frozenset()
        self.published: frozenset[str] = frozenset()
        self.publications = 0
        self.drops = 0

    def drop(self, models: int = 1) -> None:
        for _ in range(models):
            path = self.landing / f"model-{len(list(self.landing.iterdir()))}.jsonl"
            path.write_text("{}\n")
        self.drops += 1

    def tick(self) -> None:
        result = look(self._sensor, dg.build_sensor_context(instance=self.instance, cursor=self._cursor))
        self._cursor = result.cursor
        for request in result.run_requests or []:
            assert request.job_name
            self._launch(request.job_name, dict(request.tags))

    @property
    def is_waiting(self) -> bool:
        return bool(self._queue)

    def begin(self) -> None:
        """The next run of the queue gets the home."""
        if self._running is not None or not self._queue:
            return
        self._running = self._queue.pop(0)
        run = self._run(self._running)
        self.instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name), run.run_id
        )
        self.instance.add_run_tags(run.run_id, {BEGUN_TAG: "yes"})
        landed = frozenset(path.name for path in self.landing.iterdir())
        self._ingested = landed
        self.instance.add_run_tags(run.run_id, {LANDED_TAG: hashlib.sha256(repr(sorted(landed)).encode()).hexdigest()})
        self._evaluating = landed

    def end(self) -> None:
        if self._running is None:
            return
        run = self._run(self._running)
        self.instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name), run.run_id
        )
        if run.job_name == evaluate_job.name:
            self.published = self._evaluating
            self.publications += 1
        self._running = None

    def fail_launch(self) -> None:
        """The daemon takes the next run out of the queue, and no code server answers."""
        run = self._run(self._queue.pop(0))
        self.instance.report_run_failed(run, "no code server")

    def settle(self, rounds: int = 6) -> None:
        for _ in range(rounds):
            self.tick()
            self.begin()
            self.end()

    def _launch(self, job: str, tags: dict[str, str]) -> None:
        run = self.instance.create_run_for_job(self._jobs[job], tags=tags, status=dg.DagsterRunStatus.NOT_STARTED)
        self._queue.append(run.run_id)

    def _run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run


@pytest.fixture
def simulate(tmp_path: Path, jobs: dict[str, dg.JobDefinition]) -> Iterator[Callable[[Sequence[str]], Simulation]]:
    folders = (tmp_path / str(number) for number in itertools.count())
    with dg.DagsterInstance.ephemeral() as instance:

        def play(events: Sequence[str]) -> Simulation:
            instance.wipe()
            folder = next(folders)
            folder.mkdir()
            simulation = Simulation(folder, instance, jobs)
            actions = {
                DROP: simulation.drop,
                TICK: simulation.tick,
                BEGIN: simulation.begin,
                END: simulation.end,
            }
            for event in events:
                actions[event]()
            return simulation

        yield play


@pytest.mark.parametrize("models", [1, 2, 3, 30])
def test_a_drop_leads_to_one_ingest_one_evaluation_and_one_publication(
    simulate: Callable[[Sequence[str]], Simulation], models: int
) -> None:
    simulation = simulate([])
    simulation.drop(models)
    simulation.settle()
    runs = simulation.instance.get_runs()
    assert sorted(run.job_name for run in runs) == ["evaluate", "ingest"]
    assert simulation.publications == 1
    assert len(simulation.published) == models
    evaluation = next(run for run in runs if run.job_name == "evaluate")
    assert evaluation.tags[SCOPE_TAG] == NEW


@pytest.mark.slow
def test_in_every_order_of_events_nothing_is_lost_and_nothing_is_published_twice(
    simulate: Callable[[Sequence[str]], Simulation],
) -> None:
    """Two drops, and what else happens in any order: 12 orders drawn with a fixed seed, then quiet."""
    source = random.Random(20261126)
    for _ in range(12):
        events = [DROP, DROP] + [TICK] * 6 + [BEGIN] * 3 + [END] * 3
        source.shuffle(events)
        simulation = simulate(events)
        simulation.settle()
        assert simulation.published == {path.name for path in simulation.landing.iterdir()}, events
        assert simulation.publications <= simulation.drops, events
        before = len(simulation.instance.get_runs())
        simulation.settle()
        assert len(simulation.instance.get_runs()) == before, ("it does not settle", events)


def test_files_that_come_one_after_another_are_read_once_the_folder_is_quiet(
    simulate: Callable[[Sequence[str]], Simulation],
) -> None:
    simulation = simulate([DROP, TICK] * 5)
    assert simulation.instance.get_runs() == []
    simulation.tick()
    assert [run.job_name for run in simulation.instance.get_runs()] == ["ingest"]


def test_a_folder_that_returns_to_an_earlier_state_is_evaluated_again(
    simulate: Callable[[Sequence[str]], Simulation],
) -> None:
    """Dagster starts one run for a run key, ever: a key made of the folder's state would be skipped here."""
    simulation = simulate([])
    path = simulation.landing / "m.jsonl"
    for number in range(2):
        path.write_text("{}\n")
        os.utime(path, (1, 1))
        simulation.settle()
        assert simulation.published == {"m.jsonl"}
        path.unlink()
        simulation.settle()
        assert simulation.published == frozenset()
        assert simulation.publications == 2 * (number + 1)


def test_a_change_that_an_ingest_finds_to_be_none_is_not_evaluated(
    simulate: Callable[[Sequence[str]], Simulation],
) -> None:
    simulation = simulate([DROP])
    simulation.settle()
    os.utime(simulation.landing / "model-0.jsonl", (1, 1))
    simulation.settle()
    assert sorted(run.job_name for run in simulation.instance.get_runs()) == ["evaluate", "ingest", "ingest"]


def test_a_missing_landing_folder_is_said_and_not_an_error(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        looked = look(landing_sensor(tmp_path / "none"), dg.build_sensor_context(instance))
    assert looked.skip_reason
    assert str(tmp_path / "none") in (looked.skip_reason.skip_message or "")


@pytest.mark.parametrize("cursor", ["{state}", '["{state}", "{state}"]'])
def test_the_cursor_of_an_earlier_version_is_understood(tmp_path: Path, cursor: str) -> None:
    """It was the state last taken, then a list: an upgrade reads nothing again, and evaluates nothing again."""
    landing = tmp_path / "landing"
    landing.mkdir()
    sensor = landing_sensor(landing)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        state = Progress.parse(look(sensor, dg.build_sensor_context(instance)).cursor).seen
        assert state
        looked = look(sensor, dg.build_sensor_context(instance, cursor=cursor.replace("{state}", state)))
        assert not looked.run_requests
        assert looked.skip_reason
        assert "has not changed" in (looked.skip_reason.skip_message or "")
        (landing / "m.jsonl").write_text("{}\n")
        looked = look(sensor, dg.build_sensor_context(instance, cursor=looked.cursor))
        assert "is changing" in (looked.skip_reason.skip_message or "" if looked.skip_reason else "")


def test_runs_that_end_in_another_order_are_each_followed(
    simulate: Callable[[Sequence[str]], Simulation], jobs: dict[str, dg.JobDefinition]
) -> None:
    """Two ingests by hand, of which the first ends last and has found something more."""
    simulation = simulate([])
    simulation.settle()
    before, instance = simulation.publications, simulation.instance
    first, second = (
        instance.create_run_for_job(jobs["ingest"], status=dg.DagsterRunStatus.NOT_STARTED) for _ in range(2)
    )
    for run, state in ((second, "one"), (first, "two")):
        instance.add_run_tags(run.run_id, {BEGUN_TAG: "yes", LANDED_TAG: state})
        instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, "ingest"), run.run_id)
        simulation.tick()
        simulation.begin()
        simulation.end()
    assert simulation.publications == before + 2


@pytest.mark.parametrize("failures", [1, 3])
def test_a_run_that_could_not_be_launched_is_asked_for_again(
    simulate: Callable[[Sequence[str]], Simulation], failures: int
) -> None:
    simulation = simulate([DROP, TICK, TICK])
    for number in range(failures):
        simulation.fail_launch()
        for _ in range(LAUNCH_AGAIN_AFTER[number]):
            simulation.tick()
            assert len(simulation.instance.get_runs()) == number + 1
        simulation.tick()
        assert len(simulation.instance.get_runs()) == number + 2
    simulation.begin()
    simulation.end()
    simulation.tick()
    simulation.fail_launch()
    simulation.settle(LAUNCH_AGAIN_AFTER[0] + 2)
    assert simulation.publications == 1
    assert simulation.published == {"model-0.jsonl"}
    evaluations = simulation.instance.get_runs(dg.RunsFilter(job_name="evaluate"))
    assert [run.tags[SCOPE_TAG] for run in evaluations] == [NEW, NEW]


@pytest.mark.slow
def test_a_run_that_can_never_be_launched_is_not_asked_for_for_ever(
    simulate: Callable[[Sequence[str]], Simulation],
) -> None:
    simulation = simulate([DROP, TICK, TICK])
    for _ in range(3 * sum(LAUNCH_AGAIN_AFTER)):
        if simulation.is_waiting:
            simulation.fail_launch()
        simulation.tick()
    assert len(simulation.instance.get_runs()) == 1 + len(LAUNCH_AGAIN_AFTER)
    simulation.drop()
    simulation.settle()
    assert len(simulation.published) == 2


@pytest.mark.parametrize("part", ["a partition", "some partitions", "an asset", "a step"])
def test_an_evaluation_of_a_part_that_an_operator_launched_stands_for_no_whole_one(
    simulate: Callable[[Sequence[str]], Simulation], jobs: dict[str, dg.JobDefinition], part: str
) -> None:
    """It reads the landing folder, so the raw tables are as a drop left them, and judges only what it was told to."""
    simulation = simulate([DROP, TICK, TICK, BEGIN, END])
    tags = {
        "a partition": {"dagster/partition": "m1"},
        "some partitions": {"dagster/asset_partition_range_start": "m1", "dagster/asset_partition_range_end": "m2"},
    }.get(part, {})
    instance = simulation.instance
    plan = create_execution_plan(jobs["evaluate"], step_keys_to_execute=["step"] if part == "a step" else None)
    run = instance.create_run_for_job(jobs["evaluate"], plan, tags=tags, status=dg.DagsterRunStatus.NOT_STARTED)
    if part == "an asset":  # the jobs here have none, so Dagster would not create it
        instance.delete_run(run.run_id)
        run = instance.add_run(run._replace(asset_selection=frozenset({dg.AssetKey(["raw", "instructions"])})))
    (ingest,) = instance.get_runs(dg.RunsFilter(job_name="ingest"))
    if part != "a partition":  # it has begun with what the ingest left, and not only waits
        instance.add_run_tags(run.run_id, {BEGUN_TAG: "yes", LANDED_TAG: ingest.tags[LANDED_TAG]})
    simulation.settle()
    assert simulation.publications == 1


@pytest.mark.slow
def test_a_night_that_finds_another_evaluation_waiting_leaves_the_work_to_it(
    tmp_path: Path, jobs: dict[str, dg.JobDefinition]
) -> None:
    nightly = nightly_schedule(flow_settings(tmp_path, "http://127.0.0.1:1/v1"))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, dg.build_schedule_context(instance) as context:
        waiting = instance.create_run_for_job(jobs["evaluate"], status=dg.DagsterRunStatus.NOT_STARTED)
        assert isinstance(nightly(context), dg.SkipReason)
        instance.add_run_tags(waiting.run_id, {BEGUN_TAG: "yes"})
        assert isinstance(nightly(context), dg.RunRequest)


def test_a_night_comes_once_whatever_the_clocks_of_the_time_zone_do(tmp_path: Path) -> None:
    """Berlin has no 02:30 on one night of the year, and two of them on another."""
    variables = {"POLLUX_NIGHTLY_CRON": "30 2 * * *", "POLLUX_TIME_ZONE": "Europe/Berlin"}
    nightly = nightly_schedule(flow_settings(tmp_path, "http://127.0.0.1:1/v1", **variables))
    for first_day in (datetime(2027, 3, 27, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)):
        times = _nights(nightly, first_day)
        days = [at.date() for at in times]
        assert len(set(days)) == len(days) == 3


def _nights(schedule: dg.ScheduleDefinition, start: datetime) -> list[datetime]:
    from dagster._utils.schedules import schedule_execution_time_iterator

    times = schedule_execution_time_iterator(
        start.timestamp(), str(schedule.cron_schedule), schedule.execution_timezone, ascending=True
    )
    return list(itertools.islice(times, 3))
