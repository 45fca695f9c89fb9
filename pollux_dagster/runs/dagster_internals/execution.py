"""Internals for defining and executing runs; importing them is cheap."""

# Custom executors are possible but not documented: issue 2830. Ours wraps the built-in in-process executor and needs
# the types of `Executor.execute`'s arguments.
# What a run's page shows of an event of our own, with labels and values: `DagsterInstance.report_engine_event` is
# public, the type of its argument is not.
from dagster._core.events import EngineEventData
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

# Tags that say which part of a job a run was launched for and whether it will be retried; the type of
# `SensorEvaluationContext.instance_ref`; and that of `StepFailureData.error`, whose text the terminal shows.
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG, PARTITION_NAME_TAG, WILL_RETRY_TAG
from dagster_shared.error import SerializableErrorInfo

__all__ = [
    "ASSET_PARTITION_RANGE_START_TAG",
    "PARTITION_NAME_TAG",
    "WILL_RETRY_TAG",
    "EngineEventData",
    "ExecutionPlan",
    "InProcessExecutor",
    "InstanceRef",
    "PlanOrchestrationContext",
    "RetryMode",
    "SerializableErrorInfo",
]
