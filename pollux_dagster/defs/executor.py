"""How a run is executed: in one process, which first writes its name on the run so that a dead run can be told."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
from dagster import DagsterEvent, Executor
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

from pollux_dagster.defs.instance import process_tag


class _NamedProcessExecutor(Executor):
    """Dagster's in-process executor, with the process's name as a tag of the run."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner

    @property
    def retries(self) -> RetryMode:
        return self._inner.retries

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        plan_context.instance.add_run_tags(plan_context.run_id, process_tag())
        yield from self._inner.execute(plan_context, execution_plan)


def _named(_: dg.InitExecutorContext) -> Executor:
    return _NamedProcessExecutor(InProcessExecutor(retries=RetryMode.ENABLED))


# One process a run: the warehouse has one writer at a time, so a process a step would only pay for imports.
named_process_executor = dg.ExecutorDefinition(
    name="in_process",
    config_schema={},  # Dagster's own lets a run name a file to be made
    executor_creation_fn=_named,
)
