"""A judge that answers at once: the network peer of tests about runs, not about models.

Its score is a level of the rubric in the prompt and depends on nothing but the prompt. What stands in an answer decides
its mood: REFUSE is answered with an error that no retry cures, MUMBLE with words instead of a number. Run as a program
it serves until it is killed: `python tests/fakes/instant_judge.py PORT`, with `--record FILE` and a line in FILE for
every prompt. With `wait_s` it takes so long for every answer.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import threading
import zlib
from collections import Counter
from pathlib import Path

from aiohttp import web

MODEL = "instant"
REFUSE, MUMBLE = "⟦refuse⟧", "⟦mumble⟧"
_LEVEL = re.compile(r"^(\d+):", re.M)


def score_of(prompt: str) -> int:
    levels = sorted({int(level) for level in _LEVEL.findall(prompt)}) or [1]
    return levels[zlib.crc32(prompt.encode()) % len(levels)]


class InstantJudge:
    """Serves on a loopback port, in a thread of its own as a context manager. `prompts` counts what was asked; `model`
    is what it calls itself.
    """

    def __init__(self, port: int = 0, record: Path | None = None, model: str = MODEL, wait_s: float = 0.0) -> None:
        self.port = port
        self._wait_s = wait_s
        self._model = model
        self.prompts: Counter[str] = Counter()
        self._record = record
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> InstantJudge:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()

    async def _start(self) -> None:
        application = web.Application(client_max_size=2**26)
        application.router.add_get("/health", self._health)
        application.router.add_get("/v1/models", self._models)
        application.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": self._model, "object": "model", "max_model_len": 8192}]})

    async def _complete(self, request: web.Request) -> web.Response:
        prompt = (await request.json())["messages"][-1]["content"]
        if _LEVEL.search(prompt):  # not the one-token question whether the server is there
            self.prompts[prompt] += 1
            if self._record:
                with self._record.open("a") as record:
                    record.write(f"{zlib.crc32(prompt.encode())}\n")
        await asyncio.sleep(self._wait_s)
        if REFUSE in prompt:
            return web.json_response({"error": {"message": "this text is not judged here", "code": 400}}, status=400)
        content = "не знаю" if MUMBLE in prompt else f"\n\n{score_of(prompt)}"
        identifier = request.headers.get("x-request-id", "1")
        message = {"role": "assistant", "content": content, "reasoning": "Потому что."}
        return web.json_response(
            {
                "id": f"chatcmpl-{identifier}",
                "object": "chat.completion",
                "model": self._model,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": len(prompt) // 4, "completion_tokens": 4, "total_tokens": len(prompt) // 4},
            }
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    with InstantJudge(options.port, options.record):
        threading.Event().wait()
