"""Serves scores that are made up, over the API of an engine: to see a pipeline work where no engine is installed.

No model reads anything. The score is a level of the prompt's rubric, chosen by the prompt's checksum, so that the same
prompt always gets the same one; every rationale says that it is made up. It is started by path, `python -P
made_up_server.py HOST PORT MODEL`, as the engines are, and takes the key in POLLUX_SERVER_API_KEY.
"""

from __future__ import annotations

import hmac
import os
import re
import sys
import zlib
from typing import Any

_LEVEL = re.compile(r"^\s*(-?\d+(?:[.,]\d+)?)\s*:", re.MULTILINE)
RATIONALE = "Оценка выдумана: ответа никто не читал. This score is made up: nobody has read the answer."


def made_up_score(prompt: str) -> str:
    """A level of the rubric with which the prompt ends; "0" where there is none."""
    rubric = prompt[prompt.rfind("\n### ") :]
    levels: list[str] = sorted(set(_LEVEL.findall(rubric))) or ["0"]
    return levels[zlib.crc32(prompt.encode("utf-8", "replace")) % len(levels)]


def completion(body: dict[str, Any], model: str) -> dict[str, Any]:
    """The reply to the body of a chat completion."""
    prompt = str(body["messages"][-1]["content"])
    message = {"role": "assistant", "content": f"\n\n{made_up_score(prompt)}", "reasoning": RATIONALE}
    return {
        "id": f"made-up-{zlib.crc32(prompt.encode('utf-8', 'replace')):08x}",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def serve(host: str, port: int, model: str, key: str) -> None:
    """Serve until the process is ended."""
    from aiohttp import web

    @web.middleware
    async def with_key(request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path.startswith("/v1/") and not hmac.compare_digest(given.encode(), key.encode()):
            return web.json_response({"error": {"message": "wrong key", "code": 401}}, status=401)
        response: web.StreamResponse = await handler(request)
        return response

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": model, "object": "model"}]})

    async def complete(request: web.Request) -> web.Response:
        try:
            return web.json_response(completion(await request.json(), model))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            return web.json_response({"error": {"message": f"expected messages: {error!r}", "code": 400}}, status=400)

    application = web.Application(client_max_size=2**26, middlewares=[with_key])
    application.add_routes([web.get("/health", health), web.get("/v1/models", models)])
    application.add_routes([web.post("/v1/chat/completions", complete)])
    web.run_app(application, host=host, port=port, access_log=None, print=None)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3], os.environ["POLLUX_SERVER_API_KEY"])
