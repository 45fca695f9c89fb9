"""The managed server's promises, on real processes and signals, with a stub engine that starts at once."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pollux_dagster.cli import app
from pollux_dagster.judge.server import (
    ServerHandle,
    ServerSpec,
    ServerStartError,
    ServerStatus,
    UnstartableError,
    list_servers,
    managed_server,
    stop_server,
)

REPOSITORY = Path(__file__).parents[2]
STUB = REPOSITORY / "tests" / "fakes" / "stub_server.py"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A state root; whatever a test leaves running is stopped afterwards."""
    root = tmp_path / "servers"
    yield root
    for server in list_servers(root):
        stop_server(root, server.key)


def stub(*flags: str, **limits: Any) -> ServerSpec:
    command = (sys.executable, str(STUB), "--port", "{port}", "--model", "{model}", *flags)
    return ServerSpec(model="stub", engine="command", command=command, **limits)


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


def quiet(_: str) -> None:
    pass


def only(root: Path) -> ServerStatus:
    (server,) = list_servers(root)
    return server


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def assert_all_gone(pids: tuple[int, ...]) -> None:
    wait_for(lambda: all(is_gone(pid) for pid in pids), f"processes {pids} are gone")


def is_port_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def run_client(root: Path, spec: ServerSpec, body: str) -> subprocess.Popen[str]:
    """Another process that enters `managed_server` as `handle` and runs `body`."""
    code = f"""
import json, os, signal, sys, time
from pathlib import Path
from pollux_dagster.judge.server import ServerSpec, managed_server
spec = ServerSpec.from_json(json.loads({json.dumps(spec.to_json())!r}))
with managed_server(spec, Path({str(root)!r}), lambda line: None) as handle:
{textwrap.indent(textwrap.dedent(body), "    ")}
"""
    return subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def test_a_server_starts_answers_and_idles_out(root: Path) -> None:
    with managed_server(stub(idle_shutdown_s=0.5), root, quiet) as server:
        running = only(root)
        assert server.is_healthy()
        assert (server.endpoint.model, server.endpoint.max_model_len) == ("stub", 2048)
        assert server.endpoint.base_url == f"http://127.0.0.1:{running.port}/v1"
        assert server.metrics()["generation_tokens_total"] == 1  # the canary's
        assert (running.status, running.leases) == ("ready", 1)
        assert len(running.pids) == 3  # supervisor, engine, the engine's child
        time.sleep(1)
        assert only(root).status == "ready"  # a held lease keeps it up
    assert_all_gone(running.pids)
    assert (only(root).status, only(root).reason) == ("stopped", "no lease for 0 s")
    assert is_port_free(running.port)


def test_a_second_run_finds_the_server_of_the_first(root: Path) -> None:
    lines: list[str] = []
    with managed_server(stub(), root, quiet) as first:
        endpoint = first.endpoint
    with managed_server(stub(), root, lines.append) as second:
        assert second.endpoint == endpoint
    assert "found running" in lines[-1]


def test_clients_that_come_at_once_share_one_start(root: Path, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    spec = stub("--starts-file", str(starts), "--ready-after", "0.5")
    clients = [run_client(root, spec, "print(handle.endpoint.base_url)") for _ in range(4)]
    addresses = {client.communicate(timeout=60)[0] for client in clients}
    assert len(addresses) == 1
    assert "http://127.0.0.1:" in addresses.pop()
    assert len(starts.read_text().split()) == 1


def test_threads_of_one_process_share_one_start(root: Path, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    spec = stub("--starts-file", str(starts))

    def use(_: int) -> str:
        with managed_server(spec, root, quiet) as server:
            return server.endpoint.base_url

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(use, range(8)))) == 1
    assert len(starts.read_text().split()) == 1


@pytest.mark.slow
def test_other_arguments_get_a_server_of_their_own(root: Path) -> None:
    with managed_server(stub(), root, quiet) as one, managed_server(stub("--say", "x"), root, quiet) as two:
        assert one.endpoint.base_url != two.endpoint.base_url
        assert one.endpoint.api_key != two.endpoint.api_key


def test_a_killed_client_drops_its_lease_at_once(root: Path) -> None:
    client = run_client(root, stub(idle_shutdown_s=0.5), "print('in', flush=True); time.sleep(60)")
    assert client.stdout is not None
    assert client.stdout.readline() == "in\n"
    server = only(root)
    assert server.leases == 1
    client.kill()
    client.wait()
    assert only(root).leases == 0
    assert_all_gone(server.pids)


def test_the_server_outlives_the_process_group_of_the_client_that_started_it(root: Path) -> None:
    client = run_client(root, stub(), "print('in', flush=True); time.sleep(60)")
    assert client.stdout is not None
    assert client.stdout.readline() == "in\n"
    supervisor, engine, _ = only(root).pids
    client.kill()
    client.wait()
    assert os.getsid(supervisor) == supervisor
    assert os.getsid(engine) == engine
    with managed_server(stub(), root, quiet) as found:
        assert found.generation == 1


@pytest.mark.parametrize(
    "victims", [[0], [1], [0, 1, 2], *(pytest.param(some, marks=pytest.mark.slow) for some in ([2], [0, 1], [1, 2]))]
)
def test_sigkill_of_any_process_leaves_none_that_is_not_supervised(root: Path, victims: list[int]) -> None:
    with managed_server(stub(), root, quiet) as server:
        before = only(root)
        for index in victims:
            os.kill(before.pids[index], signal.SIGKILL)
        if victims == [2]:  # the stub does not notice that its child died; nothing else may change
            assert server.is_healthy()
            return
        assert_all_gone(tuple(pid for pid in before.pids[1:2]))
        assert server.restart("connection refused").server.endswith("#2")
        assert server.is_healthy()
        assert_all_gone(before.pids[1:])
        assert only(root).generation == 2


def test_an_exit_nobody_asked_for_is_a_failure_even_with_code_zero(root: Path) -> None:
    with managed_server(stub("--exit-after", "0.7"), root, quiet) as server:
        wait_for(lambda: only(root).generation == 2, "restarted")
        assert "exited with code 0 without a request to stop" in only(root).reason
        assert server.restart("connection refused").server.endswith("#2")


def test_restarts_are_bounded_and_the_last_reason_is_told(root: Path, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    spec = stub("--starts-file", str(starts), "--max-starts", "1", max_restarts=2)
    with managed_server(spec, root, quiet) as server:
        pids = only(root).pids
        os.kill(pids[1], signal.SIGKILL)
        with pytest.raises(ServerStartError, match="given up after 2 restarts") as caught:
            server.restart("connection refused")
        assert "exited with code 7" in caught.value.reason
        assert "no more starts for you" in caught.value.log_tail
        assert len(starts.read_text().split()) == 3
        with pytest.raises(ServerStartError):  # and it stays given up
            server.restart("connection refused")
    assert_all_gone(pids)
    assert only(root).status == "failed"


def test_a_failed_server_is_started_afresh_by_the_next_run(root: Path, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    spec = stub("--starts-file", str(starts), "--max-starts", "1", max_restarts=0)
    with managed_server(spec, root, quiet) as server:
        os.kill(only(root).pids[1], signal.SIGKILL)
        with pytest.raises(ServerStartError):
            server.restart("gone")
    starts.unlink()
    with managed_server(spec, root, quiet) as server:
        assert server.is_healthy()


def test_an_exit_at_start_is_told_with_its_cause_and_not_retried(root: Path, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    cause = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB"
    spec = stub("--starts-file", str(starts), "--say", f"loading\n{cause}", "--exit-at-start", "1")
    with pytest.raises(ServerStartError, match="OutOfMemoryError: CUDA out of memory") as caught:
        managed_server(spec, root, quiet).__enter__()
    assert not isinstance(caught.value, UnstartableError)  # in a minute there may be room
    assert "exited with code 1" in caught.value.reason
    assert "loading" in caught.value.log_tail
    assert len(starts.read_text().split()) == 1


def test_a_cause_that_lasts_is_told_as_one_for_which_waiting_does_not_help(root: Path) -> None:
    spec = stub("--say", "loading\nModuleNotFoundError: No module named 'flashinfer'", "--exit-at-start", "1")
    with pytest.raises(UnstartableError, match=r"cannot start.*No module named 'flashinfer'") as caught:
        managed_server(spec, root, quiet).__enter__()
    assert "loading" in caught.value.log_tail and "loading" in str(caught.value)


def test_a_program_that_does_not_exist_is_told(root: Path) -> None:
    spec = ServerSpec(model="m", engine="command", command=("/no/such/engine", "{port}"))
    with pytest.raises(UnstartableError, match="/no/such/engine"):
        managed_server(spec, root, quiet).__enter__()


def test_an_interpreter_that_does_not_exist_is_told(root: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(UnstartableError, match="/no/such/python could not be executed"):
        managed_server(ServerSpec(model=str(tiny_checkpoint), python="/no/such/python"), root, quiet).__enter__()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        # Ollama and vLLM: a model that is not there.
        (404, '{"error": {"message": "model \'stub\' not found"}}', "HTTP 404: model 'stub' not found"),
        (401, '{"error": {"message": "wrong key {key}"}}', "HTTP 401: wrong key [key]. It should take the key"),
        pytest.param(
            *(400, '{"error": {"message": "System role not supported"}}', "HTTP 400: System role not supported"),
            marks=pytest.mark.slow,
        ),
        (422, '{"detail": "Unexpected fields in the request: {\'max_tokens\'}"}', "it does not take max_tokens = 1"),
        pytest.param(
            *(413, "the context is 1 token long", "HTTP 413: the context is 1 token long"), marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.timeout(60)  # half of what a start may take
def test_what_a_server_says_against_the_first_request_is_told_at_once(
    root: Path, status: int, body: str, told: str
) -> None:
    spec = stub("--refuse-with", f"{status} {body}", startup_timeout_s=120)
    with pytest.raises(UnstartableError) as caught:
        managed_server(spec, root, quiet).__enter__()
    for expected in ("/v1/chat/completions", f"answered {status}", "expected 200", told):
        assert expected in caught.value.reason
    assert told in only(root).reason


@pytest.mark.slow
def test_a_server_that_stumbles_over_every_first_request_is_given_up_with_its_words(root: Path) -> None:
    spec = stub("--refuse-with", '500 {"error": "cannot load the runner"}', startup_timeout_s=2)
    with pytest.raises(ServerStartError, match=r"not ready within 2 s: .*HTTP 500: cannot load the runner"):
        managed_server(spec, root, quiet).__enter__()


def test_a_server_without_the_addresses_for_health_and_models_is_ready_when_it_writes(root: Path) -> None:
    with managed_server(stub("--completions-only", max_model_len=512), root, quiet) as server:
        assert (server.endpoint.model, server.endpoint.max_model_len) == ("stub", 512)
        assert server.is_healthy()


@pytest.mark.slow
def test_a_server_that_never_becomes_ready_is_given_up_and_killed(root: Path) -> None:
    lines: list[str] = []
    spec = stub("--ready-after", "600", "--say", "loading weights", startup_timeout_s=6)
    with pytest.raises(ServerStartError, match=r"not ready within 6 s.*loading weights"):
        managed_server(spec, root, lines.append).__enter__()
    assert any("starting command … 5 s, last log line: loading weights" in line for line in lines)
    wait_for(lambda: only(root).pids == (), "nothing is left")


def test_a_taken_port_is_answered_with_another(root: Path, tmp_path: Path) -> None:
    """The port is found taken only by the engine itself, as when somebody is faster than the engine."""
    marker = tmp_path / "second"
    code = (
        "import os, sys, pathlib\n"
        f"marker = pathlib.Path({str(marker)!r})\n"
        "if not marker.exists():\n"
        "    marker.write_text(sys.argv[2])\n"
        "    raise OSError(98, 'Address already in use')\n"
        f"os.execv(sys.executable, [sys.executable, {str(STUB)!r}, *sys.argv[1:]])\n"
    )
    command = (sys.executable, "-c", code, "--port", "{port}", "--model", "{model}")
    with managed_server(ServerSpec(model="m", engine="command", command=command), root, quiet) as server:
        assert marker.read_text() not in server.endpoint.base_url
        assert server.generation == 1


@pytest.mark.slow
def test_what_an_earlier_try_found_is_not_taken_for_this_ones_end(root: Path, tmp_path: Path) -> None:
    marker = tmp_path / "second"
    code = (
        "import pathlib\n"
        f"marker = pathlib.Path({str(marker)!r})\n"
        "if marker.exists():\n"
        "    raise MemoryError('no room for the weights')\n"
        "marker.touch()\n"
        "raise OSError(98, 'Address already in use')\n"
    )
    spec = ServerSpec(model="m", engine="command", command=(sys.executable, "-c", code))
    with pytest.raises(ServerStartError, match="MemoryError: no room for the weights"):
        managed_server(spec, root, quiet).__enter__()


@pytest.mark.slow
def test_a_hang_behind_a_healthy_answer_is_restarted(root: Path, tmp_path: Path) -> None:
    hang = tmp_path / "hang"
    with managed_server(stub("--hang-file", str(hang), hang_timeout_s=3), root, quiet) as server:
        hang.touch()
        assert server.is_healthy()
        wait_for(lambda: only(root).generation == 2, "restarted", 30)
        hang.unlink()
        assert "no token for 3 s" in only(root).reason


@pytest.mark.slow
def test_an_unhealthy_server_is_restarted(root: Path, tmp_path: Path) -> None:
    sick = tmp_path / "sick"
    with managed_server(stub("--sick-file", str(sick)), root, quiet) as server:
        sick.touch()
        assert not server.is_healthy()
        wait_for(lambda: only(root).generation == 2, "restarted", 30)
        sick.unlink()
        assert server.restart("unhealthy").server.endswith("#2")


@pytest.mark.slow
def test_clients_that_ask_for_a_restart_together_get_one(root: Path) -> None:
    with ExitStack() as stack:
        handles = [stack.enter_context(managed_server(stub(), root, quiet)) for _ in range(4)]
        with ThreadPoolExecutor(4) as threads:
            endpoints = list(threads.map(lambda handle: handle.restart("no progress for 60 s"), handles))
        assert {endpoint.server.rpartition("#")[2] for endpoint in endpoints} == {"2"}
        assert only(root).restarts == 1
        assert "no progress for 60 s" in read_state(root)["restarts"][0][1]


def test_a_killed_supervisor_takes_its_engine_along_and_the_next_client_starts_anew(root: Path) -> None:
    with managed_server(stub(), root, quiet):
        before = only(root)
        os.kill(before.pids[0], signal.SIGKILL)
        assert_all_gone(before.pids[:2])
        assert (only(root).status, only(root).reason) == ("failed", "its supervisor was killed")
    with managed_server(stub(), root, quiet) as server:
        assert server.generation == 2
        assert_all_gone(before.pids)


@pytest.mark.slow
def test_a_supervisor_that_is_killed_while_its_engine_loads_is_replaced(root: Path) -> None:
    client = run_client(root, stub("--ready-after", "1.5"), "print(handle.generation)")
    wait_for(lambda: bool(list_servers(root)) and len(only(root).pids) >= 2, "loading")
    os.kill(only(root).pids[0], signal.SIGKILL)
    assert client.communicate(timeout=30)[0] == "2\n"


def test_an_engine_that_ignores_sigterm_is_killed(root: Path) -> None:
    spec = stub("--ignore-sigterm", stop_grace_s=0.5)
    with managed_server(spec, root, quiet):
        pids = only(root).pids
        assert stop_server(root, spec.key)
        assert_all_gone(pids)
    assert not stop_server(root, spec.key)


@pytest.mark.slow
def test_an_engine_that_hangs_is_not_given_time_to_finish(root: Path, tmp_path: Path) -> None:
    """Its grace is for replies under way; one that writes none would hold up the restart for all of it."""
    hang = tmp_path / "hang"
    spec = stub("--hang-file", str(hang), "--ignore-sigterm", hang_timeout_s=3, stop_grace_s=600)
    with managed_server(spec, root, quiet):
        pids = only(root).pids
        hang.touch()
        wait_for(lambda: only(root).generation == 2, "restarted", 30)
        hang.unlink()
        wait_for(lambda: only(root).status == "ready", "ready again", 30)
        assert_all_gone(pids[1:])
        os.kill(only(root).pids[0], signal.SIGKILL)  # or its stop would take the 600 s


@pytest.mark.slow
def test_an_engine_that_is_still_starting_is_not_given_time_to_finish(root: Path) -> None:
    spec = stub("--ignore-sigterm", "--ready-after", "600", stop_grace_s=600)
    client = run_client(root, spec, "pass")
    wait_for(lambda: bool(list_servers(root)) and len(only(root).pids) == 3, "started")
    pids = only(root).pids
    assert stop_server(root, spec.key)
    assert_all_gone(pids)
    client.kill()  # it starts another
    client.communicate()


def test_temporary_files_of_an_engine_go_with_it(root: Path) -> None:
    code = f"import os, tempfile; tempfile.mkstemp(); exec(open({str(STUB)!r}).read())"
    command = (sys.executable, "-c", code, "--port", "{port}", "--model", "{model}")
    spec = ServerSpec(model="m", engine="command", command=command)
    with managed_server(spec, root, quiet):
        killed = Path(read_state(root)["scratch"])
        assert len(list(killed.iterdir())) == 1
        pids = only(root).pids
        os.kill(pids[0], signal.SIGKILL)
        assert_all_gone(pids[:2])
    with managed_server(spec, root, quiet):
        assert not killed.exists()
        stopped = Path(read_state(root)["scratch"])
        assert stopped.stat().st_mode & 0o777 == 0o700
        stop_server(root, spec.key)
        assert not stopped.exists()


def test_sigterm_to_the_supervisor_stops_everything(root: Path) -> None:
    with managed_server(stub(), root, quiet):
        pids = only(root).pids
        os.kill(pids[0], signal.SIGTERM)
        assert_all_gone(pids)
        assert (only(root).status, only(root).reason) == ("stopped", "asked by a signal")


@pytest.mark.parametrize(
    "how",
    [
        "a request",
        *(pytest.param(how, marks=pytest.mark.slow) for how in ("the last lease goes", "a signal", "the folder goes")),
    ],
)
def test_a_stop_does_not_wait_for_the_first_token(root: Path, tmp_path: Path, how: str) -> None:
    spec = stub("--token-takes", "600", idle_shutdown_s=0.5 if how == "the last lease goes" else 60)
    client = run_client(root, spec, "pass")
    wait_for(lambda: bool(list_servers(root)) and len(only(root).pids) == 3, "started")
    time.sleep(1.0)  # for the canary to begin
    status = only(root)
    assert status.status == "starting"
    match how:
        case "the last lease goes":
            client.kill()
        case "a signal":
            os.kill(status.pids[0], signal.SIGTERM)
        case "a request":
            assert stop_server(root, spec.key)
        case "the folder goes":
            shutil.move(root / spec.key, tmp_path / "elsewhere")
    assert_all_gone(status.pids)
    client.kill()
    client.communicate()


def test_an_engine_that_ends_before_its_first_token_is_told(root: Path) -> None:
    spec = stub("--token-takes", "600", "--exit-after", "1.5", startup_timeout_s=600)
    with pytest.raises(ServerStartError, match="exited with code 0 while it was starting"):
        managed_server(spec, root, quiet).__enter__()


@pytest.mark.slow
def test_a_client_that_comes_while_the_server_leaves_gets_a_new_one(root: Path) -> None:
    spec = stub("--ignore-sigterm", idle_shutdown_s=0.3, stop_grace_s=1.5)
    with managed_server(spec, root, quiet):
        pass
    wait_for(lambda: only(root).status == "stopping", "stopping")
    with managed_server(spec, root, quiet) as server:
        assert server.generation == 2
        assert server.is_healthy()


def test_stopping_a_server_that_never_was_is_an_error(root: Path) -> None:
    with pytest.raises(KeyError, match="no server"):
        stop_server(root, "0123456789abcdef")


def listed(root: Path, *arguments: str) -> list[str]:
    result = CliRunner().invoke(app, ["servers", "--home", str(root.parent), *arguments])
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


@pytest.mark.slow
def test_a_failed_server_is_listed_until_another_is_ready_or_it_is_removed(root: Path) -> None:
    broken = stub("--exit-at-start", "1", "--say", "ValueError: no weights")
    with pytest.raises(ServerStartError):
        managed_server(broken, root, quiet).__enter__()
    (line,) = listed(root)
    assert line.startswith(f"{broken.key}  failed  command  stub  0 in use  ")
    assert "ValueError: no weights" in line
    assert f"(log: {root / broken.key / 'engine-1.log'})" in line
    time.sleep(1)  # times are in whole seconds
    with managed_server(stub(), root, quiet):
        (line,) = listed(root)
        assert line.startswith(f"{stub().key}  ready")
    assert listed(root, "--stop", broken.key) == [f"{broken.key}  removed from the list  command  stub"]
    assert not (root / broken.key).exists()
    assert listed(root, "--stop", "all") == [f"{stub().key}  stopped  command  stub"]
    assert (listed(root), list_servers(root)) == ([], [])


def test_a_server_in_use_is_stopped_and_its_client_told(root: Path) -> None:
    with managed_server(stub(max_restarts=0), root, quiet) as server:
        listed(root, "--stop", "all")
        assert not server.is_healthy()
        assert root.exists()


@pytest.mark.slow
def test_a_removed_state_folder_ends_the_server(root: Path) -> None:
    import shutil

    with managed_server(stub(), root, quiet):
        pids = only(root).pids
    shutil.rmtree(root)
    assert_all_gone(pids)


def test_a_state_file_of_another_layout_is_no_obstacle(root: Path) -> None:
    folder = root / stub().key
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{"version": 0}')
    with managed_server(stub(), root, quiet) as server:
        assert server.is_healthy()


def test_the_key_is_private(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with managed_server(stub("--say", "hello"), root, lines.append) as server:
        key = server.endpoint.api_key
        assert len(key) >= 32
        for pid in only(root).pids:
            assert key not in Path(f"/proc/{pid}/cmdline").read_text()
        said = [
            repr(server.endpoint),
            str(list_servers(root)),
            server.log_tail(),
            *lines,
            *capfd.readouterr(),
        ]
        assert not any(key in text for text in said)
        for path in (root, *root.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path
            if path.is_file() and path.name != "state.json":
                assert key not in path.read_text()
    stop_server(root, stub("--say", "hello").key)
    assert key not in (root / stub("--say", "hello").key / "state.json").read_text()


def test_a_key_that_an_engine_writes_down_is_not_passed_on(root: Path) -> None:
    code = f"import os; print('key', os.environ['POLLUX_SERVER_API_KEY'], flush=True); exec(open({str(STUB)!r}).read())"
    command = (sys.executable, "-c", code, "--port", "{port}", "--model", "{model}")
    with managed_server(ServerSpec(model="m", engine="command", command=command), root, quiet) as server:
        assert server.log_tail() == "key [key]"


def test_a_handle_is_what_the_client_expects(root: Path) -> None:
    with managed_server(stub(), root, quiet) as server:
        handle: ServerHandle = server
        assert handle.generation == 1


def read_state(root: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((root / only(root).key / "state.json").read_text())
    return state
