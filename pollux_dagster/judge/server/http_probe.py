"""Short questions to a server over HTTP: is it healthy, what does it serve, can it write one token, its
counters.

Blocking and small on purpose: verdicts go through `judge.client`, not through here. Redirects are refused,
since following one would hand the API key to whoever it points at; loopback never goes through a proxy.
"""

import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

MAX_BODY_BYTES = 8 * 1024 * 1024
COUNTERS = (
    "prefix_cache_queries_total",
    "prefix_cache_hits_total",
    "num_preemptions_total",
    "num_requests_running",
    "num_requests_waiting",
    "kv_cache_usage_perc",
    "prompt_tokens_total",
    "generation_tokens_total",
)
_SAMPLE_NAME = re.compile(r"^\w+:|[{ ].*")


class ProbeError(Exception):
    """The server did not answer as asked; `status` is the HTTP status, or 0 when there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One entry of `/v1/models`; `max_model_len` in tokens, None where the engine does not say."""

    name: str
    max_model_len: int | None


def is_healthy(root_url: str, timeout_s: float) -> bool:
    """Whether `GET /health` answers 200 in time."""
    try:
        call(f"{root_url}/health", timeout_s=timeout_s)
    except ProbeError:
        return False
    return True


def served_models(root_url: str, api_key: str, timeout_s: float) -> list[ServedModel]:
    """What `/v1/models` lists. Raises ProbeError."""
    url = f"{root_url}/v1/models"
    entries = _json(url, call(url, api_key=api_key, timeout_s=timeout_s)).get("data")
    if not isinstance(entries, list) or not all(isinstance(e, dict) and "id" in e for e in entries):
        raise ProbeError(f"{url} should list models under `data`, each with an `id`")
    return [ServedModel(str(e["id"]), _positive(e.get("max_model_len"))) for e in entries]


def write_one_token(root_url: str, api_key: str, model: str, timeout_s: float) -> None:
    """The canary: a chat completion of one token, which proves weights, tokenizer and scheduler work."""
    url = f"{root_url}/v1/chat/completions"
    body = {"model": model, "messages": [{"role": "user", "content": "1"}], "max_tokens": 1, "temperature": 0}
    if not _json(url, call(url, api_key=api_key, timeout_s=timeout_s, body=body)).get("choices"):
        raise ProbeError(f"{url} answered without choices")


def engine_version(root_url: str, timeout_s: float) -> str:
    """What `GET /version` says, or "unknown": only vLLM has this address."""
    try:
        answer = _json(root_url, call(f"{root_url}/version", timeout_s=timeout_s))
    except ProbeError:
        return "unknown"
    return str(answer.get("version", "unknown"))


def read_metrics(root_url: str, timeout_s: float) -> dict[str, float]:
    """The counters of `/metrics` that tell how a server is doing, without the engine's prefix.

    Sums over an engine's label sets, the largest for the cache usage (a share of 1). Counters the engine does
    not have are left out. Raises ProbeError.
    """
    url = f"{root_url}/metrics"
    lines = call(url, timeout_s=timeout_s).decode("utf-8", "replace").splitlines()
    # A hundred kilobytes of histograms are dropped before the parser, which is slow, sees them.
    text = "".join(f"{line}\n" for line in lines if _SAMPLE_NAME.sub("", line) in COUNTERS)
    found: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.partition(":")[2]
                if name == "kv_cache_usage_perc":
                    found[name] = max(found.get(name, 0.0), sample.value)
                elif name in COUNTERS:
                    found[name] = found.get(name, 0.0) + sample.value
    except ValueError as error:
        raise ProbeError(f"{url} is not in Prometheus text format: {error}") from error
    return found


def call(url: str, *, api_key: str = "", timeout_s: float, body: dict[str, Any] | None = None) -> bytes:
    """One GET, or POST when there is a body. Raises ProbeError for anything but a 200 within bounds."""
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers)
    try:
        with _opener(url).open(request, timeout=timeout_s) as response:
            content: bytes = response.read(MAX_BODY_BYTES + 1)
            status: int = response.status
    except urllib.error.HTTPError as error:
        error.close()
        raise ProbeError(f"{url} answered {error.code} {error.reason}", error.code) from None
    except (OSError, HTTPException, ValueError) as error:
        raise ProbeError(f"{url} did not answer: {error}") from None
    if status != 200:
        raise ProbeError(f"{url} answered {status}, expected 200", status)
    if len(content) > MAX_BODY_BYTES:
        raise ProbeError(f"{url} answered more than {MAX_BODY_BYTES} bytes")
    return content


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(url: str) -> urllib.request.OpenerDirector:
    if urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1"):
        return urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(_NoRedirect)


def _json(url: str, content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError:
        raise ProbeError(f"{url} should answer JSON, it answered {content[:80]!r}") from None
    if not isinstance(answer, dict):
        raise ProbeError(f"{url} should answer a JSON object, it answered {content[:80]!r}")
    return answer


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
