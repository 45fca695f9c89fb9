"""The Dagster instance of one home: SQLite storage beside the results, one run at a time."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import filelock

from pollux_dagster.core.files import write_private
from pollux_dagster.runs.instance_owner import claim_instance
from pollux_dagster.runs.liveness import Liveness, announced, liveness, liveness_by_name, remove_leftovers

DAGSTER_YAML = """\
# Written by pollux when it first uses this home; yours to edit from then on.
instance_class:           # where the storage is SQLite files in this folder, a run needs a third less CPU
  module: pollux_dagster.runs.sqlite_storage
  class: HomeInstance
telemetry:
  enabled: false
nux:
  enabled: false          # no sign-up dialog over the first page
concurrency:
  runs:
    max_concurrent_runs: 1  # runs of a home take turns (run.lock): here they wait as entries of a queue
run_monitoring:
  enabled: true           # a run that never starts, or hangs while being cancelled, is ended
  poll_interval_seconds: 30
run_retries:
  enabled: true           # a run whose process died is started again; what was judged is not asked for twice
  max_retries: 2
  retry_on_asset_or_op_failure: false
auto_materialize:
  enabled: false          # no asset has an automation condition or a freshness policy: nothing to look for all day
freshness:
  enabled: false
python_logs:
  python_log_level: INFO  # of Dagster's own events everything is recorded, but not printed
# How long runs, ticks and logs are kept: POLLUX_KEEP_DAYS and the like.
"""


UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
EARLIER_PROCESS_TAG = "pollux/process"  # set by earlier versions: "pid start-ticks boot-id"


def liveness_folder(instance: dg.DagsterInstance) -> Path:
    """The folder where the processes of this instance's runs show that they are alive: one locked file per run."""
    return Path(instance.root_directory) / "alive"


@contextmanager
def announced_run(instance: dg.DagsterInstance) -> Iterator[str]:
    """Yield the id of a run to execute in this process; its liveness file is held until the block ends."""
    run_id = str(uuid.uuid4())
    with announced(liveness_folder(instance), run_id):
        yield run_id


def fail_orphaned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs whose process is proved dead, cancel those that were being cancelled; returns their ids.

    Dagster notices a dead process only while the code server that started it is alive: not after a reboot, and not for
    a run started on the command line. A run of which nothing can be proved, for instance on another machine, is left to
    Dagster and the operator.
    """
    orphaned = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if _liveness(instance, run) is not Liveness.DEAD:
            continue
        latest = instance.get_run_by_id(run.run_id)  # it may have ended between the listing and the check of its lock
        if latest is None or latest.is_finished:
            continue
        if latest.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(latest, "its process has ended")
        else:
            instance.report_run_failed(latest, "its process was killed; what it had done is kept")
        orphaned.append(run.run_id)
    _remove_leftovers(instance)
    return orphaned


def _liveness(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Liveness:
    if earlier := run.tags.get(EARLIER_PROCESS_TAG):
        pid, start_ticks, boot = earlier.split()
        return liveness_by_name(int(pid), int(start_ticks), boot)
    return liveness(liveness_folder(instance), run.run_id)


def _remove_leftovers(instance: dg.DagsterInstance) -> None:
    """Remove the liveness files of finished runs: a killed process leaves its own behind."""
    folder = liveness_folder(instance)
    run_ids = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if run_ids:
        runs = instance.get_runs(dg.RunsFilter(run_ids=run_ids))
        remove_leftovers(folder, {run.run_id for run in runs if not run.is_finished})


def keep_files_private() -> None:
    """Make the files and folders that this process and its children create accessible to their owner only.

    DuckDB's write-ahead log and spill files and Dagster's own storage are created by third-party code, at any time, and
    only the process's umask controls their mode.
    """
    os.umask(0o077)


def open_instance(dagster_home: Path) -> dg.DagsterInstance:
    """Open the instance stored in `dagster_home`, a folder of its home; a new one is created with our settings.

    Raises:
        ForeignInstanceError: its dagster.yaml points to storage that belongs to another home.
    """
    keep_files_private()
    dagster_home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with filelock.FileLock(dagster_home / ".opening.lock", mode=0o600):
        # Dagster creates its tables when it first opens them: of two processes doing so at once, one would fail.
        config = dagster_home / "dagster.yaml"
        if not config.exists():
            write_private(config, DAGSTER_YAML)  # an empty file would mean settings without limits
        instance = dg.DagsterInstance.from_config(str(dagster_home))
    claim_instance(instance, dagster_home.parent)
    return instance
