"""Internals for Dagster's storage: retention, and SQLite files that stay open."""

# ruff: noqa: I001 - grouped, each group with its reason

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
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.legacy_storage import CompositeStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._serdes import ConfigurableClassData

__all__ = [
    "ASSET_CHECK_EVENTS",
    "ASSET_EVENTS",
    "BULK_ACTION_TERMINAL_STATUSES",
    "EVENT_TYPE_TO_PIPELINE_RUN_STATUS",
    "AssetCheckExecutionsTable",
    "BackfillTagsTable",
    "BulkActionsTable",
    "CapturedLogContext",
    "CompositeStorage",
    "ConfigurableClassData",
    "InstanceRef",
    "JobTickTable",
    "LocalComputeLogManager",
    "RunsTable",
    "SqlEventLogStorage",
    "SqlEventLogStorageTable",
    "SqlRunStorage",
    "SqlScheduleStorage",
    "SqliteEventLogStorage",
    "SqliteRunStorage",
    "SqliteScheduleStorage",
    "datetime_from_timestamp",
]
