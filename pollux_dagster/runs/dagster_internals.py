"""All Dagster internals that this project uses, and what would make each unnecessary. No other module imports any.

Dagster's version is pinned because of these. `tests/runs/test_dagster_internals.py` fails when a public name appears
that can replace one. Issue numbers are those of github.com/dagster-io/dagster.
"""

# ruff: noqa: I001 - grouped, each group with its reason

# Custom executors are possible but not documented: issue 2830. Ours wraps the built-in in-process executor and needs
# the types of `Executor.execute`'s arguments.
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

# Dagster never deletes runs, and `DagsterInstance.delete_run` also deletes an asset's newest materialization: issues
# 4100 and 33785. Retention therefore works on the storage's tables until Dagster's `retention` setting covers runs.
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, EVENT_TYPE_TO_PIPELINE_RUN_STATUS
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import BackfillTagsTable, BulkActionsTable, RunsTable
from dagster._core.storage.schedules import SqlScheduleStorage
from dagster._core.storage.schedules.schema import JobTickTable
from dagster._time import datetime_from_timestamp

# Dagster's SQLite storage makes an engine for every statement, and stores events that are reported together one by one:
# issue 19618. `runs/sqlite_storage.py` does neither. An instance class is how a dagster.yaml can set another default
# for the storage without naming its folder, so that a home can be moved. The same goes for the files of what a run
# prints, whose helper processes print tracebacks on Ctrl-C (`runs/compute_logs.py`).
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.legacy_storage import CompositeStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._serdes import ConfigurableClassData

# What a run's page shows of an event of our own, with labels and values: `DagsterInstance.report_engine_event` is
# public, the type of its argument is not.
from dagster._core.events import EngineEventData

# Tags that say which part of a job a run was launched for and whether it will be retried; the type of
# `SensorEvaluationContext.instance_ref`; and that of `StepFailureData.error`, whose text the terminal shows.
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG, PARTITION_NAME_TAG, WILL_RETRY_TAG
from dagster_shared.error import SerializableErrorInfo

# The web server has no hook for authentication or other middleware: issue 2219. So the guard wraps the ASGI
# application, which is created the way `dagster-webserver` creates it.
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._grpc.client import DagsterGrpcClient

__all__ = [
    "ASSET_CHECK_EVENTS",
    "ASSET_EVENTS",
    "ASSET_PARTITION_RANGE_START_TAG",
    "BULK_ACTION_TERMINAL_STATUSES",
    "EVENT_TYPE_TO_PIPELINE_RUN_STATUS",
    "PARTITION_NAME_TAG",
    "WILL_RETRY_TAG",
    "AssetCheckExecutionsTable",
    "BackfillTagsTable",
    "BulkActionsTable",
    "CapturedLogContext",
    "CompositeStorage",
    "ConfigurableClassData",
    "DagsterGrpcClient",
    "DagsterUserCodeUnreachableError",
    "EngineEventData",
    "ExecutionPlan",
    "InProcessExecutor",
    "InstanceRef",
    "JobTickTable",
    "LocalComputeLogManager",
    "PlanOrchestrationContext",
    "RetryMode",
    "RunsTable",
    "SerializableErrorInfo",
    "SqlEventLogStorage",
    "SqlEventLogStorageTable",
    "SqlRunStorage",
    "SqlScheduleStorage",
    "SqliteEventLogStorage",
    "SqliteRunStorage",
    "SqliteScheduleStorage",
    "WorkspaceFileTarget",
    "WorkspaceProcessContext",
    "datetime_from_timestamp",
]
