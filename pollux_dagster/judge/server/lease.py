"""Who still needs the server: one locked file per client, and the count of them.

A lease is a `flock` rather than a heartbeat: the kernel drops it at the instant its holder dies, whatever killed it,
while a heartbeat has to be waited out, can be late on a busy machine and breaks when the clock jumps. Locks need a
local file system, which the state root is.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_held: set[int] = set()


def _forget_in_child() -> None:
    """Close the lock in a forked child, which would share its parent's open lock: only the parent's life counts."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)


@contextmanager
def lease(folder: Path) -> Iterator[None]:
    """Hold a lease while the block lasts. The file is locked before it appears in `folder`, so it is never seen
    unlocked.
    """
    owner = os.getpid()
    path = folder / f"{owner}-{uuid.uuid4().hex[:8]}"
    draft = folder.parent / f".{path.name}.lease"
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    _held.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(path)
        yield
    finally:
        if os.getpid() == owner:
            path.unlink(missing_ok=True)
            draft.unlink(missing_ok=True)
            _held.discard(descriptor)
            os.close(descriptor)


def count_leases(folder: Path, *, sweep: bool = False) -> int:
    """The number of leases held now. With `sweep`, for the supervisor, files left by dead clients are removed."""
    if not folder.is_dir():
        return 0
    held = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                held += 1
            else:
                if sweep:
                    path.unlink()
    return held
