"""Runs whose process died: they are failed, and what they held is given back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqlEventLogStorage

from pollux_dagster.defs.automation import dead_runs
from pollux_dagster.defs.build import build_defs
from pollux_dagster.defs.executor import home_executor
from pollux_dagster.defs.instance import PROCESS_TAG, bury_dead_runs, open_instance, process_tag
from pollux_dagster.defs.settings import Settings


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


def test_the_places_of_a_killed_run_are_given_back_and_those_of_a_living_one_are_kept(settings: Settings) -> None:
    """A run that was killed in a pooled step would otherwise keep every later run of this home waiting."""
    with open_instance(settings.dagster_home) as instance:
        storage = instance.event_log_storage
        living = _started_run(instance, process_tag())
        dead = _started_run(instance, {PROCESS_TAG: "999999999 1 another-boot"})
        storage.initialize_concurrency_limit_to_default("warehouse")
        assert storage.claim_concurrency_slot("warehouse", dead.run_id, "step").is_claimed
        assert not storage.claim_concurrency_slot("warehouse", living.run_id, "step").is_claimed

        assert bury_dead_runs(instance) == [dead.run_id]

        assert storage.claim_concurrency_slot("warehouse", living.run_id, "step").is_claimed
        assert instance.get_run_by_id(dead.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
        assert bury_dead_runs(instance) == []


def test_a_place_is_given_back_although_whoever_failed_its_run_was_killed_before_that(settings: Settings) -> None:
    with open_instance(settings.dagster_home) as instance:
        storage = instance.event_log_storage
        living = _started_run(instance, process_tag())
        dead = _started_run(instance, {PROCESS_TAG: "999999999 1 another-boot"})
        storage.initialize_concurrency_limit_to_default("judge")
        assert storage.claim_concurrency_slot("judge", dead.run_id, "step").is_claimed
        instance.report_run_failed(dead)
        assert not storage.claim_concurrency_slot("judge", living.run_id, "step").is_claimed

        assert bury_dead_runs(instance) == []

        assert storage.claim_concurrency_slot("judge", living.run_id, "step").is_claimed


def test_a_free_place_goes_to_a_waiting_step_although_whoever_freed_it_was_killed_before_that(
    settings: Settings,
) -> None:
    with open_instance(settings.dagster_home) as instance:
        storage = instance.event_log_storage
        assert isinstance(storage, SqlEventLogStorage)
        living, dead = (_started_run(instance, process_tag()) for _ in range(2))
        storage.initialize_concurrency_limit_to_default("judge")
        assert storage.claim_concurrency_slot("judge", dead.run_id, "step").is_claimed
        assert not storage.claim_concurrency_slot("judge", living.run_id, "step").is_claimed
        storage._free_concurrency_slots(dead.run_id)  # what Dagster does to free a place, without its last step
        storage._remove_pending_steps(dead.run_id)
        assert not storage.claim_concurrency_slot("judge", living.run_id, "step").is_claimed

        bury_dead_runs(instance)

        assert storage.claim_concurrency_slot("judge", living.run_id, "step").is_claimed


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


def one_step_job() -> dg.JobDefinition:
    @dg.op
    def step() -> None:
        pass

    home = Path(tempfile.mkdtemp())

    @dg.job(executor_def=home_executor(home, home / "published.duckdb"))
    def one_step() -> None:
        step()

    return one_step


def test_a_run_of_the_daemon_carries_the_name_of_its_process(settings: Settings) -> None:
    with open_instance(settings.dagster_home) as instance:
        result = dg.execute_job(dg.reconstructable(one_step_job), instance)
        assert result.success
        run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags[PROCESS_TAG] == process_tag()[PROCESS_TAG]


def test_a_run_that_a_reboot_cut_off_is_failed_by_the_daemon(settings: Settings) -> None:
    with open_instance(settings.dagster_home) as instance:
        dead = _started_run(instance, {PROCESS_TAG: "1 1 another-boot"})
        with dg.build_sensor_context(instance=instance) as context:
            said = dead_runs(context)
        assert isinstance(said, dg.SkipReason)
        assert dead.run_id in (said.skip_message or "")
        assert instance.get_run_by_id(dead.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
