"""The executor of runs: one process per run, one run per home at a time, and a liveness file to detect orphaned runs.

A run that fails leaves the last good publication in place and records its cause in it.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg
from dagster import DagsterEvent, DagsterEventType, Executor

from pollux_dagster.runs.dagster_internals.execution import (
    ExecutionPlan,
    InProcessExecutor,
    PlanOrchestrationContext,
    RetryMode,
)
from pollux_dagster.runs.home_lock import BEGUN_TAG, only_run
from pollux_dagster.runs.instance import keep_files_private, liveness_folder
from pollux_dagster.runs.instance_owner import claim_instance
from pollux_dagster.runs.interruption import no_interruption_lost
from pollux_dagster.runs.liveness import announce, withdraw
from pollux_dagster.runs.terminal import cause, with_plain_lines
from pollux_dagster.warehouse.publish import mark_stale


def home_executor(home: Path, published: Path) -> dg.ExecutorDefinition:
    """The executor of every run of `home`, whose publication is `published`.

    One process per run: the warehouse has one writer at a time, so a process per step would only pay for imports. A run
    of another home's instance fails (`instance_owner.ForeignInstanceError`).
    """

    def create(_: dg.InitExecutorContext) -> Executor:
        return _HomeExecutor(InProcessExecutor(retries=RetryMode.ENABLED), home, published)

    # Dagster's own config schema would let a run's config name a file to create.
    return dg.ExecutorDefinition(name="in_process_alone_in_home", config_schema={}, executor_creation_fn=create)


def note_failure(published: Path, run_id: str, events: Iterable[DagsterEvent]) -> list[str]:
    """Record in the publication why this run did not renew it, if the run has failed; returns the causes."""
    reasons = list(dict.fromkeys(reason for event in events if (reason := _reason(event))))
    if reasons:
        mark_stale(published, reason="; ".join(reasons), run_id=run_id)
    return reasons


class _HomeExecutor(Executor):
    """Dagster's in-process executor, run while no other run uses the home.

    The process keeps the run's liveness file locked until it ends.
    """

    def __init__(self, inner: Executor, home: Path, published: Path) -> None:
        self._inner = inner
        self._home = home
        self._published = published

    @property
    def retries(self) -> RetryMode:
        return self._inner.retries

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        keep_files_private()
        claim_instance(plan_context.instance, self._home)
        folder, run_id = liveness_folder(plan_context.instance), plan_context.run_id
        # Until the process ends, not until this generator does: the run is only marked as finished after it.
        atexit.register(withdraw, folder, run_id, announce(folder, run_id))
        events: list[DagsterEvent] = []
        with no_interruption_lost(), only_run(self._home, plan_context.log.info):
            plan_context.instance.add_run_tags(run_id, {BEGUN_TAG: "yes"})
            for event in self._inner.execute(_printing_plain_lines(plan_context), execution_plan):
                if _reason(event):
                    events.append(event)
                yield event
            note_failure(self._published, run_id, events)


def _printing_plain_lines(plan_context: PlanOrchestrationContext) -> PlanOrchestrationContext:
    """The same run with the loggers of its steps set in its config; the stored run is unchanged."""
    data, run = plan_context.plan_data, plan_context.dagster_run
    return PlanOrchestrationContext(
        plan_data=data._replace(dagster_run=run._replace(run_config=with_plain_lines(run.run_config))),
        log_manager=plan_context.log,
        executor=plan_context.executor,
        output_capture=plan_context.output_capture,
        resume_from_failure=plan_context.resume_from_failure,
    )


def _reason(event: DagsterEvent) -> str:
    """The cause in one line, where the event reports a failed blocking check or step; "" otherwise."""
    if event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION:
        check = event.asset_check_evaluation_data
        if not check.passed and check.blocking:
            return f"{check.check_name} of {'.'.join(check.asset_key.path)} failed: {check.description}"
    # The step of a failed check fails too, with a less specific message.
    elif event.is_step_failure and not _is_failed_check(event):
        return f"{event.step_key}: {cause(event.step_failure_data.error)}"
    return ""


def _is_failed_check(event: DagsterEvent) -> bool:
    error = event.step_failure_data.error
    return error is not None and error.cls_name == "DagsterAssetCheckFailedError"
