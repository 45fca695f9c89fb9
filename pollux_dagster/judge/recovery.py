"""One server shared by hundreds of coroutines: when it is declared unhealthy, and who restarts it.

A single failure means nothing. Failures in a row without a success in between lead to a health check, and only one
coroutine acts while the others wait. The handle knows how a server is restarted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pollux_dagster.judge.client import JudgeClient
from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.judge.server.handle import ServerHandle

_FAILURES_IN_ROW = 8
_SILENT_S = 3.0
_HEALTH_TRIES = 4
_HEALTH_PAUSE_S = 1.0


class SharedServer:
    """The client to use now, replaced when the server is restarted.

    `generation` counts the clients handed out: a failure of an earlier one says nothing about this one.
    """

    def __init__(self, server: ServerHandle, connect: Callable[[Endpoint], JudgeClient]) -> None:
        self._server = server
        self._connect = connect
        self._client = connect(server.endpoint)
        self._ready = asyncio.Event()
        self._ready.set()
        self._acting = asyncio.Lock()
        self._failures_in_row = 0
        self._succeeded_at = time.monotonic()
        self._found_healthy_at = float("-inf")
        self.generation = 0
        self.restarts = 0

    async def current(self) -> tuple[JudgeClient, int]:
        """The client and its generation; waits while the server is being restarted."""
        await self._ready.wait()
        return self._client, self.generation

    @property
    def is_restarting(self) -> bool:
        """Whether a restart is in progress, during which nothing can make progress."""
        return not self._ready.is_set()

    def note_success(self) -> None:
        """Record that a reply was received, whatever its content."""
        self._failures_in_row = 0
        self._succeeded_at = time.monotonic()

    async def note_failure(self, generation: int, error: str, in_flight: int, *, is_last: bool) -> bool:
        """Record a suspicious failure; True when the server was replaced since the request was sent.

        `is_last`: the request would now be given up, which a dead server must not cause, so its health is checked in
        any case. Raises the handle's ServerError when a restart is needed but not possible.
        """
        if generation != self.generation:
            return True
        self._failures_in_row += 1
        silent_s = time.monotonic() - self._succeeded_at
        few = self._failures_in_row < min(_FAILURES_IN_ROW, max(2, in_flight))
        if not is_last and (few or silent_s < _SILENT_S):
            return False
        entered_at = time.monotonic()
        async with self._acting:
            if generation == self.generation:
                if self._found_healthy_at >= entered_at:
                    return False  # the previous holder of the lock has just checked
                if await self._is_healthy():
                    self._found_healthy_at = time.monotonic()
                    self.note_success()
                    return False
                await self._restart(f"unhealthy, and {self._failures_in_row} requests in a row failed: {error}")
        return True

    async def restart_if_stuck(self, reason: str) -> None:
        """Restart a server that answers `/health` but makes no progress. Raises ServerError."""
        generation = self.generation
        async with self._acting:
            if generation == self.generation:
                await self._restart(reason)

    async def metrics(self) -> dict[str, float]:
        """The engine's metrics, empty where it has none."""
        return await asyncio.to_thread(self._server.metrics)

    async def aclose(self) -> None:
        """Close the connections; the server itself is left alone."""
        await self._client.aclose()

    async def _is_healthy(self) -> bool:
        for left in reversed(range(_HEALTH_TRIES)):
            if await asyncio.to_thread(self._server.is_healthy):
                return True
            if left:
                await asyncio.sleep(_HEALTH_PAUSE_S)
        return False

    async def _restart(self, reason: str) -> None:
        self._ready.clear()
        before = self._client
        endpoint = await asyncio.to_thread(self._server.restart, reason)
        self._client = self._connect(endpoint)
        self.generation += 1
        self.restarts += 1
        self.note_success()
        self._ready.set()
        await before.aclose()  # requests still waiting on the old process fail now and are sent again
