"""What came back over the wire, typed: a completion, or a trouble with a name.

Pure reading of status codes and bytes; sending is in `client`, what to do about a trouble in `retry`. The
one idea: every body a server or a proxy can send ends in one of two dataclasses, never in an exception.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import orjson

from pollux_dagster.core.replies import MessageParts

_MAX_ERROR_CHARS = 500
_CONTEXT_ERROR = re.compile(
    r"context length|max_model_len|context_length_exceeded|maximum context|too many tokens", re.I
)


class Trouble(StrEnum):
    """Why a request brought no completion."""

    UNREACHABLE = "unreachable"  # refused, reset, stalled: the server may be gone
    SERVER_ERROR = "server_error"  # 500, 502, 504 and other 5xx
    THROTTLED = "throttled"  # 408, 429, 503: alive and busy
    BAD_BODY = "bad_body"  # 200 and no completion in it
    REFUSED = "refused"  # any other 3xx or 4xx: asking again changes nothing
    OVERFLOW = "overflow"  # the prompt does not fit the context


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion. Token counts are the server's; `cached_tokens` is None where it does not tell."""

    message: MessageParts
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    system_fingerprint: str | None
    response_id: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that brought nothing. `retry_after_s` is the server's own wish."""

    trouble: Trouble
    error: str
    status: int = 0
    retry_after_s: float | None = None


def read_completion(body: bytes) -> Completion | Failure:
    """Read the body of a 200. HTML, nothing, JSON without choices: a `bad_body` that shows its beginning."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _bad("JSON", body)
    if not isinstance(document, dict):
        return _bad("a JSON object", body)
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return _bad("JSON with a list of choices", body)
    message = choices[0].get("message")
    if not isinstance(message, dict):
        return _bad("a choice with a message", body)
    content = message.get("content")
    reasoning = message.get("reasoning") or message.get("reasoning_content")  # newer and older servers
    if not isinstance(content, str | None) or not isinstance(reasoning, str | None):
        return _bad("a message of text", body)
    usage = _mapping(document.get("usage"))
    return Completion(
        message=MessageParts(content, reasoning),
        finish_reason=_text(choices[0].get("finish_reason")),
        prompt_tokens=_count(usage.get("prompt_tokens")) or 0,
        completion_tokens=_count(usage.get("completion_tokens")) or 0,
        cached_tokens=_count(_mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
        system_fingerprint=_text(document.get("system_fingerprint")),
        response_id=_text(document.get("id")) or "",
    )


def read_token_count(body: bytes) -> int | Failure:
    """Read the body of a 200 from `/tokenize`."""
    try:
        count = _count(_mapping(orjson.loads(body)).get("count"))
    except orjson.JSONDecodeError:
        count = None
    return count if count is not None else _bad("JSON with a token count", body)


def read_error(status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> Failure:
    """Type an error status. `now` is Unix time in seconds, for a Retry-After that names a date."""
    text = _error_text(body)
    error = f"HTTP {status}: {text}" if text else f"HTTP {status} with an empty body"
    if status in (400, 413, 422) and (status == 413 or _CONTEXT_ERROR.search(text)):
        return Failure(Trouble.OVERFLOW, error, status)
    if status in (408, 429, 503):
        return Failure(Trouble.THROTTLED, error, status, read_retry_after(headers.get("retry-after"), now=now))
    return Failure(Trouble.SERVER_ERROR if status >= 500 else Trouble.REFUSED, error, status)


def read_retry_after(value: str | None, *, now: float) -> float | None:
    """Seconds to wait, from either form of the header (RFC 9110, 10.2.3); None for anything else."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _bad(expected: str, body: bytes) -> Failure:
    shown = body[:80].decode("utf-8", "replace")
    return Failure(Trouble.BAD_BODY, f"expected {expected}, got {len(body)} bytes beginning {shown!r}", 200)


def _error_text(body: bytes) -> str:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:_MAX_ERROR_CHARS].decode("utf-8", "replace").strip()
    error = _mapping(document).get("error", document)
    message = _mapping(error).get("message", error)
    return str(message)[:_MAX_ERROR_CHARS]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
