"""`pollux doctor` on the machine: what a run would miss, each with its fix, before anything exists."""

from __future__ import annotations

import importlib.metadata
import json
import socket
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from pollux_dagster.app.machine import Finding, examine_machine
from pollux_dagster.app.resources import Resources
from pollux_dagster.cli import app
from pollux_dagster.judge.server import UnstartableError
from pollux_dagster.settings import Settings


def found(**variables: str) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine_machine(Settings.from_environment(variables))}


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder on a machine without GPU and weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


def test_a_judge_that_cannot_run_here_is_a_fault_with_ways_on() -> None:
    here = found()
    assert here["GPU"].state == "fault"
    assert "--judge-url" in here["GPU"].fix and "--profile demo" in here["GPU"].fix
    assert here["weights"].found == "ai-forever/Pollux-4B-Judge is not on this machine"
    assert not any(finding.found.startswith("could not be looked at") for finding in here.values())
    attached = found(POLLUX_JUDGE_URL="http://judge:1/v1")
    assert attached["GPU"].state == "ok"
    assert attached["key"].state == "note"
    assert found(POLLUX_PROFILE="demo")["weights"].state == "ok"
    assert found(POLLUX_JUDGE_PYTHON="/nowhere/python")["engine"].state == "fault"


def test_a_judges_server_that_does_not_answer_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        assert "judge server" not in found(POLLUX_JUDGE_URL=url)
    assert "nothing answers at 127.0.0.1:" in found(POLLUX_JUDGE_URL=url)["judge server"].found
    assert "judge server" not in found(POLLUX_JUDGE_URL=url, POLLUX_JUDGE_PROXY="http://127.0.0.1:1")
    (tmp_path / "landing").mkdir()
    ran = CliRunner().invoke(app, ["run", "--landing", "landing", "--home", "home", "--judge-url", url])
    assert ran.stderr.startswith("warning: judge server: nothing answers at 127.0.0.1:")


def test_scores_that_are_made_up_need_nothing_here() -> None:
    here = found(POLLUX_PROFILE="made-up")
    assert (here["GPU"].state, here["engine"].state) == ("ok", "ok")
    assert "made up" in here["engine"].found and "weights" not in here
    assert "made up" in found(POLLUX_PROFILE="made-up", POLLUX_JUDGE_URL="http://judge:1/v1")["engine"].found


def test_lineage_that_would_not_arrive_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "lineage" not in found()
    address, key = {"POLLUX_OPENLINEAGE_URL": "http://marquez:5000"}, str(tmp_path / "key")
    assert found(**address)["lineage"].state == "ok"
    assert f"{key} cannot be read" in found(**address, POLLUX_OPENLINEAGE_API_KEY_FILE=key)["lineage"].found
    monkeypatch.setattr("importlib.metadata.version", lambda _: missing())
    assert "pip install 'pollux_dagster[openlineage]'" in found(**address)["lineage"].fix


def missing() -> NoReturn:
    """What the metadata of a package say that is not installed."""
    raise importlib.metadata.PackageNotFoundError


def test_a_home_that_leaves_the_judging_to_workers_needs_no_judge_but_its_location(tmp_path: Path) -> None:
    here = found(POLLUX_WORK_URL=(url := tmp_path.as_uri()))
    assert here["judging"] == Finding("judging", "ok", f"left to workers at {url}")
    missing = found(POLLUX_WORK_URL=f"{url}/typo")["judging"]
    assert missing.state == "note" and "does not exist" in missing.found and not (tmp_path / "typo").exists()
    assert not {"GPU", "engine", "weights", "key"} & here.keys()


def test_where_copies_of_the_publication_go_is_looked_at(tmp_path: Path) -> None:
    assert "copies" not in found()
    url = tmp_path.as_uri()
    assert found(POLLUX_PUBLICATION_URL=url)["copies"].found == f"of each publication go to {url}, where none is yet"
    (tmp_path / "latest.json").touch()
    assert found(POLLUX_PUBLICATION_URL=url)["copies"] == Finding("copies", "ok", f"of each publication go to {url}")
    assert found(POLLUX_PUBLICATION_URL=f"{url}/typo")["copies"].state == "note"
    assert not (tmp_path / "typo").exists()


def test_a_home_in_use_or_out_of_reach_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with FileLock(home / "run.lock"):
        assert found(POLLUX_HOME=str(home))["lock"].state == "note"
    assert found(POLLUX_HOME=str(home))["lock"].state == "ok"
    (tmp_path / "file").touch()
    assert found(POLLUX_HOME=str(tmp_path / "file/home"))["home"].state == "fault"
    monkeypatch.setenv("DAGSTER_HOME", "/elsewhere")
    assert str(home / "dagster") in found(POLLUX_HOME=str(home))["Dagster home"].fix


def test_the_command_needs_nothing_and_changes_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1  # there are faults
    machine = json.loads(done.stdout)["machine"]
    assert {each["what"] for each in machine if each["state"] == "fault"} >= {"GPU", "landing folder"}
    assert all(each["fix"] for each in machine if each["state"] != "ok")
    assert list(tmp_path.iterdir()) == []


def test_each_of_several_managed_servers_gets_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def devices(replicas: str) -> list[str | None]:
        judge = Resources.of(Settings.from_environment({"POLLUX_JUDGE_REPLICAS": replicas})).judge
        specs = judge.server_specs()
        assert len({spec.key for spec in specs}) == len(specs)
        return [spec.environment.get("CUDA_VISIBLE_DEVICES") for spec in specs]

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert (devices("1"), devices("3")) == ([None], ["0", "1", "2"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-ab")
    assert (devices("1"), devices("2")) == ([None], ["5", "GPU-ab"])
    with pytest.raises(UnstartableError, match="expected a GPU for each of POLLUX_JUDGE_REPLICAS=3 servers"):
        devices("3")
