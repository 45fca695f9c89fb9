"""The processes of `pollux up`: who knows the judge's key, and that nothing is left of them however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pollux_dagster.settings import Settings
from tests.fakes.fake_judge import KEY, Call, FakeJudge, Raw, replying
from tests.pipeline_world import write_answers, write_instructions
from tests.security.running_ui import RunningUi, command_of, environment_of, running_ui
from tests.security.test_hostile_run import holding

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
KNOWN_BY = ("pollux_dagster.ui.services run", "pollux_dagster.ui.services keep", "pollux_dagster.ui.webserver",
            "dagster._daemon", "api grpc")  # fmt: skip


def world(folder: Path, url: str) -> Settings:
    (folder / "landing").mkdir()
    return Settings.from_environment(
        {
            "POLLUX_HOME": str(folder / "home"),
            "POLLUX_LANDING": str(folder / "landing"),
            "POLLUX_JUDGE_URL": url,
            "POLLUX_JUDGE_SERVED_MODEL": "judge",
        }
    )


def ended(ui: RunningUi) -> bool:
    """Whether all of it ends within the time that a busy machine may take."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if ui.process.poll() is not None and not ui.services():
            return True
        time.sleep(0.2)
    return False


def wait_for_success(ui: RunningUi) -> None:
    until = time.monotonic() + 300
    while (statuses := set(ui.runs("test"))) != {"SUCCESS"}:
        assert "FAILURE" not in statuses and time.monotonic() < until, "\n".join(ui.lines[-40:])
        time.sleep(0.5)


def test_the_key_reaches_the_judge_and_no_processs_environment(tmp_path: Path) -> None:
    seen: dict[str, bool] = {}
    looked = threading.Event()
    started: list[RunningUi] = []

    def look_around(call: Call) -> Raw:
        for pid in [started[0].process.pid, *started[0].services()]:
            with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                environment = environment_of(pid)
                seen[command_of(pid)] = KEY.encode() in environment
        looked.set()
        return replying(content="\n\n0")(call)

    with FakeJudge(otherwise=look_around) as judge:
        settings = world(tmp_path, judge.url)
        write_instructions(settings.landing, 2)
        write_answers(settings.landing, "a", 2, lambda i: f"Париж {i}")
        with running_ui(settings, environment={"POLLUX_JUDGE_API_KEY": KEY}) as ui:
            started.append(ui)
            assert ui.launch("ingest", "test") == "LaunchRunSuccess"
            wait_for_success(ui)
            assert ui.launch("evaluate", "test") == "LaunchRunSuccess"
            assert looked.wait(300), "\n".join(ui.lines[-40:])
            wait_for_success(ui)
            assert {name for name in KNOWN_BY if any(name in command for command in seen)} == set(KNOWN_BY)
            assert any("spawn_main" in command for command in seen), "the run's own process was looked at"
            assert [command for command, has in seen.items() if has] == []
            kept = ui.graphql("{ runsOrError { ... on Runs { results { runConfigYaml tags { key value } } } } }", {})
            assert len(kept["runsOrError"]["results"]) >= 2
            assert KEY not in str(kept)
            ui.process.send_signal(signal.SIGTERM)
            assert ended(ui)
            assert KEY not in "\n".join(ui.lines)
    assert holding(settings.home, KEY) == []


@pytest.mark.parametrize("way", ["interrupt of a background job", "kill of the command", "kill of its keeper"])
def test_nothing_is_left_however_it_ends(tmp_path: Path, way: str) -> None:
    settings = world(tmp_path, "http://127.0.0.1:9/v1")
    of_a_killed_one = settings.dagster_home / "pollux-up-killed"
    of_a_killed_one.mkdir(parents=True)
    with running_ui(settings, ignored=True) as ui:
        assert not of_a_killed_one.exists()
        until = time.monotonic() + 60
        while len(ui.services()) < 4:  # the daemon starts when the web server answers
            assert time.monotonic() < until, [command_of(pid) for pid in ui.services()]
            time.sleep(0.1)
        folder = ui.folder
        if way == "interrupt of a background job":
            ui.process.send_signal(signal.SIGINT)
        else:
            os.kill(ui.process.pid if way == "kill of the command" else ui.keeper, signal.SIGKILL)
        assert ended(ui), [command_of(pid) for pid in ui.services()]
        assert not folder.exists()
        assert ui.process.returncode == {"interrupt of a background job": 0, "kill of the command": -9}.get(way, 9)


def test_beyond_loopback_the_printed_token_is_needed_and_a_cookie_takes_its_place(tmp_path: Path) -> None:
    settings = world(tmp_path, "http://127.0.0.1:9/v1")
    with running_ui(settings, "--host", "0.0.0.0") as ui:
        assert ui.ask("GET", "/server_info")[0] == 401
        assert ui.ask("GET", "/server_info?token=wrong")[0] == 401
        token = ui.address.partition("?token=")[2]
        assert len(token) > 40
        status, _, headers = ui.ask("GET", f"/server_info?token={token}")
        assert (status, headers["location"]) == (303, "/server_info")
        cookie, *attributes = headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Lax"} <= set(attributes)
        assert ui.ask("GET", "/server_info", headers={"Cookie": cookie})[0] == 200
        assert ui.ask("GET", "/server_info", headers={"Authorization": f"Bearer {token}"})[0] == 200
        assert not any(token in command_of(pid) or token.encode() in environment_of(pid) for pid in ui.services())


def test_a_users_header_that_anybody_could_send_is_refused_before_anything_starts(tmp_path: Path) -> None:
    settings = world(tmp_path, "http://127.0.0.1:9/v1")
    environment = {**os.environ, **settings.to_environment(), "POLLUX_UI_USER_HEADER": "X-User"}
    command = [sys.executable, "-m", "pollux_dagster.cli", "up", "--host", "0.0.0.0"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert refused.returncode == 1
    assert "POLLUX_UI_PROXIES" in refused.stderr
    assert not settings.home.exists()


def test_a_port_that_is_taken_is_said_and_nothing_stays(tmp_path: Path) -> None:
    settings = world(tmp_path, "http://127.0.0.1:9/v1")
    with FakeJudge() as taken:
        environment = {**os.environ, **settings.to_environment()}
        command = [sys.executable, "-m", "pollux_dagster.cli", "up", "--port", str(taken.port)]
        refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert refused.returncode == 1
    assert f"{taken.port}" in refused.stderr
