"""The engines that are really run: how each is installed, started, and what it serves.

Each has an environment of its own outside the repository, because their pins contradict each other and ours.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pollux_dagster.core.profile_files import packaged_profile
from pollux_dagster.judge.server import engine_launcher

HOME_VARIABLE = "POLLUX_TEST_ENGINES"
PROJECT_PYTHON = Path(__file__).parents[2] / ".venv" / "bin" / "python"
LITELLM_CONFIG = Path(__file__).parent / "litellm.yaml"
_REQUIREMENTS = Path(__file__).parent / "requirements"
_DEMO = packaged_profile("demo")
_CHECKPOINT = Path(_DEMO.served_model)


def home() -> Path:
    """The folder of all environments: `POLLUX_TEST_ENGINES`, else in the user's cache."""
    given = os.environ.get(HOME_VARIABLE)
    return Path(given) if given else Path.home() / ".cache" / "pollux-dagster" / "engines"


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine and the model that it serves in the tests.

    `environment_name` names its environment and its requirements file; None where the project's own environment has the
    engine. `command` is what the launcher of managed servers takes, with `{bin}` (the environment's programs), `{home}`
    and `{port}` in it. `ready_path` answers 200 once the model is loaded. `behind` names the engine that this one, a
    proxy, passes requests to: its address is in the variable `JUDGE_BEHIND`.
    """

    name: str
    environment_name: str | None
    command: tuple[str, ...]
    model: str
    context: int
    base_path: str = "/v1"
    ready_path: str = "/health"
    variables: Mapping[str, str] = field(default_factory=dict)
    behind: str | None = None

    @property
    def folder(self) -> Path:
        """The folder of the environment."""
        return home() / self.environment_name if self.environment_name else PROJECT_PYTHON.parents[1]

    @property
    def requirement_files(self) -> list[Path]:
        """The pins in the order of their installation.

        Where there is a `NAME.first.txt`, it has all that the packages of `NAME.txt` need, to be built and to run.
        """
        names = (f"{self.environment_name}.first.txt", f"{self.environment_name}.txt")
        return [path for name in names if (path := _REQUIREMENTS / name).is_file()]

    @property
    def pins(self) -> str:
        """Identifies the installed pins, so that an environment of older ones is not taken for the right one."""
        return hashlib.sha256(b"\0".join(path.read_bytes() for path in self.requirement_files)).hexdigest()

    @property
    def stamp(self) -> Path:
        """The file that says which pins the environment holds; written last."""
        return self.folder / "installed-pins"

    def why_not_installed(self) -> str | None:
        """What is missing, with the command that brings it; None when the engine can be started."""
        if self.environment_name is None:
            return None if PROJECT_PYTHON.exists() else f"{self.name}: no {PROJECT_PYTHON}; run `make demo` once"
        how = f"run `python -m tests.engines.install {self.environment_name}`"
        if not self.stamp.is_file():
            return f"{self.name} is not installed in {self.folder}: {how}"
        if self.stamp.read_text() != self.pins:
            return f"{self.name} in {self.folder} has other versions than its requirements file: {how}"
        return None

    def argv(self, port: int) -> list[str]:
        """The command line that serves on `port` of the loopback address until its parent ends."""
        places = {"{bin}": str(self.folder / "bin"), "{home}": str(home()), "{port}": str(port)}
        words = list(self.command)
        for place, value in places.items():
            words = [word.replace(place, value) for word in words]
        return [str(self.folder / "bin" / "python"), "-P", engine_launcher.__file__, *words]


_VLLM_VARIABLES = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}


def _vllm(name: str, environment_name: str | None) -> Engine:
    command = (
        "vllm.entrypoints.openai.api_server",
        *("--model", str(_CHECKPOINT), "--served-model-name", "judge", "--generation-config", "vllm"),
        *("--host", "127.0.0.1", "--port", "{port}", "--max-model-len", str(_DEMO.max_model_len)),
        *("--enforce-eager", "--reasoning-parser", "qwen3", "--block-size", "32", "--max-num-seqs", "64"),
    )
    return Engine(name, environment_name, command, "judge", _DEMO.max_model_len, variables=_VLLM_VARIABLES)


def _transformers(version: str, *flags: str) -> Engine:
    name = f"transformers-{version}"
    command = (
        "--exec",
        "{bin}/transformers",
        "serve",
        *flags,
        str(_CHECKPOINT),
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
    )
    return Engine(name, name, command, str(_CHECKPOINT), _DEMO.max_model_len, variables={"HF_HUB_OFFLINE": "1"})


def _llama(name: str, gguf: str, context: int, *, prefix: str = "") -> Engine:
    slots = 4  # they share the context, so that each request has `context` of it
    # One thread: several wait for each other in loops, which on a busy machine costs ten times what they gain.
    command = (
        *("--exec", "{bin}/llama-server", "--model", f"{{home}}/{LLAMA_CPP}/{gguf}", "--alias", "judge"),
        *("--host", "127.0.0.1", "--port", "{port}", "--threads", "1", "--metrics"),
        *("--parallel", str(slots), "--ctx-size", str(slots * context), "--jinja"),
        *(("--api-prefix", prefix) if prefix else ()),
    )
    return Engine(name, LLAMA_CPP, command, "judge", context, base_path=f"{prefix}/v1", ready_path=f"{prefix}/health")


def _litellm(name: str, model: str) -> Engine:
    command = ("--exec", "{bin}/litellm", "--config", str(LITELLM_CONFIG), "--host", "127.0.0.1", "--port", "{port}")
    return Engine(
        name,
        "litellm",
        command,
        model,
        _DEMO.max_model_len,
        ready_path="/health/liveliness",
        variables={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        behind="vllm-0.32.0",
    )


LLAMA_CPP = "llama-cpp"
DEMO_GGUF, SMOLLM2_GGUF = "demo-judge.gguf", "smollm2-135m-instruct.gguf"
_SMOLLM2_CONTEXT = 2_048  # of its training
_DOCKER_PREFIX = "/engines/llama.cpp"

ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (
        _vllm("vllm-0.32.0", None),
        _vllm("vllm-0.19.0", "vllm-0.19.0"),
        _vllm("vllm-0.27.1", "vllm-0.27.1"),
        _transformers("5.24.0"),
        _transformers("5.3.0", "--force-model"),
        _llama("llama.cpp", DEMO_GGUF, _DEMO.max_model_len),
        _llama("docker-model-runner", DEMO_GGUF, _DEMO.max_model_len, prefix=_DOCKER_PREFIX),
        _llama("llama.cpp-smollm2", SMOLLM2_GGUF, _SMOLLM2_CONTEXT),
        _litellm("litellm", "judge"),
        _litellm("litellm-wildcard", "openai/judge"),
    )
}
