"""Reads a Parquet file, an Arrow file or a workbook in a child process first, to find out what it costs.

A footer and a page header can claim anything, a dozen encodings unfold a few bytes to gigabytes, a schema can be nested
deeper than the decoder's stack, and two cells at the corners of a sheet make a table of billions. So a child process
with limited memory and time reads the file first, in the same steps; a file that kills the child is not read here.

To load the libraries that read takes half a second, and a folder may hold a thousand files: one process loads them,
forks a child for each file that it is handed, and ends when nobody has handed it one for a while.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Never

from pollux_dagster.ingest import limits
from pollux_dagster.ingest.rows import Reason, RowRejected

_PACKAGES = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1
_IDLE_S = 20.0
_MESSAGE_BYTES = 4096
_TOO_LARGE = 3
_UNREADABLE = 4
_PASSED_ON = ("MAX_PARQUET_BYTES", "MAX_PARQUET_ROWS", "MAX_PARQUET_MEMORY", "MAX_PARQUET_CPU_S")
_END = b"PAR1"


class Kind(StrEnum):
    """What is probed, by the name of it in messages."""

    PARQUET = "Parquet file"
    ARROW = "Arrow file"
    WORKBOOK = "workbook"


def refuse_costly(handle: BinaryIO, kind: Kind = Kind.PARQUET) -> RowRejected | None:
    """Why the file must not be read, or None. A file that is held in memory is not probed.

    Raises OSError when the child could not do its work, which says nothing about the file.
    """
    try:
        descriptor = handle.fileno()
    except io.UnsupportedOperation:
        return None
    if kind is Kind.PARQUET:
        handle.seek(-len(_END), os.SEEK_END)
        if handle.read(len(_END)) != _END:
            return None  # no footer: the reader refuses it at once, cheaper than a process
    with tempfile.TemporaryFile() as stderr:
        ended = _prober(os.getpid()).read(descriptor, stderr.fileno(), kind)
        stderr.seek(0)
        said = stderr.read().decode("utf-8", "replace").strip().splitlines()
    if ended == 0:
        return None
    ran_out = kind is Kind.WORKBOOK and ended == -signal.SIGABRT and "allocation" in " ".join(said)
    if ended == _TOO_LARGE or ran_out:
        detail = f"reading it takes more than {limits.MAX_PARQUET_MEMORY:,} bytes of memory"
        return RowRejected(Reason.TOO_LARGE, detail)
    if -ended in (signal.SIGXCPU, signal.SIGKILL):
        return RowRejected(Reason.TOO_LARGE, f"reading it takes more than {limits.MAX_PARQUET_CPU_S} s")
    if ended < 0:
        name = signal.Signals(-ended).name
        return RowRejected(Reason.UNREADABLE_FILE, f"not a sound {kind}: its reader ends with {name}")
    if ended == _UNREADABLE:
        return RowRejected(Reason.UNREADABLE_FILE, f"not a sound {kind}: {said[-1] if said else 'its reader fails'}")
    raise OSError(0, f"a process to look at it ended with {ended}: {said[-1] if said else 'no message'}")


class _Prober:
    """The process that forks a child for each file, started when there is a file and none runs."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, file: int, stderr: int, kind: Kind) -> int:
        """The exit code of a child that reads the file, or minus the number of the signal that ended it.

        Raises OSError when the process that should fork it ends without an answer, twice.
        """
        passed_on = {name: getattr(limits, name) for name in _PASSED_ON}
        message = json.dumps({"kind": kind, "limits": passed_on}).encode()
        with self._lock:
            # It may have ended for want of files, or been killed: another one is asked then.
            answer = self._ask(message, file, stderr) or self._ask(message, file, stderr)
        if not answer:
            raise OSError(0, "the process that has files read by others ends without an answer")
        return int(answer)

    def _ask(self, message: bytes, file: int, stderr: int) -> bytes:
        asked = self._socket or self._start()
        self._socket = None  # an answer that is not waited for would be taken for the next file's
        try:
            socket.send_fds(asked, [message], [file, stderr])
            answer = asked.recv(_MESSAGE_BYTES)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        if answer:
            self._socket = asked
        else:
            asked.close()
        return answer

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for the process that asks
            )
        return ours


@cache
def _prober(_process: int) -> _Prober:
    """One for each process: what a fork inherits, it must not use beside its parent."""
    return _Prober()


def _environment() -> dict[str, str]:
    """An environment without secrets, with one heap, and with this package importable from any working folder."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PATH") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(_PACKAGES),
        "PYTHONSAFEPATH": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "MALLOC_ARENA_MAX": "1",
        "OMP_NUM_THREADS": "1",
    }


def main() -> None:
    """Fork a child for each file that is handed over on standard input, and answer with how it ended."""
    with socket.socket(fileno=sys.stdin.fileno()) as asking:
        asking.settimeout(_IDLE_S)
        while True:
            try:
                message, (file, stderr), _, _ = socket.recv_fds(asking, _MESSAGE_BYTES, 2)
            except (TimeoutError, ValueError):
                return  # nobody asked for long, or whoever asked has ended
            asked = json.loads(message)
            reader = _reader(Kind(asked["kind"]))  # loaded here, for all children
            child = os.fork()
            if child == 0:
                _become_child(file, stderr, asked["limits"], *reader)
            os.close(file)
            os.close(stderr)
            status = _wait_or_kill(child, asking)
            try:
                asking.send(str(os.waitstatus_to_exitcode(status)).encode())
            except (BrokenPipeError, ConnectionResetError):
                return


def _wait_or_kill(child: int, asking: socket.socket) -> int:
    """How the child ended; killed where whoever asked is gone, who says nothing before the answer."""
    ended = os.pidfd_open(child)
    try:
        if ended not in select.select([ended, asking.fileno()], [], [])[0]:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(ended)
    return os.waitpid(child, 0)[1]


def _become_child(
    file: int,
    stderr: int,
    passed_on: dict[str, int],
    read: Callable[[BinaryIO], None],
    memory_errors: tuple[type[BaseException], ...],
) -> Never:
    """Read the file within the limits and exit. The file takes the place of the socket, which it must not reach."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(file, 0)
        os.dup2(stderr, 2)
        for name, value in passed_on.items():
            setattr(limits, name, value)
        code = _read(read, memory_errors)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _read(read: Callable[[BinaryIO], None], memory_errors: tuple[type[BaseException], ...]) -> int:
    # Opened again, because the process that asked shares the position in the inherited handle.
    with Path("/proc/self/fd/0").open("rb") as handle:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (limits.MAX_PARQUET_CPU_S, limits.MAX_PARQUET_CPU_S + 1))
        resource.setrlimit(resource.RLIMIT_AS, (mapped + limits.MAX_PARQUET_MEMORY,) * 2)
        try:
            read(handle)
        except memory_errors:
            return _TOO_LARGE
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # how a failed assertion of a Rust library arrives
                raise
            sys.stderr.write(f"{error}\n")
            return _UNREADABLE
    return 0


@cache
def _reader(kind: Kind) -> tuple[Callable[[BinaryIO], None], tuple[type[BaseException], ...]]:
    """What reads such a file without making rows of it, and the errors by which it says that memory ran out."""
    if kind is Kind.WORKBOOK:
        from pollux_dagster.ingest.xlsx_rows import unfold_workbook

        return unfold_workbook, (MemoryError,)
    import pyarrow as pa

    from pollux_dagster.ingest.parquet_rows import MEMORY_ERRORS, unfold, unfold_arrow

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    return unfold if kind is Kind.PARQUET else unfold_arrow, MEMORY_ERRORS


if __name__ == "__main__":
    main()
