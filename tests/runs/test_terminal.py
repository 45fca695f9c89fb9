"""What a failure looks like in the terminal: the project's own words, not what they were made from."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from pollux_dagster.definitions import build_defs
from pollux_dagster.judge.progress import Progress
from pollux_dagster.runs import terminal
from pollux_dagster.runs.dagster_internals.execution import SerializableErrorInfo
from pollux_dagster.runs.terminal import is_interruption, progress_told, terminal_logger
from pollux_dagster.settings import Settings
from tests.pipeline_world import write_answers, write_instructions


class OurError(RuntimeError):
    """Says what to do."""


@pytest.mark.parametrize("retried", [False, True])
def test_a_failure_is_told_in_our_words_and_not_in_those_of_its_cause(
    retried: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    @dg.op
    def fails() -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            ours = OurError("the disk is full: free space and run again")
            ours.__cause__ = error
            if retried:
                raise dg.RetryRequested(max_retries=1, seconds_to_wait=0) from ours
            raise ours from error

    @dg.job(logger_defs={"console": terminal_logger})
    def job() -> None:
        fails()

    logging.getLogger("pollux_dagster.run").handlers.clear()  # a handler keeps the stream it was made with
    assert sys.stderr is not None
    assert not job.execute_in_process(
        run_config={"loggers": {"console": {"config": {"log_level": "INFO"}}}}, raise_on_error=False
    ).success
    logging.getLogger("pollux_dagster.run").handlers.clear()
    printed = capsys.readouterr().err
    assert "free space and run again" in printed
    assert "No space left" not in printed


def test_a_bar_shows_what_is_done_on_the_screen_and_lines_go_to_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def judged(done: int) -> Progress:
        return Progress(done, 40, 0.0, 12.5, 30.0, None, {"off_scale": 3}, 4, 1.0, 0, 0)

    screen = io.StringIO()
    said: list[str] = []
    with progress_told(said.append) as listen:
        listen(judged(40))
    assert [line.startswith("judged 40/40 (100.0%)") for line in said] == [True]
    monkeypatch.setattr(terminal, "_screen", [screen])
    with progress_told(said.append) as listen:
        listen(judged(10))
        line = logging.LogRecord("n", logging.WARNING, "", 0, "a server is away", None, None)
        terminal._Lines(io.StringIO()).emit(line)
    assert "10/40 · 12.5/s · 0:30 left · 3 failed" in screen.getvalue()
    assert "a server is away" in screen.getvalue()


@pytest.mark.slow
def test_the_class_of_our_own_error_is_not_named(world: Settings, pollux_environment: dict[str, str]) -> None:
    write_instructions(world.landing, 1)
    write_answers(world.landing, "m", 1, lambda _: "да")
    command = [sys.executable, "-m", "pollux_dagster.cli", "run", "--judge-url", "http://127.0.0.1:9/v1?key=x"]
    ran = subprocess.run(command, env=pollux_environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "AddressError" not in ran.stderr
    said = ran.stderr.splitlines()
    assert sum("the server's address holds a user, password or query" in line for line in said) == 1
    assert said[-1].startswith("judging__verdicts: the server's address holds")


@pytest.mark.slow
def test_a_run_that_a_daemon_launches_prints_the_same_lines_as_one_of_the_command(tmp_path: Path) -> None:
    """In a process of its own and with an empty config, as the daemon starts it."""
    write_instructions(tmp_path / "landing", 1)
    write_answers(tmp_path / "landing", "m", 1, lambda _: "да")
    code = (
        "import dagster as dg\n"
        "from tests.runs.test_terminal import ingest_job, settings\n"
        "from pollux_dagster.runs.instance import open_instance\n"
        "with open_instance(settings().dagster_home) as instance:\n"
        "    assert dg.execute_job(dg.reconstructable(ingest_job), instance).success\n"
    )
    paths = {"POLLUX_HOME": str(tmp_path / "home"), "POLLUX_LANDING": str(tmp_path / "landing")}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **paths, "PYTHONPATH": str(root)}, cwd=root,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    assert any(line.endswith("  new models: m") for line in lines), lines
    assert [line for line in lines if " - DEBUG - " in line or " - dagster - " in line] == []


def settings() -> Settings:
    return Settings.from_environment()


def ingest_job() -> dg.JobDefinition:
    return build_defs(settings()).resolve_job_def("ingest")


@pytest.mark.parametrize(
    ("cls_name", "message", "is_stopped"),
    [
        ("DagsterExecutionInterruptedError", "", True),
        ("KeyboardInterrupt", "", True),
        ("RuntimeError", "RuntimeError: Query interrupted\n", True),  # DuckDB's, where a query was running
        ("RuntimeError", "RuntimeError: no space left\n", False),
    ],
)
def test_a_stopped_run_is_told_from_a_failed_one(cls_name: str, message: str, is_stopped: bool) -> None:
    of_step = SerializableErrorInfo("a step failed", [], "DagsterExecutionStepExecutionError")
    assert is_interruption(of_step._replace(cause=SerializableErrorInfo(message, [], cls_name))) == is_stopped
    assert not is_interruption(of_step)
