"""A machine that refuses, under whichever writer it is: the command says what failed, where, and what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import sqlalchemy

from pollux_dagster.refusals import sentence
from pollux_dagster.settings import Settings
from tests.pipeline_world import write_answers, write_instructions

POLLUX = [sys.executable, "-m", "pollux_dagster.cli"]
ON_A_SMALL_DISK = 'mount -t tmpfs -o "$1" tmpfs "$2"; shift 2; exec "$@"'

pytestmark = pytest.mark.slow

WITH_100_BYTES = """
import resource, signal, sys
from pathlib import Path
from pollux_dagster.runs.instance import open_instance
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
open_instance(Path(sys.argv[1]))
"""


def can_mount() -> bool:
    probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    return probe.returncode == 0


def on_a_small_disk(
    place: Path, options: str, command: list[str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the command with a small file system at `place`, which ends with it."""
    place.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        ["unshare", "-m", "sh", "-ec", ON_A_SMALL_DISK, "sh", options, str(place), *command],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("place", "options", "command", "said"),
    [
        ("dagster", "size=300k", "run", "Dagster's storage"),
        ("dagster", "size=8m,nr_inodes=3", "run", "df -i"),
        (".", "size=1m,ro", "run", "Read-only file system"),
    ],
)
def test_a_disk_that_refuses_is_told_in_a_sentence(
    world: Settings, pollux_environment: dict[str, str], place: str, options: str, command: str, said: str
) -> None:
    if not can_mount():
        pytest.skip("no right to mount a small file system")
    write_instructions(world.landing, 1)
    write_answers(world.landing, "a", 1, lambda _: "x")
    ran = on_a_small_disk(world.home / place, options, [*POLLUX, command], pollux_environment)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert "run again" in errors[0] or "another home" in errors[0]


def test_settings_of_dagster_are_written_whole_or_not_at_all(world: Settings) -> None:
    command = [sys.executable, "-c", WITH_100_BYTES, str(world.dagster_home)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    assert sorted(path.name for path in world.dagster_home.iterdir()) == [".opening.lock"]


def test_an_error_that_passes_another_on_is_told_by_what_it_passes_on(tmp_path: Path) -> None:
    file = tmp_path / "read-only.db"
    sqlite3.connect(file).close()
    engine = sqlalchemy.create_engine(f"sqlite:///file:{file}?mode=ro&uri=true")
    with pytest.raises(sqlalchemy.exc.OperationalError) as caught, engine.begin() as con:
        con.execute(sqlalchemy.text("CREATE TABLE t (a INTEGER)"))
    said = sentence(caught.value)
    assert said is not None
    assert "readonly database" in said
    assert "chown" in said


def test_duckdb_on_a_full_device_is_told_with_what_to_do() -> None:
    with pytest.raises(duckdb.IOException) as caught:
        duckdb.sql("COPY (SELECT range FROM range(1_000_000)) TO '/dev/full' (FORMAT csv)")
    said = sentence(caught.value)
    assert said is not None
    assert "/dev/full" in said
    assert "free some and run again" in said


def test_a_file_that_may_not_be_written_is_named() -> None:
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/there")
    said = sentence(error)
    assert said is not None
    assert "/there" in said
    assert "chown" in said


def test_a_bug_keeps_its_traceback() -> None:
    def misuse() -> None:
        try:
            raise PermissionError(errno.EACCES, "denied", "/there")
        except PermissionError:
            raise TypeError("a bug") from None

    with pytest.raises(TypeError) as caught:
        misuse()
    caught.value.__context__ = PermissionError(errno.EACCES, "denied", "/there")
    assert sentence(caught.value) is None
