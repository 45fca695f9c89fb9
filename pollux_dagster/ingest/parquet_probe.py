"""Reads a Parquet file, an Arrow file or a workbook in a child process first, to find out what it costs.

A footer and a page header can claim anything, a dozen encodings unfold a few bytes to gigabytes, a schema can be nested
deeper than the decoder's stack, and two cells at the corners of a sheet make a table of billions. So a child process
with limited memory and time reads the file first, in the same steps; a file that kills the child is not read here.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from pollux_dagster.ingest import limits
from pollux_dagster.ingest.rows import Reason, RowRejected

_PACKAGES = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1
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
    child = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps({name: getattr(limits, name) for name in _PASSED_ON}), kind],
        stdin=descriptor,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_environment(),
        check=False,
    )
    if child.returncode == 0:
        return None
    said = child.stderr.decode("utf-8", "replace").strip().splitlines()
    ran_out = kind is Kind.WORKBOOK and child.returncode == -signal.SIGABRT and "allocation" in " ".join(said)
    if child.returncode == _TOO_LARGE or ran_out:
        detail = f"reading it takes more than {limits.MAX_PARQUET_MEMORY:,} bytes of memory"
        return RowRejected(Reason.TOO_LARGE, detail)
    if -child.returncode in (signal.SIGXCPU, signal.SIGKILL):
        return RowRejected(Reason.TOO_LARGE, f"reading it takes more than {limits.MAX_PARQUET_CPU_S} s")
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return RowRejected(Reason.UNREADABLE_FILE, f"not a sound {kind}: its reader ends with {name}")
    if child.returncode == _UNREADABLE:
        return RowRejected(Reason.UNREADABLE_FILE, f"not a sound {kind}: {said[-1] if said else 'its reader fails'}")
    raise OSError(0, f"a process to look at it ended with {child.returncode}: {said[-1] if said else 'no message'}")


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


def main() -> int:
    """Read the file on standard input; the exit code tells whether the limits in the argument were enough."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for name, value in json.loads(sys.argv[1]).items():
        setattr(limits, name, value)
    read, memory_errors = _reader(Kind(sys.argv[2]))
    # Opened again, because the parent shares the position in the inherited handle.
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
    sys.exit(main())
