"""Starts an engine, waits until it serves, and ends it with all its processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pollux_dagster.judge.server import engine_launcher
from tests.engines.engines import ENGINES, Engine

_START_S = 300.0  # the import of torch alone takes half a minute on a slow machine
_STOP_S = 15.0


@contextmanager
def serving(engine: Engine, log: Path) -> Iterator[str]:
    """The address (ending in `/v1`) at which `engine` serves. What it prints goes to `log`.

    Raises RuntimeError with the end of the log when it ends, or does not serve within five minutes.
    """
    with ExitStack() as stack:
        parent = {engine_launcher.PARENT_VARIABLE: str(os.getpid())}
        variables = {**os.environ, **engine.variables, **parent}
        if engine.behind:
            behind = serving(ENGINES[engine.behind], log.with_suffix(".behind.log"))
            variables["JUDGE_BEHIND"] = stack.enter_context(behind)
        port = _free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(
                engine.argv(port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=variables,
                cwd=log.parent,
                start_new_session=True,
            )
        stack.callback(_end, process)
        _wait_until_ready(f"http://127.0.0.1:{port}{engine.ready_path}", process, engine, log)
        yield f"http://127.0.0.1:{port}{engine.base_path}"


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], engine: Engine, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{engine.name} ended with {process.returncode} before it served:\n{_tail(log)}")
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                if response.status == 200:
                    return
        except OSError:  # refused, or 503 while it loads
            pass
        time.sleep(0.3)
    raise RuntimeError(f"{engine.name} did not serve within {_START_S:.0f} s:\n{_tail(log)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the engine's own session of processes, by force after a while."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signal_number)
        except ProcessLookupError:
            break
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            continue


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2_000:]
