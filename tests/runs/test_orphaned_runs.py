"""Runs whose process was killed are failed, and nobody else's: real processes, in other PID namespaces too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from pollux_dagster.judge.server.processes import boot_id, identify_process
from pollux_dagster.runs.instance import EARLIER_PROCESS_TAG, fail_orphaned_runs, open_instance
from pollux_dagster.runs.liveness import INITIAL_PID_NAMESPACE

ROOT = Path(__file__).parents[2]
CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
NO_NAMESPACES = subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode != 0
in_a_container = pytest.param(
    CONTAINER, marks=pytest.mark.skipif(NO_NAMESPACES, reason="`unshare --pid` is not permitted here"), id="container"
)
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
anywhere = pytest.mark.parametrize("prefix", [pytest.param((), id="same"), in_a_container])


@contextmanager
def waiting_run(
    tmp_path: Path, prefix: tuple[str, ...], home: Path | None = None
) -> Iterator[tuple[dg.DagsterInstance, subprocess.Popen[bytes]]]:
    """A process in the middle of a step, and an instance of the home that it runs in."""
    home, release = home or tmp_path / "home", tmp_path / "release"
    command = [*prefix, sys.executable, str(Path(__file__).with_name("waiting_run.py")), str(home), str(release)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT)
    try:
        with open_instance(home / "dagster") as instance:
            _until(
                lambda: (
                    any((home / "dagster" / "alive").glob("[!.]*"))
                    and bool(_runs(instance, dg.DagsterRunStatus.STARTED))
                )
            )
            yield instance, process
    finally:
        release.touch()
        process.send_signal(signal.SIGKILL)
        process.wait()


@contextmanager
def killed_run(home: Path, tmp_path: Path) -> Iterator[tuple[dg.DagsterInstance, str]]:
    """A run of this home whose process was killed in the middle of a step."""
    with waiting_run(tmp_path, (), home) as (instance, process):
        (run_id,) = _runs(instance, dg.DagsterRunStatus.STARTED)
        process.kill()
        process.wait()
        yield instance, run_id


def _runs(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> list[str]:
    return [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=[status]))]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline, "not within four minutes"
        time.sleep(0.05)


def _file(instance: dg.DagsterInstance) -> Path:
    (file,) = (Path(instance.root_directory) / "alive").iterdir()
    return file


def _rewrite(file: Path, **changes: object) -> None:
    """As if another kernel or machine had written it; the lock stays as it is."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@anywhere
def test_a_living_run_is_left_alone_and_ends_well(tmp_path: Path, prefix: tuple[str, ...]) -> None:
    with waiting_run(tmp_path, prefix) as (instance, process):
        assert fail_orphaned_runs(instance) == []
        (tmp_path / "release").touch()
        assert process.wait(60) == 0
        assert _runs(instance, dg.DagsterRunStatus.SUCCESS)
        assert not any((Path(instance.root_directory) / "alive").iterdir())


@anywhere
def test_a_killed_run_is_failed_once(tmp_path: Path, prefix: tuple[str, ...]) -> None:
    with waiting_run(tmp_path, prefix) as (instance, process):
        (run_id,) = _runs(instance, dg.DagsterRunStatus.STARTED)
        process.kill()
        process.wait()
        _until(lambda: fail_orphaned_runs(instance) == [run_id])
        assert _runs(instance, dg.DagsterRunStatus.FAILURE) == [run_id]
        assert fail_orphaned_runs(instance) == []
        assert not any((Path(instance.root_directory) / "alive").iterdir())


def test_a_run_that_is_being_cancelled_and_dies_is_cancelled_and_not_failed(tmp_path: Path) -> None:
    """A failed run is started again; what somebody wanted to stop is not."""
    with waiting_run(tmp_path, ()) as (instance, process):
        (run_id,) = _runs(instance, dg.DagsterRunStatus.STARTED)
        run = instance.get_run_by_id(run_id)
        assert run is not None
        instance.report_run_canceling(run)
        process.kill()
        process.wait()
        assert fail_orphaned_runs(instance) == [run_id]
        assert _runs(instance, dg.DagsterRunStatus.CANCELED) == [run_id]


LONG_AGO = (1.0, 1.0)


def test_after_a_reboot_of_its_machine_a_run_is_failed(tmp_path: Path) -> None:
    with killed_run(tmp_path / "home", tmp_path) as (instance, run_id):
        _rewrite(_file(instance), boot_id="the boot before", device=0)
        os.utime(_file(instance), LONG_AGO)
        assert fail_orphaned_runs(instance) == [run_id]


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"boot_id": "another kernel", "machine_id": "another machine"},
        {"boot_id": "another kernel", "hostname": "another-host"},
        {"device": 0},  # another mount of the same files, whose locks are not ours to see
    ],
    ids=lambda changes: ",".join(changes),
)
def test_a_run_of_another_machine_or_mount_is_left_alone_although_its_lock_looks_free(
    tmp_path: Path, elsewhere: dict[str, object]
) -> None:
    with killed_run(tmp_path / "home", tmp_path) as (instance, run_id):
        _rewrite(_file(instance), **elsewhere)
        os.utime(_file(instance), LONG_AGO)
        assert fail_orphaned_runs(instance) == []
        assert _runs(instance, dg.DagsterRunStatus.STARTED) == [run_id]


def test_a_run_that_began_after_our_boot_did_not_die_by_it(tmp_path: Path) -> None:
    """Two machines of one image can share machine id and host name."""
    with killed_run(tmp_path / "home", tmp_path) as (instance, _):
        _rewrite(_file(instance), boot_id="another kernel")
        assert fail_orphaned_runs(instance) == []


def earlier_run(instance: dg.DagsterInstance, process: str) -> str:
    """A started run of an earlier version, which names its process in a tag."""

    @dg.job
    def empty() -> None:
        pass

    status = dg.DagsterRunStatus.STARTED
    return instance.create_run_for_job(empty, status=status, tags={EARLIER_PROCESS_TAG: process}).run_id


sees_all = pytest.mark.skipif(
    Path("/proc/self/ns/pid").readlink().name != INITIAL_PID_NAMESPACE, reason="this is a container"
)


@sees_all
def test_of_an_earlier_versions_runs_only_those_without_a_process_anywhere_are_failed(tmp_path: Path) -> None:
    sleeper = [*(() if NO_NAMESPACES else CONTAINER), "sh", "-c", "echo; exec sleep 600"]
    with subprocess.Popen(sleeper, stdout=subprocess.PIPE) as living, open_instance(tmp_path / "dagster") as instance:
        assert living.stdout is not None
        living.stdout.readline()
        pid = living.pid if NO_NAMESPACES else _only_child(living.pid)
        name = identify_process(pid)
        assert name is not None
        kept = [
            earlier_run(instance, f"{pid if NO_NAMESPACES else 1} {name.start_ticks} {boot_id()}"),
            earlier_run(instance, "999999999 1 another-boot"),  # a reboot, or another machine: nobody can tell
        ]
        dead = earlier_run(instance, f"999999999 1 {boot_id()}")
        assert fail_orphaned_runs(instance) == [dead]
        assert sorted(_runs(instance, dg.DagsterRunStatus.STARTED)) == sorted(kept)
        os.kill(pid, signal.SIGKILL)
        living.wait()
        assert fail_orphaned_runs(instance) == kept[:1]


def _only_child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


@pytest.mark.skipif(NO_NAMESPACES, reason="`unshare --pid` is not permitted here")
def test_a_container_proves_nothing_by_process_numbers() -> None:
    code = (
        "from pollux_dagster.runs.liveness import liveness_by_name\n"
        "from pollux_dagster.judge.server.processes import boot_id\n"
        "print(liveness_by_name(999999999, 1, boot_id()).name)"
    )
    said = subprocess.run(
        [*CONTAINER, sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert said.stdout == "UNKNOWN\n"
