"""Records what an engine answers: `python -m tests.engines.record NAME >answers.jsonl`, one exchange a line.

The exchanges are those by which servers differ: the request as a judge sends it, each of its odd fields alone, a prompt
beyond the context, and the addresses beside `/v1`. What the client has to cope with is read off them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pollux_dagster.core.profile_files import packaged_profile
from pollux_dagster.core.prompts import render
from tests.engines.engines import ENGINES, Engine
from tests.engines.serving import serving

_TIMEOUT_S = 120.0
_MOST_BYTES = 4_000
_PROMPT = render(
    packaged_profile("demo").template,
    "Назови столицу Франции.",
    "Париж",
    "Париж.",
    "Отказ или заглушка вместо ответа",
    "0: Ответ дан по существу.\n1: Вместо ответа отказ, заглушка или пустота.",
)
_PLAIN: dict[str, Any] = {"temperature": 0, "max_tokens": 256}
_ALL: dict[str, Any] = {
    "temperature": 0.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": 20251,
    "max_tokens": 256,
}
_SCHEMA = packaged_profile("json").request.response_format
_FIELDS: tuple[dict[str, Any], ...] = (
    *({name: value} for name, value in _ALL.items()),
    *({"top_k": -1}, {"n": 2}, {"logprobs": True}, {"stop": ["\n"]}, {"no_such_field": 1}),
    *({"max_completion_tokens": 32}, {"reasoning_effort": "low"}, {"reasoning_effort": "none"}),
    *({"chat_template_kwargs": {"enable_thinking": False}}, {"response_format": _SCHEMA}),
    *({"response_format": {"type": "json_object"}}, {"temperature": 3.5}, {"max_tokens": 5}, {"max_tokens": 0}),
    {"max_tokens": 100_000},
)
_BESIDE = ("/health", "/version", "/metrics", "/props", "/slots", "/model_info", "/server_info")


def main(name: str) -> None:
    """Start the engine, write every exchange to standard output, and stop it."""
    engine = ENGINES[name]
    if missing := engine.why_not_installed():
        sys.exit(missing)
    with tempfile.TemporaryDirectory() as folder, serving(engine, Path(folder) / "log") as url:
        for exchange in exchanges(engine, url):
            sys.stdout.write(json.dumps(exchange, ensure_ascii=False) + "\n")
            sys.stdout.flush()


def exchanges(engine: Engine, url: str) -> Iterator[dict[str, Any]]:
    """Each exchange with the server at `url`, as it was sent and answered."""
    root, chat = url.removesuffix("/v1"), f"{url}/chat/completions"

    def ask(fields: dict[str, Any], prompt: str = _PROMPT, model: str = engine.model) -> dict[str, Any]:
        return _exchange(chat, {"model": model, "messages": [{"role": "user", "content": prompt}], **fields})

    yield _exchange(f"{url}/models")
    for path in _BESIDE:
        yield _exchange(root + path)
    for address in (f"{root}/tokenize", f"{url}/tokenize"):
        yield _exchange(address, {"model": engine.model, "messages": [{"role": "user", "content": _PROMPT}]})
    yield ask(_ALL)
    for field in _FIELDS:
        yield ask({**_PLAIN, **field})
    yield ask({**_PLAIN, "max_tokens": engine.context})
    yield ask(_PLAIN, prompt="Ответ номер сто. " * (engine.context // 7))
    yield ask(_PLAIN, model="no-such-model")
    yield _exchange(chat, {"model": engine.model, "messages": []})


def _exchange(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request, and the status, headers and beginning of the body that came back; status 0 for none in time."""
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none", "X-Request-Id": "asked-1"}
    content = None if body is None else json.dumps(body, default=dict).encode()
    began = time.monotonic()
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, content, headers), timeout=_TIMEOUT_S)
        status, sent_back, answer = response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        status, sent_back, answer = error.code, error.headers, error.read()
    except OSError as error:
        status, sent_back, answer = 0, {}, repr(error).encode()
    return {
        "url": url,
        "fields": {name: value for name, value in (body or {}).items() if name not in ("model", "messages")},
        "prompt_bytes": len(str((body or {}).get("messages", "")).encode()),
        "status": status,
        "content_type": sent_back.get("content-type"),
        "request_id": sent_back.get("x-request-id"),
        "seconds": round(time.monotonic() - began, 2),
        "body": answer[:_MOST_BYTES].decode("utf-8", "replace"),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
