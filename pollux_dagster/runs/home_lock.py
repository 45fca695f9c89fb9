"""One run of a home at a time, whether started by the daemon, the web UI or the command line.

An evaluation reads the raw tables in one step and builds on them in the next. If a second run changed them in between,
the results would mix two states. The lock is a kernel lock on a file, so a killed run leaves nothing that must be
released.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

PART_TAG = "pollux/part"
"""On a run that was asked for a part of the work only: it stands for no run of all of it."""
BEGUN_TAG = "pollux/begun"
"""Tags a run that has the home to itself and has started work: it may have read the landing folder."""
FORCED_TAG = "pollux/forced"
"""Tags a run that also asks for what has failed in the same way again and again."""
RUN_RETRIES_TAG = "dagster/max_retries"  # Dagster's own: how often a daemon starts a failed run again
TELL_EVERY_S = 60.0


class HomeBusyError(RuntimeError):
    """Another run of this home is in progress."""


@contextmanager
def only_run(home: Path, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold `home` for one run. While another run holds it, wait, and report that to `waiting` about once a minute.

    Raises:
        HomeBusyError: another run holds it and there is no `waiting`.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = filelock.FileLock(home / "run.lock", mode=0o600)
    said = float("-inf")
    while True:
        try:
            lock.acquire(timeout=1.0 if waiting else 0.0, poll_interval=0.2)
            break
        except filelock.Timeout:
            if waiting is None:
                raise HomeBusyError(
                    f"expected no other run in {home}, but one is under way: let it finish, then try again"
                ) from None
            if time.monotonic() - said >= TELL_EVERY_S:
                said = time.monotonic()
                waiting(f"waiting: another run is using {home}; this one goes on when it is done")
    try:
        yield
    finally:
        lock.release()
