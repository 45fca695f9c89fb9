"""One server shared by hundreds of coroutines: who may call it sick, and who alone restarts it.

How a server restarts is its handle's business. The one idea: a single failure says nothing; failures in a
row with no success beside them ask for a health check, and only one coroutine acts while the others wait.
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

    `generation` counts the clients handed out: a failure of an earlier one is no news about this one.
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
        """Whether a restart is under way; nothing can make progress meanwhile."""
        return not self._ready.is_set()

    def note_success(self) -> None:
        """A reply came through, whatever it said."""
        self._failures_in_row = 0
        self._succeeded_at = time.monotonic()

    async def note_failure(self, generation: int, error: str, in_flight: int, *, is_last: bool) -> bool:
        """Take a suspicious failure into account; True when the server was replaced since it was asked.

        `is_last`: the request would be given up now, which a dead server is no reason for, so its health is
        looked at in any case. Raises the handle's ServerError when a restart is needed and cannot be had.
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
                    return False  # whoever held the lock before us has just looked
                if await self._is_healthy():
                    self._found_healthy_at = time.monotonic()
                    self.note_success()
                    return False
                await self._restart(f"unhealthy, and {self._failures_in_row} requests in a row failed: {error}")
        return True

    async def restart_if_stuck(self, reason: str) -> None:
        """Restart a server that answers `/health` and makes no progress. Raises ServerError."""
        generation = self.generation
        async with self._acting:
            if generation == self.generation:
                await self._restart(reason)

    async def metrics(self) -> dict[str, float]:
        """The engine's figures, empty where it has none."""
        return await asyncio.to_thread(self._server.metrics)

    async def aclose(self) -> None:
        """Close the connections; the server itself stays as it is."""
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
        await before.aclose()  # what still hangs on the old process fails now and is asked again
