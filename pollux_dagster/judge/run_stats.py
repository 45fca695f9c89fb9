"""Statistics of a running evaluation: verdicts, tokens, cache hits, and the time of the last progress.

Where replies do not report cached tokens, or whether the server still works, its own counters are used. Formatting is
in `progress`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from pollux_dagster.core.verdicts import VerdictStatus
from pollux_dagster.judge.progress import Progress, RateWindow
from pollux_dagster.judge.requester import Outcome


class RunStats:
    """Mutable; used from one event loop."""

    def __init__(self, *, total: int, cached: int) -> None:
        self._total, self._cached = total, cached
        self._started = self._moved_at = time.monotonic()
        self._rate = RateWindow(self._started)
        self._first_metrics: Mapping[str, float] = {}
        self._last_metrics: Mapping[str, float] = {}
        self._cached_tokens_known = False
        self.made = 0
        self.by_status: Counter[VerdictStatus] = Counter()
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cached_tokens = 0

    def add(self, outcome: Outcome) -> None:
        """Count one finished request."""
        self.made += 1
        self.by_status[outcome.reply.status] += 1
        self.prompt_tokens += outcome.prompt_tokens
        self.completion_tokens += outcome.completion_tokens
        self.cached_tokens += outcome.cached_tokens
        self._cached_tokens_known = self._cached_tokens_known or outcome.cached_tokens_known
        self._moved_at = time.monotonic()

    def note_metrics(self, metrics: Mapping[str, float]) -> None:
        """Update from the server's counters; generated tokens count as progress too."""
        if not metrics:
            return
        tokens = metrics.get("generation_tokens_total", 0.0)
        if tokens != self._last_metrics.get("generation_tokens_total", 0.0):
            self._moved_at = time.monotonic()
        restarted = metrics.get("prefix_cache_queries_total", 0.0) < self._first_metrics.get(
            "prefix_cache_queries_total", 0.0
        )
        if not self._first_metrics or restarted:
            self._first_metrics = metrics
        self._last_metrics = metrics

    @property
    def sees_tokens(self) -> bool:
        """Whether the server counts the tokens it writes, so that progress is visible between two verdicts."""
        return "generation_tokens_total" in self._last_metrics

    def seconds_without_progress(self) -> float:
        """Seconds since the last verdict or generated token."""
        return time.monotonic() - self._moved_at

    def forget_progress(self) -> None:
        """Restart the clock of `seconds_without_progress`, for a server that was just restarted."""
        self._moved_at = time.monotonic()

    def prefix_cache_hits(self) -> float | None:
        """Share of prompt tokens found cached, from the replies or else from the server's counters."""
        if self._cached_tokens_known and self.prompt_tokens:
            return self.cached_tokens / self.prompt_tokens
        queries = self._grown("prefix_cache_queries_total")
        hits = self._grown("prefix_cache_hits_total")
        return hits / queries if 0 <= hits <= queries and queries > 0 else None

    def elapsed_s(self) -> float:
        """Wall time since the start."""
        return time.monotonic() - self._started

    def progress(self, in_flight: int, retries: int, restarts: int) -> Progress:
        """The current state."""
        rate = self._rate.add(self.made)
        left = self._total - self._cached - self.made
        return Progress(
            done=self._cached + self.made,
            total=self._total,
            from_ledger=self._cached / self._total if self._total else 0.0,
            rate_per_s=rate,
            eta_s=left / rate if rate > 0 else None,
            prefix_cache_hits=self.prefix_cache_hits(),
            failures={
                status.value: count for status, count in self.by_status.items() if status is not VerdictStatus.OK
            },
            in_flight=in_flight,
            elapsed_s=self.elapsed_s(),
            retries=retries,
            restarts=restarts,
        )

    def _grown(self, name: str) -> float:
        return self._last_metrics.get(name, 0.0) - self._first_metrics.get(name, 0.0)
