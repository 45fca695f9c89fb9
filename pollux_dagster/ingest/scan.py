"""Lists the files in a landing folder with sizes, times and inodes. Their contents are opened elsewhere.

A landing folder is self-contained: paths are relative to it, and anything that points out of it, is hidden or is still
being copied is not part of it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath

# Gone meanwhile, a dangling link, a loop of links (a RuntimeError in older Pythons).
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_SHOWN = 5  # entries that are not read
# What Windows, macOS and Excel leave in folders: views, the other halves of Macintosh files in a zip, owners' locks.
_SYSTEM_NAMES = frozenset({"desktop.ini", "thumbs.db", "__macosx"})
_LOCK_PREFIX = "~$"
TEMPORARY_SUFFIXES = (".tmp", ".part", ".partial", ".crdownload", ".download", ".swp", "~")


@dataclass(frozen=True, slots=True)
class LandingFile:
    """One file: `path` relative to the landing folder with '/', `absolute` to open it.

    The time of the last status change (ctime) and the inode detect a file that was replaced by one of the same size
    and, as `cp -p` and archives do, with the same modification time.
    """

    path: str
    absolute: Path
    size: int
    mtime_ns: int
    ctime_ns: int = 0
    inode: int = 0

    @classmethod
    def of(cls, path: str, absolute: Path, info: os.stat_result) -> LandingFile:
        """The file whose state is `info`."""
        return cls(path, absolute, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)

    @property
    def state(self) -> tuple[int, int, int, int]:
        """Changes whenever the content may have changed: size, modification and status change times in ns, inode."""
        return self.size, self.mtime_ns, self.ctime_ns, self.inode

    def open(self) -> BufferedReader:
        """Open the file for reading. Raises OSError when it has become a link meanwhile."""
        return os.fdopen(os.open(self.absolute, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


@dataclass(frozen=True, slots=True)
class Scan:
    """The files to read, by path, and other entries of the folder with the reason they are not read (path, why).

    `unreadable` are the paths that the system did not allow to be examined or listed: files may exist there or below.
    """

    files: tuple[LandingFile, ...]
    ignored: tuple[tuple[str, str], ...]
    unreadable: frozenset[str] = frozenset()

    def may_contain(self, path: str) -> bool:
        """Whether `path`, which is not among the files, may still exist."""
        above = (str(folder) for folder in PurePosixPath(path).parents)
        return not self.unreadable.isdisjoint((path, *above))


def scan(landing: Path) -> Scan:
    """Every regular file under `landing`, in order of path; where `landing` is a file itself, that file alone.

    Skipped silently: dot files and folders, names that end like a temporary file's, and what systems leave behind.
    Skipped and listed in `ignored`: links that lead out of the folder or nowhere, linked folders, devices and pipes,
    and folders and files that the system does not allow to be examined. Raises NotADirectoryError when there is no
    `landing`.
    """
    ignored: list[tuple[str, str]] = []
    denied: list[OSError] = []
    root = landing.resolve()
    files = sorted(_landed(landing, ignored, denied), key=lambda f: f.path)
    hidden = {_relative(root, Path(error.filename)): error for error in denied if error.errno not in _NOT_THERE}
    ignored += [(path, f"cannot be looked at: {error.strerror}") for path, error in hidden.items()]
    return Scan(tuple(files), tuple(sorted(ignored)), frozenset(hidden))


def unread_lines(unread: Sequence[tuple[str, str]]) -> list[str]:
    """The first of some entries that are not read (path, why), a line each, and how many more there are."""
    lines = [f"not read: {path}: {why}" for path, why in unread[:_SHOWN]]
    return [*lines, f"and {len(unread) - _SHOWN} more"] if len(unread) > _SHOWN else lines


def fingerprint(landing: Path, *, trust_times: bool = True) -> str:
    """A hash of names, sizes, times, inodes and permissions that changes when `sync` may have work.

    Opens no file, unless the file system's times cannot be trusted: then every file is read. Memory holds the names of
    one folder at a time. Raises NotADirectoryError as `scan` does.
    """
    digest = hashlib.sha256()
    for file in _landed(landing, [], []):
        may_read = os.access(file.absolute, os.R_OK)
        state = file.state if trust_times else (file.size, _content_hash(file))
        digest.update(f"{file.path}\0{state}\0{may_read}\n".encode())
    return digest.hexdigest()


def _content_hash(file: LandingFile) -> str:
    try:
        with file.open() as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.errno}"


def _landed(landing: Path, ignored: list[tuple[str, str]], denied: list[OSError]) -> Iterator[LandingFile]:
    """The files of a landing folder; a single file is a folder that holds it and nothing else."""
    root = landing.resolve()
    if root.is_file():
        yield LandingFile.of(_printable(landing.name), root, root.stat())
    elif root.is_dir():
        yield from _files(root, ignored, denied)
    else:
        raise NotADirectoryError(f"expected a landing folder at {landing}, found none: create it or set its path")


def _files(root: Path, ignored: list[tuple[str, str]], denied: list[OSError]) -> Iterator[LandingFile]:
    """The files below `root`, folder by folder, sorted within each; everything else is added to the two lists."""
    for folder, subfolders, names in os.walk(root, followlinks=False, onerror=denied.append):
        # Not Path.is_symlink, which raises where a folder may be listed but not entered.
        linked = {d for d in subfolders if not _skipped(d) and os.path.islink(Path(folder, d))}  # noqa: PTH114
        ignored += [(_relative(root, Path(folder, d)), "a link to a folder is not followed") for d in linked]
        subfolders[:] = sorted(d for d in subfolders if not _skipped(d) and d not in linked)
        inside = "" if folder == str(root) else _relative(root, Path(folder)) + "/"
        for name in sorted(names):
            if _skipped(name):
                continue
            try:
                found = _look(root, inside, os.path.join(folder, name), name)  # noqa: PTH118
            except OSError as error:
                error.filename = os.path.join(folder, name)  # noqa: PTH118
                denied.append(error)
                continue
            if isinstance(found, LandingFile):
                yield found
            else:
                ignored.append(found)


def _look(root: Path, inside: str, path: str, name: str) -> LandingFile | tuple[str, str]:
    """The file, or its path and why it is not one. Raises OSError where the system does not allow it to be examined.

    `path` is `name` in the folder `inside`. A file that is no link costs one stat call: there may be millions, and the
    sensor scans them every few seconds.
    """
    relative = inside + _printable(name)
    try:
        info = os.lstat(path)
        if stat.S_ISREG(info.st_mode):
            return LandingFile.of(relative, Path(path), info)
        target = Path(path).resolve(strict=True)
        info = target.stat()
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno not in _NOT_THERE:
            raise
        return relative, f"cannot be looked at: {error}"
    if not target.is_relative_to(root):
        return relative, "a link that leads out of the landing folder is not followed"
    if not stat.S_ISREG(info.st_mode):
        return relative, "not a regular file"
    return LandingFile.of(relative, target, info)


def _relative(root: Path, path: Path) -> str:
    return _printable(path.relative_to(root).as_posix())


def _printable(name: str) -> str:
    """The name with bytes that are not UTF-8 written as \\xNN, so that a database can hold it."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _skipped(name: str) -> bool:
    lowered = name.lower()
    return name.startswith((".", _LOCK_PREFIX)) or lowered.endswith(TEMPORARY_SUFFIXES) or lowered in _SYSTEM_NAMES
