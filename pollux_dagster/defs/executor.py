"""How a run is executed: in one process, which shows that it lives so that a dead run can be told."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from dagster import DagsterEvent, Executor
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode

from pollux_dagster.defs.instance import liveness_folder
from pollux_dagster.defs.instance_owner import claim_instance
from pollux_dagster.defs.run_liveness import announce, withdraw
from pollux_dagster.defs.terminal import with_plain_lines


class _AnnouncingExecutor(Executor):
    """Dagster's in-process executor, in a process that shows for the rest of its life that it has this run."""

    def __init__(self, inner: Executor, home: Path) -> None:
        self._inner = inner
        self._home = home

    @property
    def retries(self) -> RetryMode:
        return self._inner.retries

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        claim_instance(plan_context.instance, self._home)
        folder, run_id = liveness_folder(plan_context.instance), plan_context.run_id
        # Until the process ends and not until this generator does: the run is only marked as finished after it.
        atexit.register(withdraw, folder, run_id, announce(folder, run_id))
        yield from self._inner.execute(_printing_plain_lines(plan_context), execution_plan)


def _printing_plain_lines(plan_context: PlanOrchestrationContext) -> PlanOrchestrationContext:
    """The same run with the loggers that its steps should have in its config; what is stored of it stays as it is."""
    data, run = plan_context.plan_data, plan_context.dagster_run
    return PlanOrchestrationContext(
        plan_data=data._replace(dagster_run=run._replace(run_config=with_plain_lines(run.run_config))),
        log_manager=plan_context.log,
        executor=plan_context.executor,
        output_capture=plan_context.output_capture,
        resume_from_failure=plan_context.resume_from_failure,
    )


def announcing_executor(home: Path) -> dg.ExecutorDefinition:
    """One process a run: the warehouse has one writer at a time, so a process a step would only pay for imports.

    A run of another home's instance fails (`instance_owner.ForeignInstanceError`).
    """

    def create(init_context: dg.InitExecutorContext) -> Executor:
        return _AnnouncingExecutor(dg.in_process_executor.executor_creation_fn(init_context), home)  # type: ignore[misc]

    return dg.ExecutorDefinition(
        name="in_process",
        config_schema=dg.in_process_executor.config_schema,  # type: ignore[arg-type]  # what Dagster itself passes on
        executor_creation_fn=create,
    )
