"""The services of compose.yaml on this machine, outside containers, with a real PostgreSQL and a real judge server.

Commands, environment and healthchecks are those of the file. Replaced are what a container engine provides: the mounted
paths are folders of the test, the hosts are this one, the ports are free ones. Not looked at here: images, users,
networks and capabilities, which only an engine enforces.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import duckdb
import pytest

from pollux_dagster.judge.server.processes import identify_process, kill_session
from tests.deploy.compose_file import ROOT, environment, image_environment, load, mounts
from tests.fakes.fake_judge import KEY, Call, FakeJudge, Raw, as_json, completion
from tests.fakes.instant_judge import score_of
from tests.postgresql_server import BINARIES, serve
from tests.security.running_ui import environment_of, free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(BINARIES is None, reason="there is no PostgreSQL server on this machine"),
    pytest.mark.skipif(find_spec("dagster_postgres") is None, reason="the extra `postgres` is not installed"),
]
ANSWERS = ROOT / "examples" / "own_criteria" / "landing"


class Machine:
    """One machine in place of the containers: a folder for each volume, config and secret."""

    def __init__(self, folder: Path, postgres_port: int, judge_url: str) -> None:
        self.folder = folder
        self._compose = load({"POSTGRES_PASSWORD": "secret"})
        self.services = self._compose["services"]
        self.ui_port = free_port()
        self.postgres_port = postgres_port
        self._judge_url = judge_url
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for volume in self._compose["volumes"]:
            (folder / volume).mkdir(mode=0o700)
        shutil.rmtree(folder / "landing")
        shutil.copytree(ANSWERS, folder / "landing")
        (folder / "judge_api_key").write_text(f"{KEY}\n")
        for name, config in self._compose["configs"].items():
            (folder / name).with_suffix(".config").write_text(self._translated((ROOT / config["file"]).read_text()))
        # Of mounts within mounts: DAGSTER_HOME is a volume of its own with the configuration in it.
        (folder / "dagster" / "dagster.yaml").symlink_to(folder / "dagster.config")
        (folder / "home" / "dagster").symlink_to(folder / "dagster")

    def _place_of(self, target: str) -> str:
        """Where a path of the containers is on this machine."""
        places = {
            mount.target: {
                "volume": self.folder / mount.source,
                "config": (self.folder / mount.source).with_suffix(".config"),
                "secret": self.folder / mount.source,
            }.get(mount.kind, Path(mount.source))
            for service in self.services.values()
            for mount in mounts(service)
        }
        for mounted in sorted(places, key=len, reverse=True):
            target = target.replace(mounted, str(places[mounted]))
        return target

    def _translated(self, text: str) -> str:
        text = text.replace("@postgres:5432/dagster", f"@127.0.0.1:{self.postgres_port}/runs")
        text = text.replace("--port=5432", f"--port={self.postgres_port}")
        text = text.replace("'127.0.0.1', 3000", f"'127.0.0.1', {self.ui_port}")
        return str(self.ui_port) if text == "3000" else self._place_of(text)

    def _environment(self, service: str) -> dict[str, str]:
        found = {name: self._translated(value) for name, value in image_environment().items() if name != "PATH"}
        found |= {name: self._translated(value) for name, value in environment(self.services[service]).items()}
        if "POLLUX_JUDGE_URL" in found:
            found |= {"POLLUX_JUDGE_URL": self._judge_url, "POLLUX_JUDGE_SERVED_MODEL": "judge"}
        programs = [str(Path(sys.executable).parent), str(BINARIES), "/usr/bin", "/bin"]
        return {"PATH": ":".join(programs), "PYTHONPATH": str(ROOT), "HOME": str(self.folder), **found}

    def start(self, service: str) -> int:
        command = [self._translated(word) for word in self.services[service]["command"]]
        log = (self.folder / f"{service}.log").open("ab")
        process = subprocess.Popen(
            command,
            env=self._environment(service),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._running[service] = process
        return process.pid

    def is_healthy(self, service: str) -> bool:
        """Runs the healthcheck once, within the time that compose gives it."""
        check = self.services[service]["healthcheck"]
        kind, *command = check["test"]
        assert kind == "CMD"
        with suppress(subprocess.TimeoutExpired):
            ran = subprocess.run(
                [self._translated(word) for word in command],
                env=self._environment(service),
                cwd=self.folder,
                capture_output=True,
                timeout=3 * float(check["timeout"].removesuffix("s")),  # this machine may be busy
                check=False,
            )
            return ran.returncode == 0
        return False

    def wait_until_healthy(self, service: str, seconds: float = 360) -> None:
        until = time.monotonic() + seconds
        while not self.is_healthy(service):
            assert self._running[service].poll() is None, self.printed(service)
            assert time.monotonic() < until, self.printed(service)

    def printed(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text(errors="replace")[-8000:]

    def kill(self, service: str) -> None:
        process = self._running.pop(service)
        if (name := identify_process(process.pid)) is not None:
            kill_session(name)
        process.wait(60)

    def end(self, service: str) -> None:
        """As `docker stop` does, within the longest grace that compose gives."""
        process = self._running.pop(service)
        process.send_signal(signal.SIGTERM)
        process.wait(60)

    def ask(self, path: str, headers: Mapping[str, str]) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{self.ui_port}{path}", headers=dict(headers))
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    def close(self) -> None:
        for service in [*self._running]:
            self.kill(service)


def score(call: Call) -> Raw:
    return as_json(completion(call.request_id, content=f"\n\n{score_of(call.prompt)}"))


@pytest.fixture
def machine() -> Iterator[Machine]:
    with (
        TemporaryDirectory(prefix="pg-") as database,
        TemporaryDirectory(prefix="px-") as folder,  # short: a socket's path has 107 bytes
        FakeJudge(score) as judge,
    ):
        server = serve(Path(database))
        port = urlsplit(next(server)).port
        assert port is not None
        machine = Machine(Path(folder), port, judge.url)
        try:
            yield machine
        finally:
            machine.close()
            server.close()  # type: ignore[attr-defined]


def test_the_services_come_up_in_their_order_judge_what_landed_and_survive_a_kill(machine: Machine) -> None:
    assert machine.is_healthy("postgres")
    for service in ("code-server", "webserver", "daemon"):
        assert set(machine.services[service]["depends_on"]) <= {"postgres", "code-server"}
        assert not machine.is_healthy(service), f"{service} is said to be healthy before it is started"
        pid = machine.start(service)
        machine.wait_until_healthy(service)
        assert KEY.encode() not in environment_of(pid)

    # The guard stands in front: beyond loopback it wants the token it printed.
    (address,) = (line for line in machine.printed("webserver").splitlines() if line.startswith("Dagster UI: "))
    token = address.partition("?token=")[2].split()[0]
    own = {"Host": f"localhost:{machine.ui_port}"}
    assert machine.ask("/server_info", own) == 401
    assert machine.ask("/server_info", {**own, "Authorization": f"Bearer {token}"}) == 200
    assert machine.ask("/server_info", {"Host": "evil.example", "Authorization": f"Bearer {token}"}) == 421

    # The daemon's sensor finds the answers, the code server judges them, and both know of it through PostgreSQL.
    published = machine.folder / "home" / "published" / "pollux.duckdb"
    until = time.monotonic() + 600
    while not published.exists():
        assert time.monotonic() < until, machine.printed("daemon") + machine.printed("code-server")
        time.sleep(1)
    with duckdb.connect(str(published), read_only=True) as con:
        models = con.execute("SELECT model_id, coverage FROM marts.leaderboard ORDER BY model_id").fetchall()
    assert models == [("assistant-a", 1.0), ("assistant-b", 1.0)]
    assert (machine.folder / "dagster" / "alive").is_dir()
    assert not [*machine.folder.rglob("*.db")], "Dagster kept something in SQLite"

    # A code server that is killed is told unhealthy, and starts again beside the socket that it left.
    machine.kill("code-server")
    assert not machine.is_healthy("code-server")
    machine.start("code-server")
    machine.wait_until_healthy("code-server")
    assert machine.is_healthy("webserver")
    assert machine.is_healthy("daemon")
    for service in ("daemon", "webserver", "code-server"):
        machine.end(service)
    assert not machine.is_healthy("webserver")


def test_a_database_that_does_not_answer_is_told_unhealthy(machine: Machine) -> None:
    assert machine.is_healthy("postgres")
    machine.postgres_port = free_port()
    assert not machine.is_healthy("postgres")
