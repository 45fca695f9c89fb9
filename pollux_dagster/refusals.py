"""Explains errors of the machine in a sentence: a full disk, a folder without write permission, a locked database.

Errors of this package say themselves what to do. Those of the operating system, of DuckDB and of Dagster's storage do
not, and any command can raise them.
"""

from __future__ import annotations

import errno
import sqlite3

import duckdb

_KEPT = "What was judged before is kept, and the next run goes on from there"
_ADVICE = {
    errno.ENOSPC: "the disk has no room or no inodes left (df, df -i): free some and run again",
    errno.EDQUOT: "the disk quota is used up: free space and run again",
    errno.EROFS: "the file system is read-only: remount it, or choose another home",
    errno.EACCES: "this user may not: give it that place, a home with everything below (chown), or choose another",
    errno.EPERM: "this user may not: give it that place, a home with everything below (chown), or choose another",
    errno.EIO: "the disk answered with an error: check it (dmesg) and run again",
    errno.EMFILE: "this process has too many files open: raise its limit (ulimit -n) and run again",
    errno.ENFILE: "the machine has too many files open: close some and run again",
}
_WORDS = {
    "no space left": errno.ENOSPC,
    "disk is full": errno.ENOSPC,
    "disk quota": errno.EDQUOT,
    "read-only file system": errno.EROFS,
    "readonly database": errno.EACCES,
    "permission denied": errno.EACCES,
    "too many open files": errno.EMFILE,
    "input/output error": errno.EIO,
}
_STORAGE = "Dagster's storage (dagster/ in the home) could not be used"


def sentence(error: BaseException) -> str | None:
    """What failed, where, and what to do, on one or more lines; None for an unknown error, which deserves a traceback.

    Also for an error that only passes on one of these, as SQLAlchemy's do: the first in its chain of causes that has a
    sentence. An error raised while another was handled is not such a link: it is a bug that must be seen.
    """
    link: BaseException | None = error
    while link is not None:
        if (said := _of_one(link)) is not None:
            return said
        link = link.__cause__
    return None


def _of_one(error: BaseException) -> str | None:
    if isinstance(error, sqlite3.Error):
        return _with_advice(f"{_STORAGE}: {error}")
    if isinstance(error, duckdb.IOException) or (isinstance(error, duckdb.Error) and _reason(str(error))):
        return _with_advice(str(error).splitlines()[0])  # a full disk at a commit is a TransactionException
    if isinstance(error, OSError) and error.errno in _ADVICE:
        where = f" at {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}; {_ADVICE[error.errno]}. {_KEPT}"
    if isinstance(error, RuntimeError) and type(error).__module__.startswith("pollux_dagster."):
        return str(error)
    return None


def _with_advice(said: str) -> str:
    advice = _reason(said) or "check the room (df, df -i) and the rights there, and run again"
    return f"{said}; {advice}. {_KEPT}"


def _reason(said: str) -> str | None:
    return next((_ADVICE[number] for words, number in _WORDS.items() if words in said.lower()), None)
