"""Opens a DuckDB file in the same way for every part of the project; usable from a notebook, without Dagster.

Settings are applied after opening, never as connection configuration, so that this connection and a plain
`duckdb.connect` of the same file can coexist in one process.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from pollux_dagster.core.duckdb_memory import memory_limit

DEFAULT_WAIT_S = 60.0
DEFAULT_SETTINGS: Mapping[str, str] = {"memory_limit": memory_limit()}

_SET_ASIDE_AT = "%Y%m%dT%H%M%SZ"
_LOCK_HELD = "Could not set lock on file"
_HOLDER = re.compile(r"held in (?P<program>.+?) \(PID (?P<pid>\d+)\)")
_CORRUPT = re.compile(r"not a valid DuckDB|corrupt|checksum|deserializ|not read enough bytes", re.I)
_UNREPLAYABLE = "Failure while replaying WAL file"
_OTHER_MODE = "different configuration than existing connections"


class WarehouseLockedError(RuntimeError):
    """Another process held the database file for longer than the allowed wait."""


class WarehouseCorruptError(RuntimeError):
    """The file cannot be opened as a DuckDB database; the ledger holds what is needed to rebuild it."""


class WarehouseModeError(RuntimeError):
    """This process already has the file open in the other mode (read-only against read-write)."""


def connect(
    path: str | Path,
    read_only: bool = False,
    wait_s: float = DEFAULT_WAIT_S,
    settings: Mapping[str, str | int] = DEFAULT_SETTINGS,
) -> duckdb.DuckDBPyConnection:
    """Open `path`, waiting up to `wait_s` seconds while another process holds it. The caller closes it.

    A new file is created with mode 0600, in a folder that is created with mode 0700 where it is missing. `:memory:` and
    attach strings such as `ducklake:postgres:…` are passed to DuckDB unchanged. `settings` are DuckDB settings that can
    change while a database is open (`memory_limit`, `threads`, …).

    Raises:
        WarehouseLockedError: the file stayed locked; the message names the process that holds it.
        WarehouseModeError: the same process has the file open in the other mode.
        WarehouseCorruptError: the file at `path` cannot be opened as a database; the message says what to do.
        duckdb.Error: any other error of DuckDB, for instance a read-only open of a file that does not exist.
    """
    database = str(path)
    if not read_only and not _is_connection_string(database):
        _create_private_file(Path(database))
    con = _connect_when_free(database, read_only, wait_s)
    try:
        for name, value in settings.items():
            if not name.isidentifier():
                raise ValueError(f"DuckDB setting: expected a name like 'memory_limit', got {name!r}")
            con.execute(f"SET {name} = {_literal(value)}")
    except BaseException:
        con.close()
        raise
    return con


def corrupt_error(database: str, error: duckdb.Error) -> WarehouseCorruptError:
    """The error for a damaged file: DuckDB's own message, and the remedy."""
    said = str(error).splitlines()[0]  # an internal error continues with DuckDB's own stack
    return WarehouseCorruptError(
        f"{database} is damaged: {said}. Nothing that was judged is lost: `pollux rebuild` sets the file aside and "
        "makes it again from the landing folder and the ledger, without asking the judge"
    )


def is_damage(error: duckdb.Error) -> bool:
    """Whether DuckDB met a damaged block of the database file, which may happen long after opening it."""
    return "Corrupt database file" in str(error)


def set_aside(path: Path) -> Path | None:
    """Rename a warehouse file, and its write-ahead log, to `<name>.broken-<time>`; None when there is none.

    Raises:
        WarehouseLockedError: another process has the file open; moving it would separate the two.
    """
    stamp = f"broken-{datetime.now(UTC):{_SET_ASIDE_AT}}"
    with _folder_lock(path.parent):
        if not path.exists():
            return None
        with path.open("r+b") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock DuckDB itself takes
            except BlockingIOError as error:
                raise WarehouseLockedError(
                    f"{path}: another process has it open; let that finish or close it, then run this again"
                ) from error
            target = path.with_name(f"{path.name}.{stamp}")
            path.rename(target)
            _set_log_aside(path, stamp)
    return target


def _set_log_aside(path: Path, stamp: str) -> None:
    log = path.with_name(f"{path.name}.wal")
    if log.exists():
        log.rename(path.with_name(f"{path.name}.{stamp}.wal"))


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """The lock held while a database file is created or set aside in `folder`: file and log change together or not at
    all.
    """
    if not folder.is_dir():
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remove_set_aside(path: Path, *, older_than_s: float) -> int:
    """Delete what `set_aside` left of this warehouse over `older_than_s` seconds ago; returns the number of files."""
    before, removed = datetime.now(UTC).timestamp() - older_than_s, 0
    for file in path.parent.glob(f"{path.name}.broken-*"):
        moved_at = file.name.removeprefix(f"{path.name}.broken-").removesuffix(".wal")
        try:  # by its name, because renaming does not change a file's times
            is_old = datetime.strptime(moved_at, _SET_ASIDE_AT).replace(tzinfo=UTC).timestamp() < before
        except ValueError:
            continue  # not named by set_aside
        if is_old:
            file.unlink(missing_ok=True)
            removed += 1
    return removed


def _connect_when_free(database: str, read_only: bool, wait_s: float) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + wait_s
    pause_s = 0.05
    while True:
        try:
            return duckdb.connect(database, read_only=read_only)
        except duckdb.ConnectionException as error:
            if _OTHER_MODE not in str(error):
                raise
            mode = "read-write" if read_only else "read-only"
            raise WarehouseModeError(
                f"{database}: this process already has it open {mode} and DuckDB allows one mode "
                f"per process; close that connection first, or open this one {mode} too"
            ) from error
        except duckdb.InternalException as error:
            if _UNREPLAYABLE not in str(error):
                raise
            raise corrupt_error(database, error) from None
        except (duckdb.IOException, duckdb.SerializationException, duckdb.FatalException) as error:
            if _CORRUPT.search(str(error)):
                raise corrupt_error(database, error) from None  # a terminal shows the innermost error
            if _LOCK_HELD not in str(error):
                raise
            if time.monotonic() >= deadline:
                raise WarehouseLockedError(_locked_message(database, wait_s, str(error))) from error
        # Jitter, so that several waiters do not retry in step.
        time.sleep(min(pause_s * random.uniform(0.5, 1.0), max(0.0, deadline - time.monotonic())))
        pause_s = min(1.0, pause_s * 2)


def _locked_message(database: str, wait_s: float, duckdb_message: str) -> str:
    holder = _HOLDER.search(duckdb_message)
    who = f"process {holder['pid']} ({holder['program']})" if holder else f"another process: {duckdb_message}"
    return (
        f"{database}: waited {wait_s:g} s for its lock, which is held by {who}; let that process finish or "
        "close its connection (an open notebook or DuckDB shell counts), then run this again. "
        "To only read, open the published file instead: it is never locked."
    )


def _create_private_file(path: Path) -> None:
    """Create an empty database at `path`, mode 0600, unless there is one.

    DuckDB creates files with the process's umask and refuses to open a zero-byte file, so the new file is made in a
    private folder and linked into place; linking never overwrites the file of a faster process. A write-ahead log that
    exists there without its file is set aside as `<name>.orphan-<time>.wal`.
    """
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    prefix = f".{path.name}.new-"
    with _folder_lock(path.parent):
        if path.exists():
            return
        # Left by a process that was killed here, or while it set the file aside: DuckDB would replay the log of the
        # missing file into the new one.
        for leftover in path.parent.glob(f"{prefix}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        _set_log_aside(path, f"orphan-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        # Not a TemporaryDirectory: where permissions are removed meanwhile, its clean-up recurses without end.
        private = Path(tempfile.mkdtemp(dir=path.parent, prefix=prefix))
        try:
            fresh = private / "new.duckdb"
            duckdb.connect(str(fresh)).close()
            fresh.chmod(0o600)
            with suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            shutil.rmtree(private, ignore_errors=True)


def _is_connection_string(database: str) -> bool:
    return database == ":memory:" or re.match(r"^[a-z_]{2,}:", database) is not None


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
