"""How a run is executed: in one process, which first writes its name on the run so that a dead run can be told."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
from dagster import DagsterEvent, Executor
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode

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


def _named(init_context: dg.InitExecutorContext) -> Executor:
    return _NamedProcessExecutor(dg.in_process_executor.executor_creation_fn(init_context))  # type: ignore[misc]


# One process a run: the warehouse has one writer at a time, so a process a step would only pay for imports.
named_process_executor = dg.ExecutorDefinition(
    name="in_process",
    config_schema=dg.in_process_executor.config_schema,  # type: ignore[arg-type]  # what Dagster itself passes on
    executor_creation_fn=_named,
)
