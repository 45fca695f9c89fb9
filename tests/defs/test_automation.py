"""What runs by itself: the sensor on the landing folder, the nightly schedule, and the flow of a new model."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.definitions.automation_tick_evaluation_context import AutomationTickEvaluationContext
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.storage.event_log import SqlEventLogStorage

from pollux_dagster.defs import pool_waits
from pollux_dagster.defs.automation import RANGE_END, RANGE_START, dead_runs, flow, landing_sensor, nightly
from pollux_dagster.defs.build import build_defs
from pollux_dagster.defs.instance import EARLIER_PROCESS_TAG, fail_orphaned_runs, open_instance
from pollux_dagster.defs.partitions import register_models
from pollux_dagster.defs.pool_waits import LONGEST_WAIT_S
from pollux_dagster.defs.raw import RAW_TABLES
from pollux_dagster.defs.resources import LandingResource
from pollux_dagster.defs.settings import Settings
from pollux_dagster.judge.server.processes import name_process


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "landing").mkdir()
    return Settings.from_environment(
        {
            "POLLUX_HOME": str(tmp_path / "home"),
            "POLLUX_LANDING": str(tmp_path / "landing"),
            "POLLUX_PROFILE": "demo",
        }
    )


def _tick(settings: Settings, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(cursor=cursor)
    return landing_sensor(context, landing=LandingResource(path=str(settings.landing), taxonomy=""))


def test_a_new_file_starts_an_ingest_and_an_unchanged_folder_does_not(settings: Settings) -> None:
    (settings.landing / "m.jsonl").write_text('{"prompt_id": 1, "answer": "да"}\n')
    first = _tick(settings, None)
    assert isinstance(first, dg.SensorResult)
    assert len(first.run_requests or []) == 1
    assert isinstance(_tick(settings, first.cursor), dg.SkipReason)

    (settings.landing / "m.jsonl").write_text('{"prompt_id": 1, "answer": "нет"}\n')
    second = _tick(settings, first.cursor)
    assert isinstance(second, dg.SensorResult)
    assert len(second.run_requests or []) == 1


def test_a_folder_that_returns_to_an_earlier_state_is_read_again(settings: Settings) -> None:
    """Dagster starts one run for a run key, ever: a key made of the folder's state would be skipped here."""
    cursor, keys = None, []
    for _ in range(2):
        (settings.landing / "m.jsonl").write_text("{}\n")
        os.utime(settings.landing / "m.jsonl", (1, 1))
        for _ in ("there", "gone"):
            tick = _tick(settings, cursor)
            assert isinstance(tick, dg.SensorResult)
            cursor = tick.cursor
            keys += [request.run_key for request in tick.run_requests or []]
            (settings.landing / "m.jsonl").unlink(missing_ok=True)
    assert keys == [None] * 4


def test_a_missing_landing_folder_is_said_and_not_an_error(settings: Settings) -> None:
    settings.landing.rmdir()
    skipped = _tick(settings, None)
    assert isinstance(skipped, dg.SkipReason)
    assert str(settings.landing) in (skipped.skip_message or "")


def test_the_nightly_run_takes_every_model_in_one_run(settings: Settings) -> None:
    with open_instance(settings.dagster_home) as instance:
        with dg.build_schedule_context(instance=instance) as context:
            assert isinstance(nightly(context), dg.SkipReason)
            register_models(instance, ["a", "b", "c"])
            request = nightly(context)
        assert isinstance(request, dg.RunRequest)
        assert (request.tags[RANGE_START], request.tags[RANGE_END]) == ("a", "c")


def test_a_new_model_flows_from_its_answers_to_the_publication_by_itself(settings: Settings) -> None:
    """Each evaluation stands for a tick of the daemon; the assets of the runs it asks for are recorded as done, and as
    passed those checks that such a run has: not every check of its assets has to be among them."""
    defs = build_defs(settings)
    graph = defs.resolve_asset_graph()
    runs: list[set[tuple[str, str | None]]] = []
    with dg.DagsterInstance.ephemeral() as instance:

        def finish(keys: set[dg.AssetKey], partition: str | None, checks: Iterable[dg.AssetCheckKey]) -> None:
            for key in keys:
                instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))
            runs.append({(key.to_user_string(), partition) for key in keys})
            for check in checks:
                instance.report_runless_asset_event(
                    dg.AssetCheckEvaluation(asset_key=check.asset_key, check_name=check.name, passed=True, metadata={})
                )

        def tick(number: int, cursor: AssetDaemonCursor) -> tuple[Sequence[dg.RunRequest], AssetDaemonCursor]:
            """As the daemon evaluates the sensor: with the checks that an asset's own step makes."""
            context = AutomationTickEvaluationContext(
                evaluation_id=number, instance=instance, asset_graph=graph, cursor=cursor, materialize_run_tags={},
                observe_run_tags={}, auto_observe_asset_keys=set(), asset_selection=flow.asset_selection,
                logger=logging.getLogger("flow"), emit_backfills=False,
            )  # fmt: skip
            asked, after, _ = context.evaluate()
            return asked, after

        _, cursor = tick(0, AssetDaemonCursor.empty())
        raw = {dg.AssetKey(["raw", table]) for table in RAW_TABLES}
        finish(raw, None, graph.get_check_keys_for_assets(raw))
        register_models(instance, ["new"])
        for number in range(1, 11):
            asked, cursor = tick(number, cursor)
            for run in asked:
                keys = {*(run.asset_selection or ())}
                checks = run.asset_check_keys
                finish(keys, run.partition_key, graph.get_check_keys_for_assets(keys) if checks is None else checks)
    order = [next(at for at, run in enumerate(runs) if step in run) for step in FLOW]
    assert order == sorted(order)


FLOW: list[tuple[str, str | None]] = [
    ("raw/model_outputs", "new"),
    ("judging/requests", "new"),
    ("judging/verdicts", "new"),
    ("staging/scores", None),
    ("marts/model_quality", None),
    ("published", None),
]


def test_the_places_of_a_killed_run_are_given_back_and_those_of_a_living_one_are_kept(settings: Settings) -> None:
    """A run that was killed in a pooled step would otherwise keep every later run of this home waiting."""
    with open_instance(settings.dagster_home) as instance:
        storage = instance.event_log_storage
        living = _started_run(instance, LIVING)
        dead = _started_run(instance, DEAD)
        storage.initialize_concurrency_limit_to_default("warehouse")
        assert storage.claim_concurrency_slot("warehouse", dead.run_id, "step").is_claimed
        assert not storage.claim_concurrency_slot("warehouse", living.run_id, "step").is_claimed

        assert fail_orphaned_runs(instance) == [dead.run_id]

        assert storage.claim_concurrency_slot("warehouse", living.run_id, "step").is_claimed
        assert instance.get_run_by_id(dead.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
        assert fail_orphaned_runs(instance) == []


def test_a_place_is_given_back_although_whoever_failed_its_run_was_killed_before_that(settings: Settings) -> None:
    with open_instance(settings.dagster_home) as instance:
        storage = instance.event_log_storage
        living = _started_run(instance, LIVING)
        dead = _started_run(instance, DEAD)
        storage.initialize_concurrency_limit_to_default("judge")
        assert storage.claim_concurrency_slot("judge", dead.run_id, "step").is_claimed
        instance.report_run_failed(dead)
        assert not storage.claim_concurrency_slot("judge", living.run_id, "step").is_claimed

        assert fail_orphaned_runs(instance) == []

        assert storage.claim_concurrency_slot("judge", living.run_id, "step").is_claimed


def test_a_free_place_goes_to_a_waiting_step_although_whoever_freed_it_was_killed_before_that(
    settings: Settings,
) -> None:
    with open_instance(settings.dagster_home) as instance:
        storage = instance.event_log_storage
        assert isinstance(storage, SqlEventLogStorage)
        living, dead = (_started_run(instance, LIVING) for _ in range(2))
        storage.initialize_concurrency_limit_to_default("judge")
        assert storage.claim_concurrency_slot("judge", dead.run_id, "step").is_claimed
        assert not storage.claim_concurrency_slot("judge", living.run_id, "step").is_claimed
        storage._free_concurrency_slots(dead.run_id)  # what Dagster does to free a place, without its last step
        storage._remove_pending_steps(dead.run_id)
        assert not storage.claim_concurrency_slot("judge", living.run_id, "step").is_claimed

        fail_orphaned_runs(instance)

        assert storage.claim_concurrency_slot("judge", living.run_id, "step").is_claimed


OURSELVES = name_process(os.getpid())
assert OURSELVES is not None
LIVING = {EARLIER_PROCESS_TAG: f"{OURSELVES.pid} {OURSELVES.start_ticks} {OURSELVES.boot_id}"}
DEAD = {EARLIER_PROCESS_TAG: f"999999999 1 {OURSELVES.boot_id}"}


def _started_run(instance: dg.DagsterInstance, tags: dict[str, str]) -> dg.DagsterRun:
    return instance.create_run(
        job_name="evaluate",
        run_id=None,
        run_config=None,
        status=dg.DagsterRunStatus.STARTED,
        tags=tags,
        root_run_id=None,
        parent_run_id=None,
        step_keys_to_execute=None,
        execution_plan_snapshot=None,
        job_snapshot=None,
        parent_job_snapshot=None,
        asset_selection=None,
        asset_check_selection=None,
        resolved_op_selection=None,
        op_selection=None,
        remote_job_origin=None,
        job_code_origin=None,
        asset_graph=build_defs().resolve_asset_graph(),
    )


def writing_job() -> dg.JobDefinition:
    @dg.op(pool="warehouse")
    def write() -> None:
        pass

    @dg.job
    def writing() -> None:
        write()

    return writing


def test_a_run_whose_process_is_gone_is_failed_by_the_daemon(settings: Settings) -> None:
    with open_instance(settings.dagster_home) as instance:
        dead = _started_run(instance, DEAD)
        with dg.build_sensor_context(instance=instance) as context:
            said = dead_runs(context)
        assert isinstance(said, dg.SkipReason)
        assert dead.run_id in (said.skip_message or "")
        assert instance.get_run_by_id(dead.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]


def test_a_run_that_waits_for_a_pool_sleeps_and_takes_the_place_soon_after_it_is_free(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_defs(settings)
    looks: list[float] = []

    with open_instance(settings.dagster_home) as instance:
        storage = instance.event_log_storage
        holder = _started_run(instance, LIVING)
        storage.initialize_concurrency_limit_to_default("warehouse")
        assert storage.claim_concurrency_slot("warehouse", holder.run_id, "step").is_claimed

        def look(active: ActiveExecution) -> None:
            looks.append(active.sleep_interval())
            if len(looks) == 4:
                storage.free_concurrency_slots_for_run(holder.run_id)
            sleep(active)

        sleep = ActiveExecution.sleep_til_ready
        monkeypatch.setattr(ActiveExecution, "sleep_til_ready", look)
        assert writing_job().execute_in_process(instance=instance).success
    assert max(looks) <= LONGEST_WAIT_S
    assert len(looks) <= 8  # a run that loops looks thousands of times a second


@pytest.mark.timeout(60)
def test_a_run_that_waits_for_a_killed_one_takes_its_place_with_nobody_elses_help(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_defs(settings)
    monkeypatch.setattr(pool_waits, "LOOK_FOR_THE_DEAD_EVERY_S", 0.0)

    with open_instance(settings.dagster_home) as instance:
        storage = instance.event_log_storage
        killed = _started_run(instance, DEAD)
        storage.initialize_concurrency_limit_to_default("warehouse")
        assert storage.claim_concurrency_slot("warehouse", killed.run_id, "step").is_claimed
        assert writing_job().execute_in_process(instance=instance).success
        assert instance.get_run_by_id(killed.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
