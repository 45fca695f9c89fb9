"""Dagster's daemon killed while a run it started is judging, and started again.

The one idea: what the daemon forgot is in its storage and what the run had done is in the ledger, so the run is picked
up or retried and ends with the undisturbed table.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import dagster as dg

from pollux_dagster.core.profile_files import packaged_profile
from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.runs.instance import open_instance
from pollux_dagster.settings import Settings
from tests.chaos.arena import Arena, World
from tests.chaos.faults import judge_on
from tests.chaos.world import ChaosError, compare, read_rows, settings_of

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"
WITHIN_S = 420.0


def restart_the_daemon(arena: Arena, world: World, judge: Endpoint) -> Mapping[str, object]:
    """Launch `ingest`, then `evaluate`, through the daemon; SIGKILL it when a verdict is on disk, start another.

    Needs a judge by address, so that the run does not depend on who started its server. Raises ChaosError.
    """
    settings, environment = attached(arena, judge, arena.folder / "homes" / "daemon", world)
    profile = replace(packaged_profile(arena.profile.name), model=judge.model, weights=None)
    alone = settings_of(arena.folder / "homes" / "daemon-undisturbed", world.landing)
    undisturbed = judge_on(alone, judge.base_url, judge, profile, "undisturbed").rows
    with open_instance(settings.dagster_home) as instance:
        daemon = _daemon(environment, settings)
        try:
            _launch(environment, "ingest", {})
            _wait(lambda: bool(instance.get_dynamic_partitions("models")), "the landing folder was read")
            _wait(lambda: not _unfinished(instance), "the ingest is over")
            _launch(environment, "evaluate", {})
            _wait(lambda: _flushed(settings) > 0, "a verdict is on disk")
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()
            at_kill = _flushed(settings)
            daemon = _daemon(environment, settings)
            _wait(lambda: settings.published.exists() and not _unfinished(instance), "the run is over")
            runs = len(instance.get_run_ids())
        finally:
            daemon.terminate()
            daemon.wait(60)
    compare(read_rows(settings.published), undisturbed)
    return {"verdicts_at_the_kill": at_kill, "runs": runs, "needed": len(undisturbed)}


def attached(arena: Arena, judge: Endpoint, home: Path, world: World) -> tuple[Settings, dict[str, str]]:
    """Settings, and the environment of a process, that evaluate `world` in `home` on the judge at this address."""
    settings = replace(
        settings_of(home, world.landing, arena.profile.name), judge_url=judge.base_url, judge_model=judge.model
    )
    home.mkdir(parents=True, exist_ok=True)
    ours = {"DAGSTER_HOME": str(settings.dagster_home), settings.api_key_variable: judge.api_key}
    return settings, {**os.environ, **settings.to_environment(), **ours}


def _daemon(environment: Mapping[str, str], settings: Settings) -> subprocess.Popen[bytes]:
    with (settings.home / "daemon.log").open("ab") as log:
        command = [sys.executable, "-m", "dagster._daemon", "run", "-w", str(WORKSPACE)]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=WORKSPACE.parent)


def _launch(environment: Mapping[str, str], job: str, tags: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "dagster", "job", "launch", "-w", str(WORKSPACE), "-j", job]
    done = subprocess.run(
        [*command, "--tags", json.dumps(tags)], env=environment, capture_output=True, text=True, check=False,
        cwd=WORKSPACE.parent,
    )  # fmt: skip
    if done.returncode:
        raise ChaosError(f"`dagster job launch -j {job}` failed: {(done.stdout + done.stderr)[-1500:]}")


def _unfinished(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    waiting = [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
    return list(instance.get_runs(dg.RunsFilter(statuses=waiting)))


def _flushed(settings: Settings) -> int:
    return sum(path.read_bytes().count(b"\n") for path in settings.ledger.glob("active/*.active"))


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            raise ChaosError(f"not within {WITHIN_S:g} s: {what}")
        time.sleep(0.1)
