"""A process that executes one run, whose step waits until a file appears: `python waiting_run.py HOME FILE`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import dagster as dg

from pollux_dagster.runs.executor import Conclusion, home_executor
from pollux_dagster.runs.instance import open_instance


def waiting_job() -> dg.JobDefinition:
    home = Path(os.environ["WAIT_HOME"])

    @dg.op
    def wait() -> None:
        file = Path(os.environ["WAIT_FOR"])
        while not file.exists():
            time.sleep(0.02)

    at = Conclusion(home / "published" / "pollux.duckdb", home / "metrics" / "pollux.prom")

    @dg.job(executor_def=home_executor(home, at))
    def waiting() -> None:
        wait()

    return waiting


if __name__ == "__main__":
    os.environ["WAIT_HOME"], os.environ["WAIT_FOR"] = sys.argv[1:]
    with open_instance(Path(os.environ["WAIT_HOME"]) / "dagster") as opened:
        result = dg.execute_job(dg.reconstructable(waiting_job), opened)
    sys.exit(0 if result.success else 1)
