"""Adaptive concurrency: a limit on in-flight requests that follows the server instead of a constant.

Additive increase while the server keeps up, multiplicative decrease when it throttles, preempts or lets requests queue
(AIMD: Chiu and Jain 1989), so that the batch is full and the queue is short.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

START, FLOOR, CEILING = 256, 4, 512  # 256: the widest batch vLLM runs by default
CAUTIOUS_START = 8  # where the server reports nothing: it may have four slots, or a limit on requests
_DECREASE_EVERY_S = 1.0
_REPORTED_GROWTH = 8.0  # slots per round trip, where it reports its queue
_GROWTH = 2.0  # per step, where the server reports nothing
_GAIN = 1.15  # of the rate, without which a step up is not followed by another
_HOLD_S = 30.0
_BOLD_GROWTH = 1.25  # where it reports that all requests run and none waits


class AdaptiveConcurrency:
    """Slots for in-flight requests, acquired and released by any number of tasks on one event loop."""

    def __init__(self, *, start: int = START, floor: int = FLOOR, ceiling: int = CEILING) -> None:
        self.limit = float(start)
        self.in_flight = 0
        self._floor, self._ceiling = float(floor), float(ceiling)
        self._freed = asyncio.Event()
        self._decreased_at = float("-inf")
        self._may_grow = True
        self._preemptions: float | None = None
        self._reports = False
        self._step = _Step()

    async def acquire(self) -> None:
        """Wait for a slot and take it."""
        while self.in_flight >= int(self.limit):
            self._freed.clear()
            await self._freed.wait()
        self.in_flight += 1

    def release(self) -> None:
        """Release a slot."""
        self.in_flight -= 1
        self._freed.set()

    def on_completion(self) -> None:
        """A reply came: raise the limit, if the limit is what holds us back.

        Where the server reports nothing, the limit is doubled as long as that brings replies faster.
        """
        if not self._may_grow or self.in_flight < int(self.limit) - 1:
            return
        if self._reports:
            self.limit = min(self._ceiling, self.limit + _REPORTED_GROWTH / self.limit)
        elif self._step.pays(int(self.limit)):
            self.limit = min(self._ceiling, self.limit * _GROWTH)
            self._freed.set()

    def on_throttle(self) -> None:
        """The server throttled: halve the limit, at most once a second, because it throttles many requests at once."""
        self._decrease(0.5)

    def on_metrics(self, metrics: Mapping[str, float]) -> None:
        """Adapt to the engine's own metrics (vLLM's names without prefix); an empty mapping has no effect.

        Preempted requests are computed twice, so preemption means that the KV cache is full. A queue longer than half
        the running batch only delays replies; a short one keeps the batch full.
        """
        preemptions = metrics.get("num_preemptions_total")
        if preemptions is not None:
            if self._preemptions is not None and preemptions > self._preemptions:
                self._decrease(0.7)
            self._preemptions = preemptions
        running, waiting = metrics.get("num_requests_running"), metrics.get("num_requests_waiting")
        if running is None or waiting is None:
            return
        self._reports = True
        self._may_grow = waiting <= running / 4
        if running > 0 and waiting > max(16.0, running / 2):
            self._decrease(0.9)
        elif waiting == 0 and running >= 0.9 * self.limit:
            self.limit = min(self._ceiling, self.limit * _BOLD_GROWTH)
            self._freed.set()

    def _decrease(self, factor: float) -> None:
        now = time.monotonic()
        if now - self._decreased_at >= _DECREASE_EVERY_S:
            self._decreased_at = now
            self.limit = max(self._floor, self.limit * factor)
            self._step = _Step(self._step.best_rate)


class _Step:
    """Whether the last step up of the limit brought replies faster; measured over two round trips at least."""

    def __init__(self, best_rate: float = 0.0) -> None:
        self.best_rate = best_rate
        self._replies = 0
        self._since = time.monotonic()

    def pays(self, limit: int) -> bool:
        """Count a reply; true when the limit should be raised now."""
        self._replies += 1
        now = time.monotonic()
        if self._replies < 2 * limit:
            return False
        rate = self._replies / max(now - self._since, 1e-6)
        if rate > _GAIN * self.best_rate:
            self.best_rate, self._replies, self._since = rate, 0, now
            return True
        if now - self._since > _HOLD_S:  # the server may have more room by now
            self.best_rate, self._replies, self._since = 0.0, 0, now
        return False
