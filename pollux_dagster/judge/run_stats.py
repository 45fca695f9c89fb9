"""Statistics of a running evaluation: verdicts, tokens, cache hits, and the time of a server's last progress.

Where replies do not report cached tokens, or whether a server still works, its own counters are used. Formatting is in
`progress`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from pollux_dagster.core.verdicts import VerdictStatus
from pollux_dagster.judge.progress import Progress, RateWindow
from pollux_dagster.judge.requester import Outcome


class ServerCounters:
    """What one server's own counters say, and when it last made progress."""

    def __init__(self) -> None:
        self._moved_at = time.monotonic()
        self._first: Mapping[str, float] = {}
        self._last: Mapping[str, float] = {}

    def note(self, metrics: Mapping[str, float]) -> None:
        """Update from the server's metrics; generated tokens count as progress."""
        if not metrics:
            return
        if metrics.get("generation_tokens_total", 0.0) != self._last.get("generation_tokens_total", 0.0):
            self.note_progress()
        queries = "prefix_cache_queries_total"
        if not self._first or metrics.get(queries, 0.0) < self._first.get(queries, 0.0):  # the server was restarted
            self._first = metrics
        self._last = metrics

    def note_progress(self) -> None:
        """Restart the clock of `seconds_without_progress`: for a verdict, or a server that has just begun to work."""
        self._moved_at = time.monotonic()

    @property
    def sees_tokens(self) -> bool:
        """Whether the server counts the tokens it writes, so that progress is visible between two verdicts."""
        return "generation_tokens_total" in self._last

    def seconds_without_progress(self) -> float:
        """Seconds since the last verdict or generated token."""
        return time.monotonic() - self._moved_at

    def grown(self, name: str) -> float:
        """By how much a counter has grown."""
        return self._last.get(name, 0.0) - self._first.get(name, 0.0)


class RunStats:
    """Mutable; used from one event loop."""

    def __init__(self, *, total: int, cached: int) -> None:
        self._total, self._cached = total, cached
        self._started = time.monotonic()
        self._rate = RateWindow(self._started)
        self._cached_tokens_known = False
        self.made = 0
        self.by_status: Counter[VerdictStatus] = Counter()
        self.by_server: Counter[str] = Counter()
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cached_tokens = 0

    def add(self, outcome: Outcome) -> None:
        """Count one finished request."""
        self.made += 1
        self.by_status[outcome.reply.status] += 1
        self.by_server[outcome.endpoint.server] += 1
        self.prompt_tokens += outcome.prompt_tokens
        self.completion_tokens += outcome.completion_tokens
        self.cached_tokens += outcome.cached_tokens
        self._cached_tokens_known = self._cached_tokens_known or outcome.cached_tokens_known

    def prefix_cache_hits(self, servers: Sequence[ServerCounters]) -> float | None:
        """Share of prompt tokens found cached, from the replies or else from the servers' counters."""
        if self._cached_tokens_known and self.prompt_tokens:
            return self.cached_tokens / self.prompt_tokens
        queries = sum(server.grown("prefix_cache_queries_total") for server in servers)
        hits = sum(server.grown("prefix_cache_hits_total") for server in servers)
        return hits / queries if 0 <= hits <= queries and queries > 0 else None

    def elapsed_s(self) -> float:
        """Wall time since the start."""
        return time.monotonic() - self._started

    def progress(
        self, servers: Sequence[ServerCounters], *, in_flight: int, retries: int, restarts: int, left_out: Sequence[str]
    ) -> Progress:
        """The current state. `left_out` names the servers that are not used now, `servers` are the others."""
        rate = self._rate.add(self.made)
        left = self._total - self._cached - self.made
        return Progress(
            done=self._cached + self.made,
            total=self._total,
            from_ledger=self._cached / self._total if self._total else 0.0,
            rate_per_s=rate,
            eta_s=self._rate.seconds_for(left, rate),
            prefix_cache_hits=self.prefix_cache_hits(servers),
            failures={
                status.value: count for status, count in self.by_status.items() if status is not VerdictStatus.OK
            },
            in_flight=in_flight,
            elapsed_s=self.elapsed_s(),
            retries=retries,
            restarts=restarts,
            servers=len(servers) + len(left_out),
            left_out=tuple(left_out),
        )
