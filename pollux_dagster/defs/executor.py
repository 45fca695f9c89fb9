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
        yield from self._inner.execute(plan_context, execution_plan)


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
