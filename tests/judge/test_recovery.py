"""One server shared by many coroutines: who looks after its health, and how often."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from pollux_dagster.judge import recovery
from pollux_dagster.judge.recovery import SharedServer


class SlowlyChecked:
    """A handle whose health takes a while to tell."""

    endpoint: Any = None
    generation = 0

    def __init__(self, *, healthy: bool) -> None:
        self.healthy = healthy
        self.checks = self.restarts = 0

    def is_healthy(self) -> bool:
        self.checks += 1
        time.sleep(0.2)
        return self.healthy

    def restart(self, reason: str) -> Any:
        self.restarts += 1
        return None

    def log_tail(self, lines: int = 40) -> str:
        return ""

    def metrics(self) -> dict[str, float]:
        return {}


async def _fail_together(server: SlowlyChecked, count: int) -> list[bool]:
    async def close() -> None:
        pass

    client: Any = SimpleNamespace(aclose=close)
    shared = SharedServer(server, lambda _: client)
    failing = (shared.note_failure(0, "reset", count, is_last=True) for _ in range(count))
    return await asyncio.gather(*failing)


def test_one_health_check_answers_for_all_who_wait_for_it() -> None:
    server = SlowlyChecked(healthy=True)
    assert asyncio.run(_fail_together(server, 32)) == [False] * 32
    assert (server.checks, server.restarts) == (1, 0)


def test_one_restart_answers_for_all_who_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_HEALTH_PAUSE_S", 0.0)
    server = SlowlyChecked(healthy=False)
    assert asyncio.run(_fail_together(server, 32)) == [True] * 32
    assert (server.checks, server.restarts) == (4, 1)
