"""The managed server's parts that need no server: keys, command lines, budgets, watches, logs, leases."""

import fcntl
import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.judge.server import (
    ServerSpec,
    cpu_vllm_spec,
    engine_commands,
    engine_launcher,
    engine_log,
    lease,
    list_servers,
    processes,
)
from pollux_dagster.judge.server.engine_commands import build_command
from pollux_dagster.judge.server.engine_launcher import answer_for_vllm_cpu
from pollux_dagster.judge.server.state import ServerFolder
from pollux_dagster.judge.server.watch import IdleTimer, ProgressWatch, RestartBudget

KEY = "k" * 43


def argv(spec: ServerSpec, folder: Path) -> str:
    return " ".join(build_command(spec, port=4711, api_key=KEY, folder=folder).argv)


def test_the_key_follows_what_runs_and_not_how_long_to_wait() -> None:
    spec = ServerSpec(model="ai-forever/Pollux-4B-Judge")
    assert spec.key == ServerSpec(model="ai-forever/Pollux-4B-Judge", idle_shutdown_s=5, max_restarts=9).key
    others = [
        ServerSpec(model="ai-forever/Pollux-4B-Judge", engine="sglang"),
        ServerSpec(model="ai-forever/Pollux-4B-Judge", revision="main"),
        ServerSpec(model="ai-forever/Pollux-4B-Judge", arguments=("--enforce-eager",)),
        ServerSpec(model="ai-forever/Pollux-4B-Judge", environment={"OMP_NUM_THREADS": "1"}),
        ServerSpec(model="ai-forever/Pollux-7B-Judge"),
    ]
    assert len({spec.key, *(other.key for other in others)}) == 6
    assert re.fullmatch("[0-9a-f]{16}", spec.key)


def test_retrained_weights_get_another_key(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    before = ServerSpec(model=str(tmp_path)).key
    weights.write_bytes(b"other")
    assert ServerSpec(model=str(tmp_path)).key != before


def test_a_relative_checkpoint_means_the_same_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judge").mkdir()
    monkeypatch.chdir(tmp_path)
    spec = ServerSpec(model="judge")
    assert spec.model == str(tmp_path / "judge")
    assert spec.served_name == "judge"


def test_a_spec_survives_its_file(tmp_path: Path) -> None:
    spec = cpu_vllm_spec("some/model", max_model_len=2048, idle_shutdown_s=3)
    folder = ServerFolder(tmp_path, spec.key)
    folder.create()
    folder.write_spec(spec)
    assert folder.read_spec() == spec
    assert folder.read_spec().key == spec.key


@pytest.mark.parametrize(
    ("flags", "is_float32"),
    [("fpu sse2 avx2 fma", True), ("fpu avx2 avx512f avx512_bf16", False), ("", True)],
    ids=["without AVX-512", "with AVX-512", "another architecture"],
)
def test_the_packaged_judge_is_computed_in_the_format_that_the_processor_has(flags: str, is_float32: bool) -> None:
    assert ("float32" in engine_commands._number_format(f"processor : 0\nflags : {flags}\n")) == is_float32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"engine": "ollama"}, "one of vllm, sglang, transformers, llama-server, command"),
        ({"engine": "command"}, "needs a command"),
        ({"command": ("x",)}, "no other engine takes one"),
        ({"arguments": ("--api-key", "secret")}, "readable by every process"),
        ({"arguments": ("--api_key=secret",)}, "readable by every process"),
        ({"arguments": ("--trust-remote-code",)}, "trust_remote_code=True"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServerSpec(model="m", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["vllm", "sglang", "transformers"])
def test_every_engine_is_bound_to_loopback_and_gets_no_key_in_its_arguments(engine: str, tmp_path: Path) -> None:
    spec = ServerSpec(model="org/model", engine=engine, revision="abc", arguments=("--extra", "1"))
    line = argv(spec, tmp_path)
    assert "--host 127.0.0.1 --port 4711" in line
    assert line.endswith("--extra 1")
    assert "engine_launcher.py" in line
    assert KEY not in line
    assert "trust-remote-code" not in line


def test_vllm_gets_its_key_by_environment_and_its_sampling_from_requests_alone(tmp_path: Path) -> None:
    spec = ServerSpec(model="org/model", revision="abc", max_model_len=4096)
    command = build_command(spec, port=4711, api_key=KEY, folder=tmp_path)
    assert command.environment["VLLM_API_KEY"] == KEY
    line = " ".join(command.argv)
    for flags in ("--generation-config vllm", "--revision abc", "--max-model-len 4096"):
        assert flags in line


MADE_ENVS = """
import os

def compile_factors():
    return {name: os.environ.get(name) for name in ("VLLM_API_KEY", "VLLM_USE_X")}
"""
MADE_CORE = """
import json
from vllm import envs

def tell(who):
    print(json.dumps([who, envs.compile_factors()]), flush=True)
"""
MADE_SERVER = """
import multiprocessing
from vllm.core import tell

if __name__ == "__main__":
    tell("main")
    for how in ("spawn", "fork"):
        child = multiprocessing.get_context(how).Process(target=tell, args=(how,))
        child.start()
        child.join()
"""


def test_the_key_does_not_decide_whether_vllm_compiles_anew(tmp_path: Path) -> None:
    """Made for the test: a package `vllm` that counts its key among what compiled code depends on, as 0.25.1 does."""
    package = tmp_path / "vllm"
    package.mkdir()
    for name, text in {"__init__": "", "envs": MADE_ENVS, "core": MADE_CORE, "server": MADE_SERVER}.items():
        (package / f"{name}.py").write_text(text)
    ours = {engine_launcher.PARENT_VARIABLE: str(os.getpid()), "PYTHONPATH": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-P", engine_launcher.__file__, "vllm.server"],
        env={**os.environ, **ours, "VLLM_API_KEY": KEY, "VLLM_USE_X": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    counted = dict(json.loads(line) for line in told.splitlines())
    assert counted == {process: {"VLLM_USE_X": "1"} for process in ("main", "spawn", "fork")}


def test_sglang_reads_its_key_from_a_file(tmp_path: Path) -> None:
    command = build_command(ServerSpec(model="m", engine="sglang"), port=1, api_key=KEY, folder=tmp_path)
    assert command.config_file == f"api-key: {KEY}\n"
    assert str(tmp_path / "sglang.yaml") in command.argv


def test_remote_code_is_trusted_only_when_the_spec_says_so(tmp_path: Path) -> None:
    for engine in ("vllm", "sglang", "transformers"):
        assert "--trust-remote-code" in argv(ServerSpec(model="m", engine=engine, trust_remote_code=True), tmp_path)


def test_a_custom_command_is_filled_in_word_by_word(tmp_path: Path) -> None:
    spec = ServerSpec(
        model="a model with spaces; rm -rf {host}",
        engine="command",
        command=("serve", "--m={model}", "{host}:{port}"),
    )
    words = build_command(spec, port=7, api_key=KEY, folder=tmp_path).argv
    assert words[-1] == "127.0.0.1:7"
    assert words[-2].startswith("--m=a model with spaces; rm -rf ")


def test_the_budget_counts_restarts_within_its_window() -> None:
    budget = RestartBudget(2, window_s=10)
    assert [budget.spend(t) for t in (0, 1, 2, 9.9, 10, 11, 11.5)] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    assert not RestartBudget(0, window_s=10).spend(0)


def test_only_a_busy_server_without_new_tokens_is_stuck() -> None:
    watch = ProgressWatch(60)
    busy = {"num_requests_running": 2.0, "generation_tokens_total": 5.0, "prompt_tokens_total": 9.0}
    assert not watch.is_stuck(busy, 0)
    assert not watch.is_stuck(busy, 59)
    assert watch.is_stuck(busy, 60)
    assert not watch.is_stuck({**busy, "generation_tokens_total": 6.0}, 61)
    assert not watch.is_stuck({**busy, "generation_tokens_total": 6.0, "num_requests_running": 0.0}, 1000)
    assert not watch.is_stuck({}, 2000)
    waiting = {"num_requests_waiting": 1.0, "generation_tokens_total": 6.0, "prompt_tokens_total": 9.0}
    assert not watch.is_stuck(waiting, 2001)
    assert watch.is_stuck(waiting, 2100)


def test_idling_counts_from_the_last_lease() -> None:
    idle = IdleTimer(10, now=0)
    assert not idle.is_over(0, 9)
    assert not idle.is_over(1, 100)
    assert not idle.is_over(0, 109)
    assert idle.is_over(0, 110)


def test_the_first_error_of_a_log_is_its_cause(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text(
        "(APIServer pid=5) WARNING Found ulimit of 20000. This can cause errors like `OSError: Too many open files`.\n"
        "(Worker pid=7) ERROR 11-24 04:01:36 [multiproc_executor.py:1063] ValueError: No common block size\n"
        "(EngineCore pid=6) ERROR RuntimeError: Worker failed with error 'No common block size'\n"
        "RuntimeError: Engine core initialization failed. See root cause above.\n"
        "nanobind: leaked 4 instances!\n"
    )
    assert engine_log.root_cause(log) == "ValueError: No common block size"
    assert engine_log.log_tail(log, 1).startswith("RuntimeError: Engine core initialization failed")
    assert engine_log.root_cause(tmp_path / "none.log") is None
    assert engine_log.log_tail(tmp_path / "none.log") == ""


def logged(who: str, place: str, *lines: str, level: str = "ERROR") -> str:
    """Lines as one of vLLM's processes writes them."""
    return "".join(f"({who} pid=7) {level} 11-24 13:36:54 [{place}] {line}\n" for line in lines)


STARTED = logged("APIServer", "api_utils.py:286", "non-default args: {'port': 39999}", level="INFO")
FAILED = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
CPU_OOM = (
    "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 1073741824 bytes. Error code 12 (Cannot allocate memory)"
)
GPU_OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total of 79.10 GiB."
GPU_BUSY = (
    "ValueError: Free memory on device cuda:0 (3.2/79.1 GiB) on startup is less than desired GPU memory "
    "utilization (0.92, 72.8 GiB)."
)
LOGS = {
    "a bare MemoryError behind another error": (
        STARTED + "Traceback (most recent call last):\n"
        '  File "inspect.py", line 1081, in findsource\n'
        "    raise OSError('could not get source code')\n"
        "OSError: could not get source code\n"
        "Exception ignored in atexit callback: <function dump_compile_times at 0x7fdc6d960e00>\n"
        "Traceback (most recent call last):\n"
        '  File "<frozen importlib._bootstrap_external>", line 1131, in get_data\n'
        "MemoryError: \n",
        "out of memory: MemoryError; first error: OSError: could not get source code",
    ),
    "a library that could not be mapped": (
        "Traceback (most recent call last):\n    from .loop import Loop\n"
        "ImportError: uvloop/loop.so: failed to map segment from shared object\nMemoryError: \n",
        "out of memory: ImportError: uvloop/loop.so: failed to map segment from shared object",
    ),
    "an abort of an extension written in Rust": (
        "WARNING 11-24 13:36:54 [vllm.py:725] Model Runner V2 requires Triton; using the V1 model runner instead.\n"
        "memory allocation of 128 bytes failed\nskipping backtrace printing to avoid potential recursion\n",
        "out of memory: memory allocation of 128 bytes failed",
    ),
    "memory of the CPU": (
        STARTED
        + logged("EngineCore", "core.py:1510", "EngineCore failed to start.", "    kv_caches = allocate_kv_cache(")
        + logged("EngineCore", "core.py:1510", CPU_OOM)
        + FAILED,
        f"out of memory: {CPU_OOM}",
    ),
    "a GPU in use": (
        STARTED + logged("EngineCore", "core.py:1510", "EngineCore failed to start.", GPU_BUSY) + FAILED,
        f"out of memory: {GPU_BUSY}",
    ),
    "a GPU that is full hours after an error that was dealt with": (
        logged("APIServer", "http.py:18", "Exception in ASGI", "ValueError: The decoder prompt is too long")
        + logged("EngineCore", "loggers.py:1", "Engine 000: running", level="INFO")
        + logged("EngineCore", "core.py:1512", "EngineCore encountered a fatal error.", GPU_OOM)
        + logged("APIServer", "async_llm.py:1", "v1.exceptions.EngineDeadError: EngineCore encountered an issue."),
        f"out of memory: {GPU_OOM}",
    ),
    "no more threads": (
        STARTED
        + logged("EngineCore", "core.py:1510", "EngineCore failed to start.", "    torch.set_num_threads(1)")
        + logged("EngineCore", "core.py:1510", "RuntimeError: Resource temporarily unavailable")
        + FAILED,
        "out of memory or of threads: RuntimeError: Resource temporarily unavailable",
    ),
    "no more threads, told by a library": (
        STARTED + "Resource temporarily unavailable (src/thread.cpp:241)\n",
        "out of memory or of threads: Resource temporarily unavailable (src/thread.cpp:241)",
    ),
    "a warning that quotes an error": (
        logged("APIServer", "interface.py:2", "Falling back: ImportError: libfoo.so not found", level="WARNING")
        + "WARNING 11-24 13:36:54 [plugin.py:9] ImportError: libbar.so not found\n"
        + logged("EngineCore", "core.py:1510", "EngineCore failed to start.", "ValueError: No common block size"),
        "ValueError: No common block size",
    ),
    "a bad flag": (
        "usage: api_server.py [-h]\napi_server.py: error: unrecognized arguments: --no-such-flag\n",
        "api_server.py: error: unrecognized arguments: --no-such-flag",
    ),
    "a missing package": (
        STARTED
        + logged("EngineCore", "core.py:1510", "EngineCore failed to start.", "    from flashinfer import prefill")
        + logged("EngineCore", "core.py:1510", "ModuleNotFoundError: No module named 'flashinfer'")
        + FAILED,
        "ModuleNotFoundError: No module named 'flashinfer'",
    ),
    "a setting that is refused": (
        STARTED + "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n",
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
    ),
    "nothing wrong": (STARTED, None),
}
LASTING = {"a bad flag", "a missing package", "a setting that is refused"}


@pytest.mark.parametrize("sample", LOGS)
def test_a_log_tells_why_its_engine_ended(tmp_path: Path, sample: str) -> None:
    text, cause = LOGS[sample]
    log = tmp_path / "engine.log"
    log.write_text(text)
    assert engine_log.root_cause(log) == cause
    assert engine_log.is_lasting(cause) == (sample in LASTING)


def test_a_log_is_read_from_its_end_and_cleaned_for_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    with log.open("wb") as file:
        file.truncate(3 * 1024**3)  # a sparse file: reading it whole would take 3 GiB
        file.seek(0, 2)
        file.write(b"\n  0%\r 50%\r100% \x1b[31mred\x1b[0m \x07\xff key=s3cret\n\n")
    assert engine_log.log_tail(log, 1, secret="s3cret") == "100% red � key=[key]"
    assert engine_log.last_line(log, secret="s3cret") == "100% red � key=[key]"


def test_leases_count_while_held_and_dead_ones_are_swept(tmp_path: Path) -> None:
    folder = tmp_path / "leases"
    folder.mkdir()
    with lease.lease(folder), lease.lease(folder):
        (folder / "1-dead").touch()
        assert lease.count_leases(folder) == 2
        assert lease.count_leases(folder, sweep=True) == 2
        assert not (folder / "1-dead").exists()
    assert list(tmp_path.rglob("*")) == [folder]


def test_a_forked_child_does_not_keep_its_parents_lease(tmp_path: Path) -> None:
    folder = tmp_path / "leases"
    folder.mkdir()
    with lease.lease(folder):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.read(read, 1)
            os._exit(0)
    try:
        (folder / "x").touch()
        assert lease.count_leases(folder) == 0
    finally:
        os.write(write, b".")
        os.waitpid(child, 0)


def test_a_lease_is_locked_before_it_can_be_seen(tmp_path: Path) -> None:
    folder = tmp_path / "leases"
    folder.mkdir()
    with lease.lease(folder):
        (path,) = folder.iterdir()
        with path.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_process_is_not_taken_for_a_later_one_of_its_number() -> None:
    own = processes.identify_process(os.getpid())
    assert own is not None
    assert processes.is_running(own)
    earlier = processes.ProcessIdentity(own.pid, own.start_ticks - 1, own.boot_id)
    before_boot = processes.ProcessIdentity(own.pid, own.start_ticks, "another boot")
    assert not processes.is_running(earlier)
    assert not processes.is_running(before_boot)
    assert processes.session_members(earlier) == []
    assert processes.session_members(before_boot) == []


def test_a_session_is_killed_when_its_leader_is_gone() -> None:
    script = "import subprocess, sys; subprocess.Popen(['sleep', '60'])"
    leader = subprocess.Popen(
        [sys.executable, "-c", f"{script}; sys.stdin.read()"], stdin=subprocess.PIPE, start_new_session=True
    )
    name = processes.identify_process(leader.pid)
    assert name is not None
    while len(processes.session_members(name)) < 2:
        pass
    leader.kill()
    leader.wait()
    (orphan,) = processes.session_members(name)
    assert orphan != leader.pid
    assert processes.kill_session(name)
    assert processes.session_members(name) == []


def test_exits_are_told_in_words() -> None:
    assert processes.describe_exit(0) == "exited with code 0"
    assert "out-of-memory" in processes.describe_exit(-9)
    assert processes.describe_exit(-11) == "was killed by SIGSEGV"


def test_the_version_of_vllm_is_known_where_only_its_cpu_build_is_installed() -> None:
    def version(name: str) -> str:
        if name == "vllm-cpu":
            return "0.32.0"
        raise PackageNotFoundError(name)

    assert answer_for_vllm_cpu(version)("vllm") == "0.32.0+cpu"
    with pytest.raises(PackageNotFoundError, match="sglang"):
        answer_for_vllm_cpu(version)("sglang")


def test_a_key_does_not_show_in_an_endpoint() -> None:
    endpoint = Endpoint("http://127.0.0.1:1/v1", "s3cret", "m", 10, "vllm", "1", "s")
    assert "s3cret" not in repr(endpoint)


def test_no_servers_where_none_ever_was(tmp_path: Path) -> None:
    assert list_servers(tmp_path / "nothing") == []
