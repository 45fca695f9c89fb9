"""Old runs, ticks and logs go; what the UI knows about the present stays. The runs are real, their age is set."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable

from pollux_dagster.judge.server.state import ServerFolder, ServerState, StateRecord
from pollux_dagster.runs.instance import open_instance
from pollux_dagster.runs.retention import DAY_S, prune
from pollux_dagster.settings import Retention, Settings

models = dg.DynamicPartitionsDefinition(name="models")


@dg.asset(partitions_def=models)
def answers(context: dg.AssetExecutionContext) -> None:
    context.log.info("read the answers")
    print("to the compute log")  # noqa: T201


@dg.asset
def table(context: dg.AssetExecutionContext) -> None:
    context.log.info("built the table")


@dg.asset_check(asset=table)
def table_is_right() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


KEPT = 4  # fewer than a setting may ask for: what stays does not depend on the number


@pytest.fixture
def settings(world: Settings) -> Settings:
    return replace(world, retention=Retention(days=10, runs=KEPT))


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with open_instance(settings.dagster_home) as opened:
        yield opened


def run_once(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, partition: str | None = None) -> str:
    if partition is not None:
        instance.add_dynamic_partitions("models", [partition])
    checks = [table_is_right] if asset is table else []
    return dg.materialize([asset, *checks], instance=instance, partition_key=partition).run_id


def age(instance: dg.DagsterInstance, run_ids: list[str], days: float) -> None:
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as conn:
        old = RunsTable.c.run_id.in_(run_ids)
        conn.execute(sa.update(RunsTable).where(old).values(end_time=time.time() - days * DAY_S))


def present(instance: dg.DagsterInstance) -> Mapping[str, object]:
    """What the UI shows about assets, partitions and checks as they are now."""
    latest = {key: instance.get_latest_materialization_event(key) for key in (table.key, answers.key)}
    check = table_is_right.check_key
    execution = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
    return {
        "materialized": {key: event and event.run_id for key, event in latest.items()},
        "partitions": instance.get_materialized_partitions(answers.key),
        "by partition": instance.event_log_storage.get_latest_storage_id_by_partition(
            answers.key, dg.DagsterEventType.ASSET_MATERIALIZATION
        ),
        "check": (execution.run_id, execution.status),
    }


@pytest.mark.slow
def test_old_runs_go_and_the_present_stays(instance: dg.DagsterInstance, settings: Settings) -> None:
    landed = [run_once(instance, answers, name) for name in ("once", "again")]
    superseded = [run_once(instance, answers, "again"), run_once(instance, table)]
    recent = [run_once(instance, answers, "again"), run_once(instance, table)]
    age(instance, [*landed, *superseded, *recent], days=11)
    recent += [run_once(instance, table) for _ in range(KEPT)]
    before = present(instance)
    events = instance.event_log_storage
    assert isinstance(events, SqliteEventLogStorage)

    pruned = prune(instance, settings)

    assert present(instance) == before
    left = set(instance.get_run_ids())
    assert left == {landed[0], recent[0], *recent[2:]}  # both models' newest materializations, and the newest of all
    assert (pruned.runs, pruned.thinned) == (4, 2)
    assert {*events.get_all_run_ids()} == left
    assert {path.name for path in (settings.dagster_home / "storage").iterdir()} & {landed[1], *superseded} == set()
    with events.index_connection() as conn:
        for column in (SqlEventLogStorageTable.c.run_id, AssetCheckExecutionsTable.c.run_id):
            assert {*conn.execute(sa.select(column).distinct()).scalars()} <= left
    assert str(prune(instance, settings)) == "nothing was old enough"


@pytest.mark.slow
def test_a_run_that_says_how_things_are_keeps_its_outcome_and_loses_its_messages(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    old = run_once(instance, answers, "once")
    age(instance, [old], days=11)
    for _ in range(KEPT):
        run_once(instance, table)
    prune(instance, settings)
    kinds = [log.dagster_event.event_type_value if log.dagster_event else None for log in instance.all_logs(old)]
    assert None not in kinds
    assert {"PIPELINE_START", "STEP_SUCCESS", "ASSET_MATERIALIZATION", "PIPELINE_SUCCESS"} <= {*kinds}
    assert instance.get_run_stats(old).steps_succeeded == 1


@pytest.mark.slow
def test_the_newest_runs_stay_whatever_the_clock_says(instance: dg.DagsterInstance, settings: Settings) -> None:
    runs = [run_once(instance, table) for _ in range(3)]
    age(instance, runs, days=400)
    assert prune(instance, settings).runs == 0
    assert set(instance.get_run_ids()) == set(runs)


@pytest.mark.slow
def test_a_run_under_way_stays_however_old(instance: dg.DagsterInstance, settings: Settings) -> None:
    job = dg.define_asset_job("job", [table]).resolve(asset_graph=dg.Definitions([table]).resolve_asset_graph())
    going = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    age(instance, [going.run_id], days=400)
    for _ in range(KEPT + 1):
        run_once(instance, table)
    prune(instance, settings)
    assert instance.get_run_by_id(going.run_id) is not None


@pytest.mark.slow
def test_no_number_of_an_event_is_given_twice(instance: dg.DagsterInstance, settings: Settings) -> None:
    """A sensor on runs remembers the number of the last event it saw, and SQLite reuses the highest that is deleted."""
    failed = dg.materialize([failing], instance=instance, raise_on_error=False).run_id
    for _ in range(KEPT + 1):
        run_once(instance, table)
    run = instance.get_run_by_id(failed)
    assert run is not None
    instance.report_engine_event("seen late", run)
    instance.report_run_canceled(run)  # the highest number belongs to the oldest run
    highest = _highest_number(instance)
    prune(instance, settings)
    assert _highest_number(instance) == highest


@dg.asset
def failing() -> None:
    raise RuntimeError("as planned")


def _highest_number(instance: dg.DagsterInstance) -> int:
    events = instance.event_log_storage
    assert isinstance(events, SqlEventLogStorage)
    with events.index_connection() as conn:
        return int(conn.execute(sa.select(sa.func.max(SqlEventLogStorageTable.c.id))).scalar_one())


@pytest.mark.slow
def test_event_files_without_a_run_go(instance: dg.DagsterInstance, settings: Settings) -> None:
    """The UI's own Delete leaves them."""
    deleted = run_once(instance, table)
    instance.delete_run(deleted)
    events = instance.event_log_storage
    assert isinstance(events, SqliteEventLogStorage)
    file = Path(events.path_for_shard(deleted))
    assert file.exists()
    prune(instance, settings)
    assert file.exists(), "it may belong to a run that is just being created"
    os.utime(file, (0, 0))
    prune(instance, settings)
    assert not file.exists()


def test_ticks_go_by_age_and_the_newest_of_each_sensor_stays(instance: dg.DagsterInstance, settings: Settings) -> None:
    def tick(sensor: str, status: TickStatus, days: float) -> None:
        at = time.time() - days * DAY_S
        instance.create_tick(
            TickData(sensor, sensor, InstigatorType.SENSOR, status, at, selector_id=sensor, run_ids=[])
        )

    for days in (400, 9, 2):
        tick("landing", TickStatus.SKIPPED, days)
        tick("nightly", TickStatus.SUCCESS, days * 3)
    tick("landing", TickStatus.SKIPPED, 0)
    assert prune(instance, settings).ticks == 3 + 2
    assert [status.status for status in instance.get_ticks("landing", "landing")] == [TickStatus.SKIPPED]
    assert len(instance.get_ticks("nightly", "nightly")) == 1


@pytest.mark.slow
def test_free_pages_of_a_bloated_file_go_back_to_the_disk(instance: dg.DagsterInstance, settings: Settings) -> None:
    for at in range(3000):
        reason = "the landing folder has not changed " * 30
        instance.create_tick(
            TickData("s", "s", InstigatorType.SENSOR, TickStatus.SKIPPED, time.time() - 3 * DAY_S + at,
                     selector_id="s", skip_reason=reason)
        )  # fmt: skip
    file = settings.dagster_home / "schedules" / "schedules.db"
    assert prune(instance, settings).ticks == 2999
    assert file.stat().st_size < 200_000


def test_logs_of_servers_nobody_used_and_old_set_aside_warehouses_go(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    long_ago = time.time() - 11 * DAY_S
    for key in ("old", "new", "supervised"):
        folder = ServerFolder(settings.servers, key)
        folder.create()
        folder.write_state(StateRecord(key, ServerState.STOPPED, 1, "vllm", "judge"))
        folder.engine_log(1).write_text("loading\n")
        for path in (folder.path / "state.json", folder.path) if key != "new" else ():
            os.utime(path, (long_ago, long_ago))
    old, new = (
        f"{settings.warehouse}.broken-{datetime.fromtimestamp(t, UTC):%Y%m%dT%H%M%SZ}" for t in (long_ago, time.time())
    )
    for name in (old, f"{old}.wal", new, f"{settings.warehouse}.broken-by-hand"):
        Path(name).write_bytes(b"x")
    with ServerFolder(settings.servers, "supervised").supervisor_lock(wait_s=0):
        pruned = prune(instance, settings)
    assert (pruned.servers, pruned.warehouses) == (1, 2)
    assert {path.name for path in settings.servers.iterdir()} == {"new", "supervised"}
    assert {path.name for path in settings.home.glob("*.broken-*")} == {
        Path(new).name,
        "warehouse.duckdb.broken-by-hand",
    }


@pytest.mark.slow
def test_only_one_process_prunes_at_a_time(instance: dg.DagsterInstance, settings: Settings) -> None:
    for _ in range(KEPT + 1):
        run_once(instance, table)
    with (settings.dagster_home / ".retention.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not prune(instance, settings)
    assert prune(instance, settings).runs == 1


logging.getLogger("dagster").setLevel(logging.WARNING)
