"""The Dagster instance of one home: SQLite storage beside the results, one warehouse writer and one judge at a time."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

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


def open_instance(dagster_home: Path) -> dg.DagsterInstance:
    """The instance stored in `dagster_home`, which is created with our settings when it is new."""
    dagster_home.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = dagster_home / "dagster.yaml"
    if not config.exists():
        config.write_text(DAGSTER_YAML)
    return dg.DagsterInstance.from_config(str(dagster_home))
