"""Responses of a server, typed: a completion, or a failure of a named kind.

Pure reading of status codes and bytes: every body that a server or a proxy can send becomes one of two dataclasses and
never an exception, and everything kept from it is bounded. `client` sends requests; `retry` decides how to react to a
failure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import orjson

from pollux_dagster.core.replies import MessageParts

_MAX_ERROR_CHARS = 500
_MAX_QUOTED_BYTES = 8_192  # of a refusal, in which the fields of a request may be named
_MAX_REASON_CHARS, _MAX_ID_CHARS, _MAX_FINGERPRINT_CHARS = 64, 512, 200
_MAX_TOKENS = 2**31 - 1  # of one request; the sum over a billion requests still fits a BIGINT
_CONTEXT_ERROR = re.compile(
    r"context length|context size|context window|context limit|context_window|max_model_len|context_length_exceeded"
    r"|exceed_context_size|maximum context|too many tokens|(?:prompt|input) is too long|prompt_too_long|input length"
    r"|longer than the model|`?inputs`? tokens \+ `?max_new_tokens|must have less than \d+ tokens|model token limit"
    r"|exceeds the maximum number of tokens|(?:prompt|input) tokens? (?:count )?.{0,40}exceed|maximum prompt length"
    r"|reduce the length of the (?:messages|prompt|input)|contextwindowexceeded|too many input tokens|max_seq_len"
    r"|input tokens must be no more than|(?:prompt|request) (?:is )?too long|maximum sequence length|max input len"
    r"|tokens? limit exceeded|exceeds max length|n_keep|greater than cache size"
    r"|(?:prompt|input|sequence) (?:is )?too (?:long|large)|(?:prompt|input) .{0,40}tokens?.{0,20} exceeds? the model"
    r"|token length exceeds? (?:the )?model|longer than max_position_embeddings"
    r"|слишком длинн\w+ (?:запрос|текст|промпт)|输入过长|输入长度超过|超过.{0,10}最大长度",
    re.I,
)
# OpenAI, OpenRouter, DeepSeek, Moonshot, Alibaba, Zhipu. The second is also what Gemini says of a limit per minute,
# with the time to wait.
_NO_CREDIT = re.compile(
    r"insufficient_quota|insufficient[ _](?:credits|balance|funds)|exceeded_current_quota|arrearage|overdue account"
    r"|余额不足|欠费",
    re.I,
)
_NO_QUOTA = re.compile(r"exceeded your current quota", re.I)
_NO_KEY = re.compile(r"api[ _]key (?:is )?(?:not valid|invalid)|invalid[ _]api[ _]key|api_key_invalid", re.I)
_NO_MODEL = re.compile(r"model|deployment|endpoint", re.I)
# In an error of status 200, which has nothing else to tell by.
_BUSY = re.compile(r"rate[_ ]?limit|too many requests|overloaded|resource_exhausted|server_busy|is busy", re.I)
# OpenAI's reasoning models refuse a limit that their reasoning has used up: they did write.
_RAN_OUT = re.compile(r"model output limit was reached", re.I)
_PART_OF_A_MINUTE_S = 20.0  # of a limit per minute without a time to wait
_A_MINUTE = re.compile(r"per[ -]minute|/min\b|a minute|\b[RT]PM\b|в минуту", re.I)
_WAIT = re.compile(
    r"(?:re)?try (?:again )?(?:in|after) (?:(?P<minutes>\d+) ?m(?:in\w*)? ?)?(?P<amount>\d+(?:\.\d+)?) ?(?P<unit>ms|s)"
    r'|"retryDelay":\s*"(?P<delay>\d+(?:\.\d+)?)s"',
    re.I,
)


class FailureKind(StrEnum):
    """Why a request brought no completion."""

    UNTRUSTED = "untrusted"  # its certificate is not valid: must be repaired, waiting does not help
    UNREACHABLE = "unreachable"  # refused, reset, stalled: the server may be gone
    SERVER_ERROR = "server_error"  # 500, 502, 504 and other 5xx
    THROTTLED = "throttled"  # 408, 429, 503: alive and busy
    BAD_BODY = "bad_body"  # 2xx and no completion in it
    MALFORMED = "malformed"  # 2xx, and whole JSON of another shape: a server's way to answer, and paid for each time
    REFUSED = "refused"  # any other 3xx or 4xx: a retry changes nothing
    UNUSABLE = "unusable"  # key, credit or model: the same for every request, and waiting does not help
    OVERFLOW = "overflow"  # the prompt does not fit the context


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion. Token counts are the server's; `cached_tokens` is None where it does not report them. The tokens'
    ids are there where they were asked for and the server gives them. `model` is what the server says that answered.
    """

    message: MessageParts
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    system_fingerprint: str | None
    response_id: str
    prompt_ids: tuple[int, ...] = ()
    reply_ids: tuple[int, ...] = ()
    model: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that failed. `retry_after_s` is the wait that the server asked for, in seconds; `body` the beginning of
    what it sent.
    """

    kind: FailureKind
    error: str
    status: int = 0
    retry_after_s: float | None = None
    body: str = field(default="", repr=False, compare=False)


def read_completion(body: bytes, *, prompt: str = "") -> Completion | Failure:
    """Read the body of a 200, the reply to `prompt`.

    HTML, torn JSON or an empty body is a `bad_body` that quotes its beginning; a choice of another shape is
    `malformed`, and names the part that is wrong. Repeated keys, impossible token counts, and a finish reason or id of
    impossible length are a `bad_body` too. Content in parts (Magistral, Anthropic's and Gemini's servers) is the
    concatenation of its text parts, and a part by itself is one of them.
    """
    document = _parsed(body)
    if document is None:
        return _bad("JSON (the server sends a stream of events)" if body.startswith(b"data:") else "JSON", body)
    if not isinstance(document, dict):
        return _malformed("the reply", "a JSON object", document)
    if document.get("error"):
        return _error_of(document["error"], body, prompt)
    if _repeats_a_key(body, document):
        return _bad("JSON without repeated keys", body)
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        untold = read_error(400, {}, body, now=0.0, prompt=prompt)
        if not choices and untold.kind in (FailureKind.OVERFLOW, FailureKind.UNUSABLE):
            return untold  # an error under another name than `error`
        shape = _malformed("the reply", "JSON with a list of choices", document)
        # What was counted was paid for; anything else may be a proxy's, and not be there the next time.
        return shape if document.get("usage") else replace(shape, kind=FailureKind.BAD_BODY)
    if choices[0].get("error"):
        return _error_of(choices[0]["error"], _alone(choices[0]["error"]), prompt)
    message = choices[0].get("message")
    if not isinstance(message, dict):
        return _malformed("choices[0].message", "a message", choices[0] if message is None else message)
    content, thoughts = _parts(message.get("content"))
    reasoning = message.get("reasoning") or message.get("reasoning_content") or thoughts  # newer and older servers
    if not isinstance(content, str | None):
        return _malformed("choices[0].message.content", "text or a list of parts with text", content)
    if not isinstance(reasoning, str | None):
        reasoning = _parts([reasoning] if isinstance(reasoning, dict) else reasoning)[0]
    if not isinstance(reasoning, str | None):
        return _malformed("choices[0].message.reasoning", "text", message.get("reasoning"))
    if not content and _text(message.get("refusal")):
        said = f"the judge refuses to reply: {message['refusal']}"[:_MAX_ERROR_CHARS]
        return Failure(FailureKind.REFUSED, said, 200)
    finish_reason, response_id = _text(choices[0].get("finish_reason")), _text(document.get("id")) or ""
    if len(finish_reason or "") > _MAX_REASON_CHARS or len(response_id) > _MAX_ID_CHARS:
        return _bad(f"a finish reason of {_MAX_REASON_CHARS} characters and an id of {_MAX_ID_CHARS} at most", body)
    usage = _mapping(document.get("usage"))
    given = (
        usage.get("prompt_tokens"),
        usage.get("completion_tokens"),
        _mapping(usage.get("prompt_tokens_details")).get("cached_tokens"),
    )
    prompt_tokens, completion, cached = (_count(value) for value in given)
    if any(value is not None and _count(value) is None for value in given) or (cached or 0) > (prompt_tokens or 0):
        shown = ", ".join(str(value) if isinstance(value, int | float | None) else "no number" for value in given)
        expected = f"whole numbers up to {_MAX_TOKENS} for tokens of prompt, reply and the prompt's cached part"
        return Failure(FailureKind.BAD_BODY, f"expected {expected}, got {shown}", 200)
    fingerprint = _text(document.get("system_fingerprint"))
    return Completion(
        message=MessageParts(content, reasoning),
        finish_reason=finish_reason,
        prompt_tokens=prompt_tokens or 0,
        completion_tokens=completion or 0,
        cached_tokens=cached,
        system_fingerprint=fingerprint[:_MAX_FINGERPRINT_CHARS] if fingerprint else fingerprint,
        response_id=response_id,
        prompt_ids=_ids(document.get("prompt_token_ids")),
        reply_ids=_ids(choices[0].get("token_ids")),
        model=(_text(document.get("model")) or "")[:_MAX_ID_CHARS],
    )


def _parts(content: Any) -> tuple[Any, str | None]:
    """The text parts of a content and its thinking parts, each as one text; anything but parts as it came."""
    if isinstance(content, dict) and "type" in content:
        content = [content]
    if not isinstance(content, list) or not all(isinstance(part, dict | str) for part in content):
        return content, None
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif part.get("type") in ("thinking", "reasoning"):
            thought = _parts(part.get("thinking") or part.get("text") or part.get("summary"))[0]
            thoughts.append(thought if isinstance(thought, str) else "")
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            return content, None
    return "".join(texts), "".join(thoughts) or None


def _error_of(error: Any, body: bytes, prompt: str) -> Failure:
    """An error sent with status 200, as OpenRouter, LM Studio and TGI do: of the status that it names, if any."""
    named = str(_mapping(error).get("code", ""))
    if named.isdecimal() and 400 <= int(named) < 600:
        return read_error(int(named), {}, body, now=0.0, prompt=prompt)
    failure = read_error(400, {}, body, now=0.0, prompt=prompt)
    if _Own(prompt).find(_BUSY, f"{_error_text(body)} {_error_types(body)}"):
        return read_error(429, {}, body, now=0.0, prompt=prompt)
    if failure.kind in (FailureKind.OVERFLOW, FailureKind.UNUSABLE):
        return failure
    said = f"the server sent an error with status 200: {_error_text(body)}"
    return Failure(FailureKind.MALFORMED, said, 200, body=failure.body)


def _alone(error: Any) -> bytes:
    """The body that an error inside a choice would have had by itself."""
    try:
        return orjson.dumps({"error": error})
    except orjson.JSONEncodeError:  # nested deeper than it writes
        return b""


def _malformed(part: str, expected: str, found: Any) -> Failure:
    try:
        shown = orjson.dumps(found)[:200].decode("utf-8", "replace")
    except orjson.JSONEncodeError:  # nested deeper than it writes
        shown = f"a nested {type(found).__name__}"
    return Failure(FailureKind.MALFORMED, f"expected {part} to be {expected}, got {shown}", 200)


def read_tokens(body: bytes) -> tuple[int, ...] | Failure:
    """The ids in the body of a 200 from `/tokenize`."""
    tokens = _ids(_mapping(_parsed(body)).get("tokens"))
    return tokens or _bad("JSON with a list of tokens", body)


def read_logprobs(body: bytes, prompts: int, wanted: Sequence[int]) -> list[dict[int, float]] | Failure:
    """The natural logarithms of the wanted tokens' probabilities, for each of the prompts in their order, in the body
    of a 200 from `/completions`.
    """
    choices = _mapping(_parsed(body)).get("choices")
    listed = [_mapping(choice) for choice in choices] if isinstance(choices, list) else []
    of_prompt = {choice.get("index"): choice for choice in listed if type(choice.get("index")) is int}
    if prompts == 1:  # its only choice, whatever number a server gives it
        of_prompt = dict(enumerate(listed))
    found = [_first_logprobs(of_prompt.get(index, {}), wanted) for index in range(prompts)]
    whole = [each for each in found if each is not None]
    if len(whole) < prompts or len(listed) != prompts:
        return _bad("the log-probability of every token asked for (vLLM since 0.32 gives them)", body)
    return whole


def _first_logprobs(choice: Mapping[str, Any], wanted: Sequence[int]) -> dict[int, float] | None:
    """The log-probabilities of the wanted tokens as a choice's first one; None where one is missing."""
    given = _mapping(choice.get("logprobs")).get("top_logprobs")
    first = _mapping(given[0]) if isinstance(given, list) and given else {}
    found = {token: first.get(f"token_id:{token}") for token in wanted}
    known = {token: float(value) for token, value in found.items() if isinstance(value, int | float) and value <= 0}
    return known if len(known) == len(found) else None


def _ids(value: Any) -> tuple[int, ...]:
    """A list of token ids; nothing for anything else."""
    whole = isinstance(value, list) and all(type(each) is int and 0 <= each <= _MAX_TOKENS for each in value)
    return tuple(value) if whole else ()


def read_token_count(body: bytes) -> int | Failure:
    """Read the body of a 200 from `/tokenize`: a count, or the tokens themselves. No prompt has none."""
    answer = _mapping(_parsed(body))
    tokens = answer.get("tokens")
    count = _count(answer.get("count", len(tokens) if isinstance(tokens, list) else None))
    return count if count else _bad("JSON with a token count", body)


def read_templated(body: bytes) -> str | Failure:
    """Read the body of a 200 from `/apply-template`."""
    prompt = _mapping(_parsed(body)).get("prompt")
    return prompt if isinstance(prompt, str) else _bad("JSON with a prompt", body)


def read_error(status: int, headers: Mapping[str, str], body: bytes, *, now: float, prompt: str = "") -> Failure:
    """Type an error status. `now` is Unix time in seconds, for a Retry-After that names a date.

    An error may quote the `prompt` that it refuses, whose answer may speak of keys, credit and context: words that are
    in the prompt decide nothing.
    """
    text = _error_text(body)
    error = f"HTTP {status}: {text}" if text else f"HTTP {status} with an empty body"
    typed = f"{text} {_error_types(body)}"
    quoted = body[:_MAX_QUOTED_BYTES].decode("utf-8", "replace")
    own = _Own(prompt)
    if status == 413 or (status in (400, 404, 422, 500) and own.find(_CONTEXT_ERROR, typed)):
        return Failure(FailureKind.OVERFLOW, error, status)
    wait_s = read_retry_after(headers.get("retry-after"), now=now)
    wait_s = _wait_in(own.find(_WAIT, quoted)) if wait_s is None else wait_s
    has_no_credit = own.find(_NO_CREDIT, typed) or (own.find(_NO_QUOTA, typed) and wait_s is None)
    has_no_model = status == 404 and own.find(_NO_MODEL, typed)
    has_no_key = status in (400, 403) and own.find(_NO_KEY, typed)
    if status in (401, 402) or has_no_credit or has_no_model or has_no_key:
        return Failure(FailureKind.UNUSABLE, error, status)
    if status in (408, 429, 503):
        if wait_s is None and own.find(_A_MINUTE, quoted):
            wait_s = _PART_OF_A_MINUTE_S
        return Failure(FailureKind.THROTTLED, error, status, wait_s)
    kind = FailureKind.SERVER_ERROR if status >= 500 else FailureKind.REFUSED
    return Failure(kind, error, status, body=quoted)


def ran_out(failure: Failure, prompt: str = "") -> bool:
    """Whether a refusal of `prompt` says that the limit of tokens cut the reply before its first character."""
    return failure.kind is FailureKind.REFUSED and _Own(prompt).find(_RAN_OUT, failure.body) is not None


class _Own:
    """A server's own words: matches in an error's text that do not stand in the prompt too."""

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt.casefold()

    def find(self, pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
        """The first match that is the server's own."""
        matches = pattern.finditer(text)
        return next((found for found in matches if found[0].casefold() not in self._prompt), None)


def _wait_in(found: re.Match[str] | None) -> float | None:
    """Seconds to wait that an error's text names."""
    if found is None:
        return None
    if found["delay"]:
        return float(found["delay"])
    return 60.0 * int(found["minutes"] or 0) + float(found["amount"]) / (1_000 if found["unit"].lower() == "ms" else 1)


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
    return Failure(FailureKind.BAD_BODY, f"expected {expected}, got {len(body)} bytes beginning {shown!r}", 200)


def _error_of_body(body: bytes) -> Any:
    document = _parsed(body)
    document = document[0] if isinstance(document, list) and len(document) == 1 else document  # Gemini's
    return _mapping(document).get("error", document)


def _error_types(body: bytes) -> str:
    """The names that an error gives itself."""
    error = _mapping(_error_of_body(body))
    return " ".join(text for name in ("type", "code", "status") if (text := _text(error.get(name))))


def _error_text(body: bytes) -> str:
    error = _error_of_body(body)
    message = _mapping(error).get("message", error)
    provider = _text(_mapping(_mapping(error).get("metadata")).get("raw"))  # OpenRouter: what the model's server said
    if provider and isinstance(message, str):
        message = f"{message}: {provider}"
    # Anything but a text is shown as received: it may be nested deeper than Python can write.
    shown = message if isinstance(message, str) else body[:_MAX_ERROR_CHARS].decode("utf-8", "replace")
    return shown[:_MAX_ERROR_CHARS].strip()


def _parsed(body: bytes) -> Any:
    """The JSON document; None where it is none. orjson accepts no deep nesting, NaN, endless numbers or BOM as JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _repeats_a_key(body: bytes, document: Any) -> bool:
    """Whether an object repeats a key, of which readers would take either value."""
    # What is lost with a repeated key is a colon, unless a text has one that is written in another way.
    with suppress(orjson.JSONEncodeError):  # nested deeper than it writes
        if b"u003" not in body and orjson.dumps(document).count(b":") == body.count(b":"):
            return False

    def look(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError

    try:
        json.loads(body, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return True
    return False


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    """A number of tokens; None for an impossible one. Some servers write 100 as 100.0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_TOKENS else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
