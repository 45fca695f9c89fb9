"""What a managed server's processes have in their environment: what engines need, and nobody's keys."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollux_dagster.judge.server import ServerSpec, list_servers, managed_server, stop_server
from pollux_dagster.judge.server.environment import server_environment
from pollux_dagster.judge.server.processes import descendants

STUB = Path(__file__).parents[1] / "fakes" / "stub_server.py"
SECRET = "sk-of-another-judge"
KEYS = ("POLLUX_JUDGE_API_KEY", "OPENAI_API_KEY", "MY_COMPANYS_JUDGE", "VLLM_API_KEY", "AWS_SECRET_ACCESS_KEY")
NEEDED = {"CUDA_VISIBLE_DEVICES": "1", "HF_HOME": "/models", "https_proxy": "http://proxy:3128", "LC_ALL": "C.UTF-8"}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "servers"
    for server in list_servers(tmp_path / "servers"):
        stop_server(tmp_path / "servers", server.key)


def environment_of(pid: int) -> dict[str, str]:
    entries = (Path("/proc") / str(pid) / "environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def test_no_process_of_an_engine_has_the_key_of_another_judge(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, SECRET)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    command = (sys.executable, str(STUB), "--port", "{port}", "--model", "{model}")
    spec = ServerSpec(model="stub", engine="command", command=command, environment={"GIVEN_TO_THE_ENGINE": "yes"})
    with managed_server(spec, root, lambda _: None):
        (server,) = list_servers(root)
        supervisor = server.pids[0]
        family = [supervisor, *descendants(supervisor)]
        assert len(family) >= 3, "supervisor, engine, and the engine's child"
        for pid in family:
            found = environment_of(pid)
            assert SECRET not in found.values()
            assert {name: found.get(name) for name in NEEDED} == NEEDED
        assert environment_of(family[-1])["GIVEN_TO_THE_ENGINE"] == "yes"


def test_a_variable_passes_by_what_it_is_for_and_a_key_by_no_name() -> None:
    given = {"PATH": "/bin", "VLLM_LOGGING_LEVEL": "DEBUG", "HF_TOKEN": "hub", "SGLANG_API_KEY": SECRET, "EDITOR": "vi"}
    assert server_environment(given) == {"PATH": "/bin", "VLLM_LOGGING_LEVEL": "DEBUG", "HF_TOKEN": "hub"}
