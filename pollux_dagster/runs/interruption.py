"""Ctrl-C and SIGTERM that no place can swallow.

Python runs a signal's handler between any two of its instructions, and the handler's error ends what is being done.
In a finalizer or in the callback of a weak reference, of which an import runs many, there is nothing to end: Python
prints the error as ignored and goes on as if nobody had asked it to stop. Such an interruption is delivered again.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTIONS = frozenset({"KeyboardInterrupt", "DagsterExecutionInterruptedError"})
"""Classes of the errors with which a signal ends a run: Python's, and the one that Dagster raises in a step."""
_AGAIN_S = 0.02  # after the callback that swallowed it has returned


def is_stopped_query(error: BaseException) -> bool:
    """Whether the error is what DuckDB raises in place of KeyboardInterrupt where a signal ends a query."""
    return isinstance(error, RuntimeError) and str(error).strip().endswith("Query interrupted")


@contextmanager
def no_interruption_lost() -> Iterator[None]:
    """In here an interruption that was raised where Python ignores errors is raised again where it does not.

    Used in the main thread, to which Python delivers signals.

    Raises:
        KeyboardInterrupt: at the end, where the last interruption could not be delivered before; and in place of the
            error that DuckDB makes of one that ends a query.
    """
    before, again = sys.unraisablehook, _Again()

    def hook(ignored: sys.UnraisableHookArgs) -> None:
        if ignored.exc_type.__name__ in INTERRUPTIONS:
            again.deliver()
        else:
            before(ignored)

    sys.unraisablehook = hook
    try:
        yield
    except BaseException as error:
        again.forget()  # it ends already
        if is_stopped_query(error):
            raise KeyboardInterrupt from error
        raise
    finally:
        sys.unraisablehook = before
    if again.forget():
        raise KeyboardInterrupt


class _Again:
    """An interruption that is yet to be delivered, if any."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def deliver(self) -> None:
        self.forget()
        # From another thread: here the handler would run, and be ignored, before this function has returned.
        self._timer = threading.Timer(_AGAIN_S, self._send)
        self._timer.daemon = True
        self._timer.start()

    def forget(self) -> bool:
        """Deliver it no more; whether there was one."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _send(self) -> None:
        self._timer = None
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
