"""The progress of an evaluation, as a value and as one line.

The rate is that of the last half minute, because the first minute of a judge (cold caches) and its last say nothing
about the remaining time, which is not told before ten seconds of verdicts. This module does not print or log by itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

PROGRESS_SECONDS = 2.0
PROGRESS_BEGINS = "judged "
_WINDOW_S = 30.0
_TOLD_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of an evaluation. `done` and `total` count distinct requests, including those already judged.

    `rate_per_s` is verdicts per second, `eta_s` seconds to the end (None while unknown). Shares are of 1: `from_ledger`
    is the share of requests already judged, `prefix_cache_hits` that of prompt tokens the server had cached (None where
    it does not report them). `failures` counts verdicts by status, without ok. `left_out` names those of the judge's
    `servers` that are not used now.
    """

    done: int
    total: int
    from_ledger: float
    rate_per_s: float
    eta_s: float | None
    prefix_cache_hits: float | None
    failures: Mapping[str, int]
    in_flight: int
    elapsed_s: float
    retries: int
    restarts: int
    servers: int = 1
    left_out: tuple[str, ...] = ()


class RateWindow:
    """Verdicts per second over the last half minute, from the first verdict on."""

    def __init__(self, started: float | None = None) -> None:
        self._samples = deque([(started if started is not None else time.monotonic(), 0)])

    def add(self, made: int, now: float | None = None) -> float:
        """Record that `made` verdicts exist by now, and return the rate per second."""
        at = now if now is not None else time.monotonic()
        if not self._samples[-1][1]:
            self._samples = deque([self._samples[-1]])
        self._samples.append((at, made))
        while len(self._samples) > 2 and at - self._samples[1][0] >= _WINDOW_S:
            self._samples.popleft()
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0

    def seconds_for(self, left: int, rate: float) -> float | None:
        """Seconds that `left` verdicts take at this rate; None while that is not known."""
        if not left:
            return 0.0
        (first_at, _), (last_at, _) = self._samples[0], self._samples[-1]
        return left / rate if rate > 0 and last_at - first_at >= _TOLD_AFTER_S else None


def format_progress(progress: Progress) -> str:
    """One line, for a log or a terminal."""
    share = progress.done / progress.total if progress.total else 1.0
    parts = [f"{PROGRESS_BEGINS}{progress.done:,}/{progress.total:,} ({share:.1%})", f"{progress.rate_per_s:.1f}/s"]
    if progress.eta_s is not None:
        parts.append(f"{clock_text(progress.eta_s)} left")
    parts.append(f"{progress.from_ledger:.1%} from the ledger")
    if progress.prefix_cache_hits is not None:
        parts.append(f"prefix cache {progress.prefix_cache_hits:.0%}")
    parts.append(f"{progress.in_flight} in flight")
    if progress.servers > 1:
        used = f"{progress.servers - len(progress.left_out)} of " if progress.left_out else ""
        out = f", left out: {', '.join(progress.left_out)}" if progress.left_out else ""
        parts.append(f"{used}{progress.servers} servers{out}")
    if progress.retries or progress.restarts:
        parts.append(f"{progress.retries} retries, {progress.restarts} restarts")
    failed = ", ".join(f"{status} {count:,}" for status, count in sorted(progress.failures.items()) if count)
    parts.append(f"failures: {failed or 'none'}")
    return " · ".join(parts)


def format_briefly(progress: Progress) -> str:
    """What fits beside a bar: done of total, rate, time left, failures."""
    parts = [f"{progress.done:,}/{progress.total:,}", f"{progress.rate_per_s:.1f}/s"]
    if progress.eta_s is not None:
        parts.append(f"{clock_text(progress.eta_s)} left")
    if failed := sum(progress.failures.values()):
        parts.append(f"{failed:,} failed")
    if progress.left_out:
        parts.append(f"{progress.servers - len(progress.left_out)} of {progress.servers} servers")
    return " · ".join(parts)


def every(seconds: float, say: Callable[[str], None]) -> Callable[[Progress], None]:
    """A listener that passes on a progress line at most every `seconds` seconds, and always the last one."""
    said = time.monotonic()

    def listen(progress: Progress) -> None:
        nonlocal said
        if progress.done == progress.total or time.monotonic() - said >= seconds:
            said = time.monotonic()
            say(format_progress(progress))

    return listen


def clock_text(seconds: float) -> str:
    """A duration as minutes and seconds, or hours, minutes and seconds: "1:48", "2:00:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
