"""Short probes of a server over HTTP: health, served models, writing one token, its counters.

Blocking and small on purpose: verdicts go through `judge.client`, and `exchange` does the HTTP. The server's statements
(numbers, names, lists) are checked against limits before anything stores them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from prometheus_client.parser import text_string_to_metric_families

from pollux_dagster.core.verdicts import UNKNOWN_VERSION
from pollux_dagster.judge.endpoint import DIRECT, Route
from pollux_dagster.judge.server.exchange import ProbeError, call

METRICS_TIMEOUT_S = 5.0  # they are read every few seconds, and stay unknown when that takes longer
MAX_METRICS_BYTES = 8 * 2**20
_MAX_SAMPLES = 1_000  # of the counters below; an engine has a few for each of its parts
_MAX_SAMPLE_CHARS = 4_096
_MAX_MODELS = 1_000
_MAX_NAME_CHARS = 256
_MAX_VERSION_CHARS = 100
_MAX_QUOTED_BYTES = 8_192
_MAX_TOKENS = 2**31 - 1
_ANSWERED = 200
_MAX_COUNTER = 2.0**53  # floats beyond it do not hold every whole number
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
# vLLM and SGLang; Together, OpenRouter and others; Groq; llama.cpp; LM Studio; Mistral; Novita; TabbyAPI.
_LENGTHS = (
    *("max_model_len", "context_length", "context_window", "n_ctx", "loaded_context_length", "max_context_length"),
    *("context_size", "max_seq_len"),
)
_PLACES = ("meta", "metadata", "parameters")  # llama.cpp; DeepInfra; TabbyAPI
_SAMPLE_NAME = re.compile(r"^\w+:|[{ ].*")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One entry of `/v1/models`; `max_model_len` in tokens, None where the engine does not report it."""

    name: str
    max_model_len: int | None


def is_healthy(root_url: str, timeout_s: float, route: Route = DIRECT) -> bool:
    """Whether `GET /health` answers 200 in time, or the server that it has no such address (Ollama, LM Studio)."""
    try:
        call(f"{root_url}/health", timeout_s=timeout_s, route=route)
    except ProbeError as error:
        return error.status in (404, 405)
    return True


def served_models(base_url: str, api_key: str, timeout_s: float, route: Route = DIRECT) -> list[ServedModel]:
    """What `/models` lists: under `data`, or, as at Together, in a bare list. Raises ProbeError."""
    url = f"{base_url}/models"
    content = call(url, api_key=api_key, timeout_s=timeout_s, route=route)
    listed = _parsed(url, content)
    entries = listed.get("data") if isinstance(listed, dict) else listed
    if not isinstance(entries, list) or not all(isinstance(e, dict) and "id" in e for e in entries):
        raise ProbeError(f"{url} should list models under `data`, each with an `id`", _ANSWERED)
    if len(entries) > _MAX_MODELS:
        raise ProbeError(f"{url} lists {len(entries)} models, expected at most {_MAX_MODELS}", _ANSWERED)
    return [ServedModel(_name(url, e["id"]), _length(e)) for e in entries]


def _length(entry: Mapping[str, Any]) -> int | None:
    """The context length in tokens, which each server calls otherwise.

    At OpenRouter the provider that a request is passed on to may have less than the model: `top_provider` says so.
    """
    own = next((length for place in (entry, *_inside(entry, _PLACES)) if (length := _stated(place))), None)
    provider = next((length for place in _inside(entry, ("top_provider",)) if (length := _stated(place))), None)
    return min((length for length in (own, provider) if length), default=None)


def _stated(place: Mapping[str, Any]) -> int | None:
    return next((length for name in _LENGTHS if (length := _tokens(place.get(name)))), None)


def _inside(entry: Mapping[str, Any], names: Sequence[str]) -> list[Mapping[str, Any]]:
    return [place for name in names if isinstance(place := entry.get(name), Mapping)]


def loaded_length(root_url: str, api_key: str, model: str, timeout_s: float, route: Route = DIRECT) -> int | None:
    """The context length in tokens of a server whose list of models does not tell it; None where nothing does.

    llama.cpp has `/props`, TGI `/info`, KoboldCpp an address for the number alone; TabbyAPI's `/v1/model`, Ollama's
    `/api/ps` and LM Studio's `/api/v0/models` tell what is loaded.
    """
    for address, read in _ELSEWHERE.items():
        try:
            url = f"{root_url}{address}"
            answer = _json(url, call(url, api_key=api_key, timeout_s=min(timeout_s, METRICS_TIMEOUT_S), route=route))
        except ProbeError:
            continue
        if length := _tokens(read(answer, model)):
            return length
    return None


def _of_ollama(answer: Mapping[str, Any], model: str) -> object:
    models = answer.get("models")
    entries = [e for e in models if isinstance(e, Mapping)] if isinstance(models, list) else []
    return next((e.get("context_length") for e in entries if e.get("name") in (model, f"{model}:latest")), None)


def _of_lm_studio(answer: Mapping[str, Any], model: str) -> object:
    """The context that the model is loaded with; `max_context_length` is what it was trained for."""
    entries = answer.get("data")
    found = [e for e in entries if isinstance(e, Mapping) and e.get("id") == model] if isinstance(entries, list) else []
    return next((e.get("loaded_context_length") for e in found), None)


def _of_tabby(answer: Mapping[str, Any], model: str) -> object:
    return _length(answer) if answer.get("id") == model else None


def _of_koboldcpp(answer: Mapping[str, Any], model: str) -> object:
    return answer.get("value")


def _of_llama_cpp(answer: Mapping[str, Any], model: str) -> object:
    settings = answer.get("default_generation_settings")
    return settings.get("n_ctx") if isinstance(settings, Mapping) else None


def _of_tgi(answer: Mapping[str, Any], model: str) -> object:
    return answer.get("max_total_tokens")


_ELSEWHERE = {
    "/props": _of_llama_cpp,
    "/info": _of_tgi,
    "/v1/model": _of_tabby,
    "/api/ps": _of_ollama,
    "/api/v0/models": _of_lm_studio,
    "/api/extra/true_max_context_length": _of_koboldcpp,
}


def shortest_request(model: str) -> dict[str, Any]:
    """A request for one token that states as little as possible."""
    return {"model": model, "messages": [{"role": "user", "content": "1"}], "max_tokens": 1, "temperature": 0}


def write_one_token(
    base_url: str, api_key: str, body: Mapping[str, Any], timeout_s: float, route: Route = DIRECT
) -> None:
    """The canary: a chat completion of `body`, which proves that weights, tokenizer and scheduler work, and that the
    server takes what a judge's requests state. Raises ProbeError otherwise.
    """
    url = f"{base_url}/chat/completions"
    content = call(url, api_key=api_key, timeout_s=timeout_s, route=route, body=dict(body))
    answer = _json(url, content)
    if not answer.get("choices"):
        said = content[:_MAX_QUOTED_BYTES].decode("utf-8", "replace")
        raise ProbeError(f"{url} answered without choices", _ANSWERED, body=said)


def engine_version(root_url: str, timeout_s: float, route: Route = DIRECT) -> str:
    """The version from `GET /version`, or "unknown": only vLLM has this address."""
    try:
        version = _json(root_url, call(f"{root_url}/version", timeout_s=timeout_s, route=route)).get("version")
    except ProbeError:
        return UNKNOWN_VERSION
    fits = isinstance(version, str) and 0 < len(version) <= _MAX_VERSION_CHARS and version.isprintable()
    return str(version) if fits else UNKNOWN_VERSION


def read_metrics(root_url: str, timeout_s: float, route: Route = DIRECT) -> dict[str, float]:
    """The counters of `/metrics` that show how a server is doing, without the engine's prefix.

    Sums over an engine's label sets, the largest for the cache usage (a share of 1). Counters that the engine does not
    have, or whose value is impossible for a counter, are left out. Raises ProbeError.
    """
    url = f"{root_url}/metrics"
    content = call(url, timeout_s=timeout_s, route=route, max_bytes=MAX_METRICS_BYTES)
    # A hundred kilobytes of histograms are dropped before the slow parser sees them.
    lines = [
        line
        for line in content.decode("utf-8", "replace").splitlines()
        if len(line) <= _MAX_SAMPLE_CHARS and _SAMPLE_NAME.sub("", line) in COUNTERS
    ]
    if len(lines) > _MAX_SAMPLES:
        raise ProbeError(f"{url} has {len(lines)} samples of the counters read here, expected at most {_MAX_SAMPLES}")
    found: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families("".join(f"{line}\n" for line in lines)):
            for sample in family.samples:
                name = sample.name.partition(":")[2]
                if name == "kv_cache_usage_perc":
                    found[name] = max(found.get(name, 0.0), sample.value)
                elif name in COUNTERS:
                    found[name] = found.get(name, 0.0) + sample.value
    except ValueError as error:
        raise ProbeError(f"{url} is not in Prometheus text format: {str(error)[:200]}") from error
    # NaN differs from itself: as a count of tokens it would count as progress forever.
    return {name: value for name, value in found.items() if math.isfinite(value) and 0 <= value <= _MAX_COUNTER}


def _parsed(url: str, content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        answered = content[:80].decode("utf-8", "replace")
        raise ProbeError(f"{url} should answer JSON, it answered {answered!r}", _ANSWERED) from None


def _json(url: str, content: bytes) -> dict[str, Any]:
    answer = _parsed(url, content)
    if not isinstance(answer, dict):
        raise ProbeError(f"{url} should answer a JSON object, it answered {content[:80]!r}", _ANSWERED)
    return answer


def _name(url: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME_CHARS or not value.isprintable():
        shown = value[:80] if isinstance(value, str) else type(value).__name__
        raise ProbeError(
            f"{url} should name each model in at most {_MAX_NAME_CHARS} printable characters, it named one {shown!r}"
        )
    return value


def _tokens(value: object) -> int | None:
    is_length = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_TOKENS
    return int(value) if is_length else None  # type: ignore[call-overload]
