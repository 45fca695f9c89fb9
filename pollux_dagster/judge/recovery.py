"""One server shared by hundreds of coroutines: when it is declared unhealthy, who restarts it, and when it is lost.

A single failure means nothing. Failures in a row without a success in between lead to a health check, and only one
coroutine acts while the others wait. The handle knows how a server is restarted. A server that cannot be is lost: its
requests end with `LostServerError`, and may be sent to another server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pollux_dagster.judge.client import JudgeClient
from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.judge.server.errors import ServerError
from pollux_dagster.judge.server.handle import ServerHandle

_FAILURES_IN_ROW = 8
_SILENT_S = 3.0
_HEALTH_TRIES = 4
_HEALTH_PAUSE_S = 1.0


class LostServerError(Exception):
    """The server takes no more requests; the reason is `SharedServer.lost`."""


class SharedServer:
    """The client to use now, replaced when the server is restarted.

    `generation` counts the clients handed out: a failure of an earlier one says nothing about this one. `lost` is why
    the server is no longer used, None while it is.
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
        self._died = False
        self.generation = 0
        self.restarts = 0
        self.lost: Exception | None = None

    @property
    def endpoint(self) -> Endpoint:
        """The server's address and limits, also after it was lost."""
        return self._client.endpoint

    async def current(self) -> tuple[JudgeClient, int]:
        """The client and its generation; waits while the server is being restarted. Raises LostServerError."""
        await self._ready.wait()
        if self.lost is not None:
            raise LostServerError
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
        """Record a suspicious failure; True when the server was replaced, or died for good, since the request was sent.

        `is_last`: the request would now be given up, which a dead server must not cause, so its health is checked in
        any case. Raises LostServerError when the server was given up for another reason than that it died.
        """
        if generation != self.generation:
            if self.lost is not None and not self._died:
                raise LostServerError
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
        """Restart a server that answers `/health` but makes no progress."""
        generation = self.generation
        async with self._acting:
            if generation == self.generation:
                await self._restart(reason)

    async def metrics(self) -> dict[str, float]:
        """The engine's metrics, empty where it has none."""
        return await asyncio.to_thread(self._server.metrics)

    async def leave(self, error: Exception) -> None:
        """Give the server up because of `error`: what is in flight fails now, and nothing more is sent to it."""
        if self.lost is None:
            self.lost = error
            self.generation += 1
            self._ready.set()
            await self._client.aclose()

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
        try:
            endpoint = await asyncio.to_thread(self._server.restart, reason)
        except ServerError as error:
            self._died = True
            await self.leave(error)
            return
        self._client = self._connect(endpoint)
        self.generation += 1
        self.restarts += 1
        self.note_success()
        self._ready.set()
        await before.aclose()  # requests still waiting on the old process fail now and are sent again
