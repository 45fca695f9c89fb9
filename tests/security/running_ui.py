"""`pollux up` as a user starts it, on a loopback port, with what it printed and every process that belongs to it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from pollux_dagster.judge.server.processes import identify_process, kill_session, session_members
from pollux_dagster.settings import Settings

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on PythonError { message } }
}
"""
RUNS = "query Runs($filter: RunsFilter!) { runsOrError(filter: $filter) { ... on Runs { results { runId status } } } }"


@dataclass
class RunningUi:
    """A started `pollux up`. `keeper` leads the session of its services and has socket and workspace in `folder`."""

    settings: Settings
    process: subprocess.Popen[str]
    port: int
    lines: list[str] = field(default_factory=list)
    keeper: int = 0
    folder: Path = Path()

    @property
    def address(self) -> str:
        (line,) = (line for line in self.lines if line.startswith("Dagster UI: "))
        return line.removeprefix("Dagster UI: ").partition(" ")[0]

    def services(self) -> list[int]:
        name = identify_process(self.keeper)
        return session_members(name) if name else [pid for pid in all_pids() if session_of(pid) == self.keeper]

    def ask(
        self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers of one answer. `headers` are sent as they are; without `Host` the usual one is."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()

    def graphql(self, query: str, variables: Mapping[str, Any]) -> Any:
        body = json.dumps({"query": query, "variables": variables})
        status, text, _ = self.ask("POST", "/graphql", body, {"Content-Type": "application/json"})
        assert status == 200, text
        return json.loads(text)["data"]

    def launch(self, job: str, tag: str, config: Mapping[str, Any] | None = None, tags: Mapping[str, str] = {}) -> str:
        return str(self.graphql(LAUNCH, launching(job, tag, config, tags))["launchRun"]["__typename"])

    def runs(self, tag: str) -> list[str]:
        """The statuses of the runs launched with this tag."""
        asked = {"filter": {"tags": [{"key": "test/launched_by", "value": tag}]}}
        return [run["status"] for run in self.graphql(RUNS, asked)["runsOrError"]["results"]]


def launching(
    job: str, tag: str, config: Mapping[str, Any] | None = None, tags: Mapping[str, str] = {}
) -> dict[str, Any]:
    """The variables of `LAUNCH`."""
    labels = {"test/launched_by": tag, **tags}
    return {
        "params": {
            "mode": "default",
            "selector": {
                "repositoryLocationName": "pollux",
                "repositoryName": "__repository__",
                "jobName": job,
            },
            "runConfigData": config or {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in labels.items()]},
        }
    }


@contextmanager
def running_ui(
    settings: Settings, *arguments: str, environment: Mapping[str, str] = {}, ignored: bool = False
) -> Iterator[RunningUi]:
    """Up and answering; nothing is left of it afterwards. `ignored`: SIGINT is, as for a shell's background job."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "pollux_dagster.cli", "up", "--port", str(port), *arguments],
        env={**os.environ, **settings.to_environment(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignored else None,
    )
    ui = RunningUi(settings, process, port)
    answers = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            ui.lines.append(line.rstrip())
            if line.startswith("Dagster UI: "):
                answers.set()
        answers.set()

    threading.Thread(target=read, daemon=True).start()
    try:
        assert answers.wait(240) and process.poll() is None, "\n".join(ui.lines)
        (ui.keeper,) = (pid for pid in all_pids() if parent_of(pid) == process.pid)
        ui.folder = next(Path(word) for word in command_of(ui.keeper).split() if "pollux-up-" in word)
        yield ui
    finally:
        name = identify_process(ui.keeper) if ui.keeper else None
        process.kill()
        process.wait(60)
        if name is not None:
            kill_session(name)
        if ui.folder.name:
            shutil.rmtree(ui.folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def session_of(pid: int) -> int:
    """The session of a living process; 0 for a zombie or none."""
    fields = _stat(pid)
    return 0 if fields[0] in "ZX" else int(fields[3])


def command_of(pid: int) -> str:
    return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()


def environment_of(pid: int) -> bytes:
    return (Path("/proc") / str(pid) / "environ").read_bytes()


def _stat(pid: int) -> list[str]:
    try:
        text = (Path("/proc") / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ["X", "0", "0", "0"]
    return re.split(r"\s+", text.rpartition(")")[2].strip())
