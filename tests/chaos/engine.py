"""A judge engine for scenarios about processes, not models: real processes, real HTTP, up in half a second.

Run by a supervisor as `engine.py --port … --record FILE`; a child process stands in for the engine's core. Its
scores lie on the prompt's own rubric and depend on nothing but the prompt, so a mixed-up reply would show. `--record`
gets a line for every reply sent, which tells what was asked twice from what was not.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import zlib
from pathlib import Path

from aiohttp import web

# Dies with its parent, as the processes of an engine that runs under `engine_launcher` do.
CORE = "import ctypes, time; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); time.sleep(3600)"
_LEVEL = re.compile(r"^(\d+):", re.M)


def score_of(prompt: str) -> int:
    """A level of the rubric that stands in the prompt."""
    levels = sorted({int(level) for level in _LEVEL.findall(prompt)})
    return levels[zlib.crc32(prompt.encode()) % len(levels)]


def is_stopped(pid: int) -> bool:
    """Whether a process is under SIGSTOP."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def application(*, record: Path | None, delay_s: float, key: str, core: int) -> web.Application:
    """The routes a client needs of an OpenAI-compatible server. Nothing is completed while `core` is stopped."""
    written = 0

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "judge", "object": "model", "max_model_len": 8192}]})

    async def metrics(_: web.Request) -> web.Response:
        counter = "vllm:generation_tokens"
        return web.Response(text=f"# TYPE {counter} counter\n{counter}_total {written}\n")

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    async def complete(request: web.Request) -> web.Response:
        nonlocal written
        if request.headers.get("authorization") != f"Bearer {key}":
            return web.json_response({"error": {"message": "wrong key"}}, status=401)
        prompt = (await request.json())["messages"][-1]["content"]
        levels = _LEVEL.findall(prompt)
        await asyncio.sleep(delay_s if levels else 0.0)
        while is_stopped(core):
            await asyncio.sleep(0.1)
        written += 10
        if record is not None and levels:
            with record.open("a") as file:
                file.write(hashlib.sha256(prompt.encode()).hexdigest() + "\n")
        message = {
            "role": "assistant",
            "reasoning": "Потому что.",
            "content": f"\n\n{score_of(prompt)}" if levels else "1",
        }
        return web.json_response(
            {
                "id": f"chatcmpl-{request.headers.get('x-request-id', 'none')}",
                "object": "chat.completion",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10},
            }
        )

    app = web.Application(client_max_size=2**24)
    app.add_routes(
        [
            web.get("/v1/models", models),
            web.get("/metrics", metrics),
            web.get("/health", health),
            web.post("/v1/chat/completions", complete),
        ]
    )
    return app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--start-after", type=float, default=0.0)
    options = parser.parse_args()
    time.sleep(options.start_after)
    child = subprocess.Popen([sys.executable, "-c", CORE, "EngineCore"])
    app = application(
        record=options.record, delay_s=options.delay, key=os.environ["POLLUX_SERVER_API_KEY"], core=child.pid
    )

    async def leave_with_the_core(_: web.Application) -> None:
        async def watch() -> None:
            while child.poll() is None:
                await asyncio.sleep(0.05)
            os._exit(1)

        app["watch"] = asyncio.create_task(watch())

    app.on_startup.append(leave_with_the_core)
    sys.stdout.write(json.dumps({"port": options.port}) + "\n")
    web.run_app(app, host="127.0.0.1", port=options.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
