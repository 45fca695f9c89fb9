"""A network peer that speaks HTTP/1.1 and misbehaves on demand: the one fake in the judge's tests.

It serves what a client needs of an OpenAI-compatible server and answers every prompt with a number that
depends only on the prompt, so that tests can tell a right verdict from a mixed-up one.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

LEVELS = (0.0, 1.0, 2.0)
KEY = "sk-secret-of-the-tests"


def score_of(prompt: str) -> float:
    """The score this judge gives to a prompt."""
    return float(zlib.crc32(prompt.encode()) % 3)


def completion(request_id: str, prompt: str = "", **changes: Any) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": changes.pop("content", "\n\n1"),
        "reasoning": changes.pop("reasoning", "Потому что."),
    }
    return {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "model": "judge",
        "system_fingerprint": "fp_test",
        "choices": [{"index": 0, "message": message, "finish_reason": changes.pop("finish_reason", "stop")}],
        "usage": {
            "prompt_tokens": max(100, len(prompt.encode()) // 4),
            "completion_tokens": 10,
            "total_tokens": max(100, len(prompt.encode()) // 4) + 10,
            "prompt_tokens_details": {"cached_tokens": 80},
        },
        **changes,
    }


@dataclass
class Call:
    """One chat request as the server saw it."""

    body: dict[str, Any]
    headers: dict[str, str]
    at: float

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]


@dataclass
class Raw:
    """Bytes to put on the wire, whole or cut; `None` for the body means a reset instead of a reply."""

    status: int = 200
    body: bytes | None = b""
    headers: dict[str, str] = field(default_factory=dict)
    declared_length: int | None = None
    wait_s: float = 0.0
    stall_s: float = 0.0


Answering = Callable[[Call], Raw]


def as_json(document: Any, **changes: Any) -> Raw:
    return Raw(body=json.dumps(document).encode(), headers={"content-type": "application/json"}, **changes)


def answer_well(call: Call) -> Raw:
    return as_json(completion(call.request_id, call.prompt, content=f"\n\n{score_of(call.prompt):g}"))


def error(status: int, message: str = "сбой", **headers: str) -> Answering:
    def answer(_: Call) -> Raw:
        raw = as_json({"error": {"message": message, "code": status}}, status=status)
        raw.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        return raw

    return answer


def replying(**changes: Any) -> Answering:
    return lambda call: as_json(completion(call.request_id, call.prompt, **changes))


class FakeJudge:
    """Runs on a loopback port in a thread of its own. `plan` is used up call by call, then `otherwise`."""

    def __init__(self, otherwise: Answering = answer_well, plan: list[Answering] | None = None, port: int = 0) -> None:
        self.otherwise = otherwise
        self.plan = plan or []
        self.calls: list[Call] = []
        self.paths: list[str] = []
        self.most_in_flight = 0
        self.model = "judge"
        self.max_model_len = 8_192
        self.token_counts: Callable[[str], int] | None = None
        self.metrics: dict[str, float] = {}
        self.healthy = True
        self._in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = port

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def stop(self) -> None:
        """Close the port and every connection, as a killed process does."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**24))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, asyncio.sleep(0), return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.paths.append(f"{method} {path}")
                raw = await self._answer(path, headers, body)
                if raw.body is None:
                    writer.transport.abort()
                    return
                length = raw.declared_length if raw.declared_length is not None else len(raw.body)
                lines = [f"HTTP/1.1 {raw.status} X", f"content-length: {length}"]
                lines += [f"{name}: {value}" for name, value in raw.headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + raw.body)
                await writer.drain()
                if length > len(raw.body):  # a reply cut short: stall, then reset
                    await asyncio.sleep(raw.stall_s)
                    writer.transport.abort()
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            with suppress(Exception):
                writer.close()

    async def _answer(self, path: str, headers: dict[str, str], body: bytes) -> Raw:
        if path == "/health":
            return Raw(200 if self.healthy else 500)
        if path == "/v1/models":
            models = [{"id": self.model, "object": "model", "max_model_len": self.max_model_len}]
            return as_json({"object": "list", "data": models})
        if path == "/metrics" and self.metrics:
            lines = "".join(f"# TYPE vllm:{k} gauge\nvllm:{k} {v}\n" for k, v in self.metrics.items())
            return Raw(body=lines.encode())
        if path == "/tokenize" and self.token_counts is not None:
            prompt = json.loads(body)["messages"][-1]["content"]
            return as_json({"count": self.token_counts(prompt)})
        if path != "/v1/chat/completions":
            return Raw(404, b"{}")
        if headers.get("authorization") != f"Bearer {KEY}":
            return as_json({"error": {"message": f"wrong key {headers.get('authorization')}"}}, status=401)
        call = Call(json.loads(body), headers, time.monotonic())
        self.calls.append(call)
        raw = (self.plan.pop(0) if self.plan else self.otherwise)(call)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        await asyncio.sleep(raw.wait_s)
        self._in_flight -= 1
        return raw
