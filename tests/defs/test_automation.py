"""Runs whose process died are failed."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest

from pollux_dagster.definitions import build_defs
from pollux_dagster.defs.automation import dead_runs
from pollux_dagster.judge.server.processes import identify_process
from pollux_dagster.runs.instance import EARLIER_PROCESS_TAG, fail_orphaned_runs, open_instance
from pollux_dagster.settings import Settings


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


OURSELVES = identify_process(os.getpid())
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
        asset_graph=build_defs(Settings.from_environment({})).resolve_asset_graph(),
    )


def test_a_living_run_is_left_alone_and_one_whose_process_is_gone_is_failed_by_the_daemon(settings: Settings) -> None:
    with open_instance(settings.dagster_home) as instance:
        living, dead = _started_run(instance, LIVING), _started_run(instance, DEAD)
        with dg.build_sensor_context(instance=instance) as context:
            said = dead_runs(context)
        assert isinstance(said, dg.SkipReason)
        assert dead.run_id in (said.skip_message or "")
        assert instance.get_run_by_id(dead.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
        assert instance.get_run_by_id(living.run_id).status is dg.DagsterRunStatus.STARTED  # type: ignore[union-attr]
        assert fail_orphaned_runs(instance) == []
