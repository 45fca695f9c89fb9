"""The Dagster instance of one home: SQLite storage beside the results, one warehouse writer and one judge at a time."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import filelock
from dagster._core.storage.event_log import SqlEventLogStorage

from pollux_dagster.judge.server.processes import ProcessName, is_running, name_process

DAGSTER_YAML = """\
# Written by pollux when it first uses this home; yours to edit from then on.
telemetry:
  enabled: false
nux:
  enabled: false          # no sign-up dialog over the first page
concurrency:
  pools:
    default_limit: 1      # DuckDB has one writer, a GPU box one judge: each pool admits one step at a time
    granularity: op
  runs:
    max_concurrent_runs: 4
run_monitoring:
  enabled: true           # a worker that died (kill -9, out of memory) is noticed and its run failed
  poll_interval_seconds: 30
  free_slots_after_run_end_seconds: 60  # and the places it held in the pools are given back
run_retries:
  enabled: true           # ... and started again; verdicts that were judged are not asked for twice
  max_retries: 2
  retry_on_asset_or_op_failure: false
"""


UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
PROCESS_TAG = "pollux/process"


def process_tag() -> dict[str, str]:
    """Marks a run as belonging to this process, which a later one can then find dead; needs /proc."""
    name = name_process(os.getpid())
    return {PROCESS_TAG: f"{name.pid} {name.start_ticks} {name.boot_id}"} if name else {}


def bury_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs whose process was killed and give back the places they hold in the pools; returns their ids.

    Dagster notices that a worker died only while the code server that started it lives. After a reboot, and for a run
    of the command line, nobody does, and the dead run's place would keep every later run waiting.
    """
    unfinished = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    dead = [run for run in unfinished if _is_dead(run)]
    for run in dead:
        instance.report_run_failed(run, "its process was killed; what it had done is kept")
    _give_back_places(instance)
    return [run.run_id for run in dead]


def _give_back_places(instance: dg.DagsterInstance) -> None:
    """Free the places of finished runs without a process, and hand free places to steps that wait for one.

    Dagster does neither in one transaction with what makes it necessary. So it is done at every look, and not only for
    the runs just failed: whoever failed a run, or freed a place, may have been killed before it could go on.
    """
    storage = instance.event_log_storage
    holders = storage.get_concurrency_run_ids()
    for run in instance.get_runs(dg.RunsFilter(run_ids=[*holders])) if holders else ():
        if run.is_finished and _is_dead(run):
            storage.free_concurrency_slots_for_run(run.run_id)
    if isinstance(storage, SqlEventLogStorage):
        for pool in storage.get_concurrency_keys():
            if storage.has_unassigned_slots(pool):
                storage.assign_pending_steps([pool])


def _is_dead(run: dg.DagsterRun) -> bool:
    """Whether the run says which process it belongs to, and that one is gone."""
    if PROCESS_TAG not in run.tags:
        return False
    # By ticks since boot: a start time on the wall clock moves when somebody sets the clock.
    pid, start_ticks, boot = run.tags[PROCESS_TAG].split()
    return not is_running(ProcessName(int(pid), int(start_ticks), boot))


def keep_files_private() -> None:
    """From here on this process, and what it starts, makes files and folders that only their owner can open.

    DuckDB's write-ahead log and spill files and Dagster's own storage are made by other people's code, at any time,
    with the process's umask and nothing else to say how.
    """
    os.umask(0o077)


def open_instance(dagster_home: Path) -> dg.DagsterInstance:
    """The instance stored in `dagster_home`, which is created with our settings when it is new."""
    keep_files_private()
    dagster_home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with filelock.FileLock(dagster_home / ".opening.lock", mode=0o600):
        # Dagster makes its tables when it first opens them: two processes at once would both try, and one would fail.
        config = dagster_home / "dagster.yaml"
        if not config.exists():
            _write_whole(config, DAGSTER_YAML)
        return dg.DagsterInstance.from_config(str(dagster_home))


def _write_whole(path: Path, text: str) -> None:
    """All of the file or none of it: Dagster takes an empty one for settings that limit nothing."""
    draft = path.with_name(f".{path.name}.new")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
