"""A proxy that speaks real HTTP in front of a judge and spoils replies on the way, by a plan made from a seed.

What must survive it is in `faults`. The one idea: the fate of a request is a hash of the seed, its prompt and
the number of the attempt, so that a replay meets the same faults whatever the order of arrival.
"""

from __future__ import annotations

import asyncio
import json
import threading
import zlib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

HTML = b"<html><head><title>Bad gateway</title></head><body><h1>nginx</h1></body></html>"


@dataclass(slots=True)
class Asked:
    """One prompt as the proxy saw it: what happened to each attempt, "" for one that was passed on untouched."""

    fates: list[str] = field(default_factory=list)


class FaultProxy:
    """Listens on a loopback port in a thread of its own; use it as a context manager.

    `fault` names one of `FAULTS`, `rate` is the share of attempts that meet it; the first attempts of the prompts in
    `certain` meet it in any case, so that a low rate over a small world is not none. `slow_s` must be longer than the
    client waits for a first byte, `stall_s` than it waits inside a reply.
    """

    def __init__(
        self,
        upstream: str,
        *,
        fault: str,
        rate: float,
        seed: int,
        certain: frozenset[str],
        slow_s: float,
        stall_s: float,
    ) -> None:
        self._upstream = upstream.removesuffix("/v1")
        self._fault, self._rate, self._seed, self._certain = fault, rate, seed, certain
        self.slow_s, self.stall_s = slow_s, stall_s
        self.asked: dict[str, Asked] = defaultdict(Asked)
        self.earlier_reply: bytes | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = threading.Event()
        self._listener: asyncio.Server | None = None
        self._site: Any = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def hits(self) -> int:
        """How many attempts met the fault."""
        return sum(1 for asked in self.asked.values() for fate in asked.fates if fate)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def hide(self, seconds: float) -> None:
        """Stop listening for a moment: who connects now is refused."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        self._loop.call_later(seconds, lambda: self._loop.create_task(self._listen()))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._close())
        self._loop.close()

    async def _start(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600))
        self._site = web.Server(self._serve)
        await self._listen()

    async def _listen(self) -> None:
        self._listener = await self._loop.create_server(self._site, "127.0.0.1", self.port, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self._site.shutdown(0)
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        await self._session.close()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if request.path != "/v1/chat/completions":
            return await self._forward(request, body)
        prompt = json.loads(body)["messages"][-1]["content"]
        fates = self.asked[prompt].fates
        draw = zlib.crc32(f"{self._seed}|{self._fault}|{len(fates)}|{prompt}".encode()) / 2**32
        is_hit = draw < self._rate or (not fates and prompt in self._certain)
        fate = self._fault if is_hit else ""
        fates.append(fate)
        if fate:
            return await FAULTS[fate](self, request, body)
        reply = await self._forward(request, body)
        if isinstance(reply, web.Response) and reply.status == 200 and isinstance(reply.body, bytes):
            self.earlier_reply = reply.body
        return reply

    async def true_reply(self, request: web.BaseRequest, body: bytes) -> bytes:
        """What the judge really says."""
        reply = await self._forward(request, body)
        if reply.status != 200 or not isinstance(reply.body, bytes):
            raise web.HTTPBadGateway(text=f"the judge itself answered {reply.status}")
        return reply.body

    async def _forward(self, request: web.BaseRequest, body: bytes) -> web.Response:
        kept = ("authorization", "content-type", "x-request-id")
        headers = {name: value for name, value in request.headers.items() if name.lower() in kept}
        url = f"{self._upstream}{request.path}"
        try:
            async with self._session.request(request.method, url, data=body or None, headers=headers) as reply:
                kind = reply.headers.get("content-type", "application/json")
                return web.Response(status=reply.status, body=await reply.read(), headers={"content-type": kind})
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=str(error))


Fault = Callable[[FaultProxy, web.BaseRequest, bytes], Awaitable[web.StreamResponse]]


def _status(status: int, body: bytes = HTML, **headers: str) -> Fault:
    async def answer(proxy: FaultProxy, request: web.BaseRequest, sent: bytes) -> web.StreamResponse:
        return web.Response(
            status=status, body=body, headers={name.replace("_", "-"): v for name, v in headers.items()}
        )

    return answer


def _message(**changes: Any) -> Fault:
    """The judge's own reply, with other fields in its message (or another finish reason)."""

    async def answer(proxy: FaultProxy, request: web.BaseRequest, sent: bytes) -> web.StreamResponse:
        document = json.loads(await proxy.true_reply(request, sent))
        choice = document["choices"][0]
        choice["finish_reason"] = changes.get("finish_reason", choice["finish_reason"])
        choice["message"] |= {name: value for name, value in changes.items() if name != "finish_reason"}
        return web.json_response(document)

    return answer


async def _refused(proxy: FaultProxy, request: web.BaseRequest, sent: bytes) -> web.StreamResponse:
    proxy.hide(0.01)
    return _drop(request)


async def _reset_mid_body(proxy: FaultProxy, request: web.BaseRequest, sent: bytes) -> web.StreamResponse:
    await _send_half(request, await proxy.true_reply(request, sent))
    return _drop(request)


async def _stalled_stream(proxy: FaultProxy, request: web.BaseRequest, sent: bytes) -> web.StreamResponse:
    await _send_half(request, await proxy.true_reply(request, sent))
    await asyncio.sleep(proxy.stall_s)
    return _drop(request)


async def _slow_first_byte(proxy: FaultProxy, request: web.BaseRequest, sent: bytes) -> web.StreamResponse:
    await asyncio.sleep(proxy.slow_s)
    return _drop(request)


async def _ten_megabytes(proxy: FaultProxy, request: web.BaseRequest, sent: bytes) -> web.StreamResponse:
    document = json.loads(await proxy.true_reply(request, sent))
    document["choices"][0]["message"]["reasoning"] = "много слов " * 500_000
    return web.json_response(document)


async def _answer_of_another(proxy: FaultProxy, request: web.BaseRequest, sent: bytes) -> web.StreamResponse:
    own = await proxy.true_reply(request, sent)
    if proxy.earlier_reply is None:  # nobody else has been answered yet: the very first reply goes to the next one
        proxy.earlier_reply = own
        return _drop(request)
    return web.Response(body=proxy.earlier_reply, headers={"content-type": "application/json"})


async def _send_half(request: web.BaseRequest, body: bytes) -> None:
    response = web.StreamResponse(headers={"content-type": "application/json", "content-length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])


def _drop(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


# Faults of the way, or of the server: the client sees that no verdict came and asks again until one does.
ON_THE_WAY: dict[str, Fault] = {
    "connection_refused": _refused,
    "reset_mid_body": _reset_mid_body,
    "429": _status(429),
    "429_retry_after": _status(429, retry_after="1"),
    "500": _status(500, b'{"error": {"message": "internal"}}'),
    "502": _status(502),
    "503": _status(503),
    "504": _status(504),
    "slow_first_byte": _slow_first_byte,
    "stalled_stream": _stalled_stream,
    "empty_body": _status(200, b""),
    "html": _status(200, HTML, content_type="text/html"),
    "json_without_choices": _status(200, b'{"object": "chat.completion", "choices": []}'),
    "ten_megabytes": _ten_megabytes,
    "answer_of_another": _answer_of_another,
}
# Replies no client can tell from a judge's own failure, with the status they must get. All but `off_scale` are asked
# once more, with altered sampling.
AS_IF_THE_JUDGE: dict[str, tuple[Fault, str]] = {
    "content_null": (_message(content=None, reasoning=None), "unparseable"),
    "off_scale": (_message(content="\n\n97"), "off_scale"),
    "three_numbers": (_message(content="0 1 2"), "unparseable"),
    "number_in_words": (_message(content="два"), "unparseable"),
    "truncated_reasoning": (_message(content=None, reasoning="Ответ в це", finish_reason="length"), "truncated"),
    "endless_repetition": (_message(content=None, reasoning="и снова " * 300, finish_reason="length"), "repetition"),
}
FAULTS: dict[str, Fault] = {**ON_THE_WAY, **{name: fault for name, (fault, _) in AS_IF_THE_JUDGE.items()}}
