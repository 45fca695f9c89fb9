"""The servers under a state root, and how to stop one from outside.

For the command line and for tests that look for leftovers; running pipelines use leases instead.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from pollux_dagster.judge.server.lease import count_leases
from pollux_dagster.judge.server.processes import is_running, kill, kill_session, session_members
from pollux_dagster.judge.server.state import LIVE, ServerFolder, ServerState


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One key's server. `status` is failed when its supervisor died without a final state. Contains no API key."""

    key: str
    status: ServerState
    reason: str
    engine: str
    model: str
    generation: int
    port: int
    pids: tuple[int, ...]
    leases: int
    started_at: str
    ready_at: str
    restarts: int
    log: Path


def list_servers(state_root: Path) -> list[ServerStatus]:
    """Every server that was ever started under `state_root`, running or not, by key."""
    if not state_root.is_dir():
        return []
    found = (_status(ServerFolder(state_root, path.name)) for path in sorted(state_root.iterdir()))
    return [status for status in found if status is not None]


def current_servers(state_root: Path) -> list[ServerStatus]:
    """The servers that run, and those that failed, by key, until another became ready after them: what was wrong with
    them was then put right, mostly by other settings and so under another key.
    """
    found = list_servers(state_root)
    last_ready = max((server.ready_at for server in found), default="")
    ended = (ServerState.STOPPED, ServerState.FAILED)
    return [
        server
        for server in found
        if server.status not in ended or (server.status is ServerState.FAILED and server.started_at >= last_ready)
    ]


def forget_server(state_root: Path, key: str) -> bool:
    """Remove the folder, with the logs, of a server that does not run; False when it runs or is in use."""
    folder = ServerFolder(state_root, key)
    with folder.start_lock(wait_s=0.0) as got:
        if not got or folder.has_supervisor() or count_leases(folder.leases):
            return False
        shutil.rmtree(folder.path, ignore_errors=True)
    return True


def stop_server(state_root: Path, key: str, *, timeout_s: float = 60.0) -> bool:
    """Stop the server with this key, even with leases. True when one was running; no process of it is left in either
    case.

    The supervisor is asked first; one that does not answer in time is killed, and its engine with it. Raises KeyError
    for a key that no server ever had, TimeoutError when its processes cannot be killed.
    """
    folder = ServerFolder(state_root, key)
    state = folder.read_state()
    if state is None:
        raise KeyError(f"no server {key!r} under {state_root}; `list_servers` shows those there are")
    was_running = folder.has_supervisor()
    if was_running:
        folder.ask("stop", generation=state.generation, reason="asked to stop")
        deadline = time.monotonic() + timeout_s
        while folder.has_supervisor() and time.monotonic() < deadline:
            time.sleep(0.05)
        state = folder.read_state() or state
        if folder.has_supervisor() and state.supervisor is not None and is_running(state.supervisor):
            kill([state.supervisor.pid])
    if state.process is not None and not kill_session(state.process):
        raise TimeoutError(f"processes of server {key} survive SIGKILL: {session_members(state.process)}")
    if state.scratch:
        shutil.rmtree(state.scratch, ignore_errors=True)
    return was_running


def remove_unused_servers(state_root: Path, *, unused_s: float) -> int:
    """Remove the folders, with their logs, of servers that were not used or supervised for `unused_s` seconds.

    Returns their number. A server that has a supervisor or a client is kept whatever its age.
    """
    removed = 0
    for path in sorted(state_root.iterdir()) if state_root.is_dir() else ():
        state = path / "state.json"
        if not state.is_file() or time.time() - max(state.stat().st_mtime, path.stat().st_mtime) < unused_s:
            continue
        removed += forget_server(state_root, path.name)
    return removed


def _status(folder: ServerFolder) -> ServerStatus | None:
    state = folder.read_state()
    if state is None:
        return None
    status, reason = state.status, state.reason
    supervised = state.supervisor is not None and is_running(state.supervisor)
    if status in LIVE and not supervised:
        status, reason = ServerState.FAILED, "its supervisor was killed"
    pids = [state.supervisor.pid] if supervised and state.supervisor else []
    return ServerStatus(
        key=folder.key,
        status=status,
        reason=reason,
        engine=state.engine,
        model=state.model,
        generation=state.generation,
        port=state.port,
        pids=(*pids, *(session_members(state.process) if state.process else ())),
        leases=count_leases(folder.leases),
        started_at=state.started_at,
        ready_at=state.ready_at,
        restarts=len(state.restarts),
        log=folder.engine_log(state.generation),
    )
