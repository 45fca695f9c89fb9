"""What the home says while workers judge for it: how far they are, how fast, and who is at what."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import orjson

from pollux_dagster.core.text import counted, shortened
from pollux_dagster.judge.progress import PROGRESS_BEGINS, clock_text
from pollux_dagster.orders.claims import Board, Pace, Watch
from pollux_dagster.orders.location import Location, LocationError
from pollux_dagster.orders.order import Order

_WINDOW_S = 600.0
_NAMED_WORKERS = 8


class WorkersProgress:
    """The state of an order in one line, from the segments that have arrived and the claims of its shares.

    The rate is that of the last ten minutes in which a worker was at it. Verdicts arrive in lumps, sealed by
    `pace.seal_s` and sent at the next beat, so the time left is not told before two of them can have come.
    """

    def __init__(
        self, location: Location, order: Order, pace: Pace, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._location, self._order, self._pace, self._clock = location, order, pace, clock
        self._samples: deque[tuple[float, int]] = deque()
        self._workers: dict[tuple[str, int], str] = {}

    def line(self, board: Board, watch: Watch, held: Sequence[str], arrived: int) -> str:
        """held: the shares that `watch` says are; arrived: verdicts that the home has by now."""
        order, total = self._order, sum(self._order.shares)
        done = sum(board.is_done(share) for share in order.share_names)
        arrived = min(arrived, total)  # of a share that was taken over, both workers may have judged the same
        share = arrived / total if total else 1.0
        parts = [f"{PROGRESS_BEGINS}{arrived:,}/{total:,} ({share:.1%}) elsewhere"]
        parts += self._rate(arrived, total) if held else []
        parts.append(f"{done:,} of {counted(len(order.shares), 'share')} done")
        if held:
            parts.append(f"at work: {self._named(board, watch, held)}")
        else:
            parts.append(f"no worker is at it: `pollux worker --work-url {self._location.url}` starts one")
        return " · ".join(parts)

    def _rate(self, arrived: int, total: int) -> list[str]:
        now = self._clock()
        self._samples.append((now, arrived))
        while now - self._samples[0][0] > _WINDOW_S:
            self._samples.popleft()
        since, before = self._samples[0]
        if arrived == before:
            return []
        rate = (arrived - before) / (now - since)
        known = now - since >= 2 * (self._pace.seal_s + self._pace.beat_s)
        return [f"{rate:.1f}/s", *([f"{clock_text((total - arrived) / rate)} left"] if known else [])]

    def _named(self, board: Board, watch: Watch, held: Sequence[str]) -> str:
        """Who holds the shares: those first that have been silent for long, because something is waited for."""
        silent = {share: watch.silent_s(self._order.order_id, share) for share in held}
        first = sorted(held, key=lambda share: -silent[share])[:_NAMED_WORKERS]
        said = [
            f"{self._worker(board, share)} (share {int(share) + 1}, {self._life(silent[share])})" for share in first
        ]
        more = f" and {counted(len(held) - len(first), 'other')}" if len(held) > len(first) else ""
        return ", ".join(said) + more

    def _life(self, silent_s: float) -> str:
        if silent_s <= 2 * self._pace.beat_s + self._pace.poll_s:
            return f"sign of life {silent_s:.0f} s ago"
        return f"no sign of life for {silent_s:.0f} s: {free_at(self._pace.expiry_s - silent_s)}"

    def _worker(self, board: Board, share: str) -> str:
        number = board.last_claim(share)
        if (share, number) not in self._workers:
            try:
                written = self._location.read(f"{self._order.prefix}/claims/{share}/{number:06d}")
                name = orjson.loads(written or b"{}").get("worker")
            except LocationError:
                return "a worker"
            except (ValueError, AttributeError):
                name = None
            self._workers[(share, number)] = shortened(name, 60) if isinstance(name, str) else "a worker without a name"
        return self._workers[(share, number)]


def free_at(seconds: float) -> str:
    """That a share falls to others in so many seconds, with the time by this machine's clock."""
    at = datetime.now().astimezone() + timedelta(seconds=max(seconds, 0.0))
    return f"its share is free to others at {at:%H:%M:%S}"
