"""Reads a Parquet file in a child process first, to find out what it costs.

A footer and a page header can claim anything, a dozen encodings unfold a few bytes to gigabytes, and a schema can be
nested deeper than the decoder's stack. So a child process with limited memory and time reads the file first, in the
same steps; a file that kills the child is not read here.
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
from pathlib import Path
from typing import BinaryIO

from pollux_dagster.ingest import limits
from pollux_dagster.ingest.rows import Reason, RowRejected

_PACKAGES = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1
_TOO_LARGE = 3
_PASSED_ON = ("MAX_PARQUET_BYTES", "MAX_PARQUET_ROWS", "MAX_PARQUET_MEMORY", "MAX_PARQUET_CPU_S")
_END = b"PAR1"


def refuse_costly(handle: BinaryIO) -> RowRejected | None:
    """Why the Parquet file must not be read, or None. A file that is held in memory is not probed.

    Raises OSError when the child could not do its work, which says nothing about the file.
    """
    try:
        descriptor = handle.fileno()
    except io.UnsupportedOperation:
        return None
    handle.seek(-len(_END), os.SEEK_END)
    if handle.read(len(_END)) != _END:
        return None  # no footer: the reader refuses it at once, cheaper than a process
    child = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps({name: getattr(limits, name) for name in _PASSED_ON})],
        stdin=descriptor,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_environment(),
        check=False,
    )
    if child.returncode == 0:
        return None
    if child.returncode == _TOO_LARGE:
        detail = f"reading it takes more than {limits.MAX_PARQUET_MEMORY:,} bytes of memory"
        return RowRejected(Reason.TOO_LARGE, detail)
    if -child.returncode in (signal.SIGXCPU, signal.SIGKILL):
        return RowRejected(Reason.TOO_LARGE, f"reading it takes more than {limits.MAX_PARQUET_CPU_S} s")
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return RowRejected(Reason.UNREADABLE_FILE, f"not a sound Parquet file: its reader ends with {name}")
    said = child.stderr.decode("utf-8", "replace").strip().splitlines()
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
    """Read the Parquet file on standard input; the exit code tells whether the limits in the argument were enough."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for name, value in json.loads(sys.argv[1]).items():
        setattr(limits, name, value)
    import pyarrow as pa

    from pollux_dagster.ingest.parquet_rows import MEMORY_ERRORS, unfold

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    # Opened again, because the parent shares the position in the inherited handle.
    with Path("/proc/self/fd/0").open("rb") as handle:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (limits.MAX_PARQUET_CPU_S, limits.MAX_PARQUET_CPU_S + 1))
        resource.setrlimit(resource.RLIMIT_AS, (mapped + limits.MAX_PARQUET_MEMORY,) * 2)
        try:
            unfold(handle)
        except MEMORY_ERRORS:
            return _TOO_LARGE
    return 0


if __name__ == "__main__":
    sys.exit(main())
