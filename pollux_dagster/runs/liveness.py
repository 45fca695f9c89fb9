"""Whether the process of a run is alive: each run has a file that its process keeps locked for its lifetime.

The kernel drops a lock at the instant its holder dies and shows it to every process of the machine, in any PID
namespace (container); process numbers offer neither. A free lock proves a death only on the kernel and the file system
where the lock was taken, so the file records both, and what cannot be compared counts as unknown.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import Enum, auto
from pathlib import Path

from pollux_dagster.judge.server.processes import PROC, boot_id

MACHINE_ID = Path("/etc/machine-id")
INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel's proc_ns.h, the same everywhere


class Liveness(Enum):
    """What can be proved about the process of a run."""

    LIVING = auto()
    DEAD = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class _Whereabouts:
    """Where a lock was taken: kernel, file system, and machine, which survives a reboot. `pid` is for people."""

    boot_id: str
    machine_id: str
    hostname: str
    device: int
    inode: int
    pid: int


@contextmanager
def announced(folder: Path, run_id: str) -> Iterator[None]:
    """Show that the run's process is alive while the block lasts."""
    descriptor = announce(folder, run_id)
    try:
        yield
    finally:
        withdraw(folder, run_id, descriptor)


def announce(folder: Path, run_id: str) -> int:
    """Show from now on that the run's process is alive; the returned descriptor must stay open."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = folder / f".{run_id}"  # its name until it is locked and written
    while True:
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, json.dumps(asdict(_here(descriptor))).encode())
        try:
            draft.rename(folder / run_id)
        except FileNotFoundError:
            os.close(descriptor)  # it was removed as a leftover before it was locked
        else:
            return descriptor


def withdraw(folder: Path, run_id: str, descriptor: int) -> None:
    """End the announcement of a finished run: remove its file, then release the lock."""
    (folder / run_id).unlink(missing_ok=True)
    os.close(descriptor)


def liveness(folder: Path, run_id: str) -> Liveness:
    """LIVING while the lock is held; DEAD when it is free on the kernel that took it, or its machine has rebooted
    since.
    """
    path = folder / run_id
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return Liveness.UNKNOWN
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        then, now = _Whereabouts(**json.loads(os.read(descriptor, 4096))), _here(descriptor)
        written_at = os.fstat(descriptor).st_mtime
    except BlockingIOError:
        return Liveness.LIVING
    except (OSError, ValueError, TypeError):
        return Liveness.UNKNOWN  # no locks on this file system, or not our file
    finally:
        os.close(descriptor)
    if then.boot_id == now.boot_id:
        same_locks = (then.device, then.inode) == (now.device, now.inode)
        return Liveness.DEAD if same_locks else Liveness.UNKNOWN
    same_machine = bool(now.machine_id) and (then.machine_id, then.hostname) == (now.machine_id, now.hostname)
    return Liveness.DEAD if same_machine and written_at < _boot_time() else Liveness.UNKNOWN


def liveness_by_name(pid: int, start_ticks: int, boot: str) -> Liveness:
    """The same for a run of an earlier version, which recorded only process number, start in ticks since boot, and boot
    id.

    The PID namespace of the number is not known. From the initial namespace every process is visible, with its number
    in its own namespace.
    """
    if boot != boot_id() or not _sees_all_processes():
        return Liveness.UNKNOWN
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                # The start is the same for every reader; the command name may contain blanks and brackets.
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(fields[19]) == start_ticks and pid in _numbers(entry) and fields[0] not in "ZX":
                    return Liveness.LIVING
    return Liveness.DEAD


def remove_leftovers(folder: Path, under_way: set[str]) -> None:
    """Remove the files whose lock is free, except those of the runs `under_way`."""
    for path in folder.iterdir():
        if path.name not in under_way:
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(descriptor)


def _here(descriptor: int) -> _Whereabouts:
    stat = os.fstat(descriptor)
    machine_id = MACHINE_ID.read_text().strip() if MACHINE_ID.is_file() else ""
    return _Whereabouts(boot_id(), machine_id, socket.gethostname(), stat.st_dev, stat.st_ino, os.getpid())


def _boot_time() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _sees_all_processes() -> bool:
    """Whether this is the initial PID namespace, with a /proc that hides no process from us (`hidepid`)."""
    try:
        init = (PROC / "1" / "stat").read_text()
        return (PROC / "self/ns/pid").readlink().name == INITIAL_PID_NAMESPACE and bool(init)
    except OSError:
        return False


def _numbers(process: Path) -> list[int]:
    """The numbers of a process in its PID namespaces, the outermost first."""
    for line in (process / "status").read_text(errors="replace").splitlines():
        if line.startswith("NSpid:"):
            return [int(number) for number in line.split()[1:]]
    return []
