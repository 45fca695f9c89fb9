"""Sends one request to a judge and returns a completion or a typed failure; also counts prompt tokens.

Retries, restarts and concurrency are handled elsewhere. `AsyncOpenAI` makes one request for each address, which is not
sent: its URL and headers, from base URL, key and query, go with every body. To make and send each request by it would
take three times as long as the request itself.
"""

from __future__ import annotations

import itertools
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

import httpx2
import orjson
from openai import AsyncOpenAI, Omit

from pollux_dagster.core.profiles import JudgeProfile, Sampling
from pollux_dagster.core.replies import MessageParts
from pollux_dagster.judge.dialect import REFUSALS, Dialect, is_objection
from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.judge.responses import (
    Completion,
    Failure,
    FailureKind,
    ran_out,
    read_completion,
    read_error,
    read_logprobs,
    read_templated,
    read_token_count,
    read_tokens,
)
from pollux_dagster.judge.transport import AiohttpTransport, ReplyTooLargeError, UnsentTransport, UntrustedServerError

# Shorter ones are placeholders ("none", "EMPTY", "1"); masking such a word would falsify replies.
_SHORTEST_SECRET_CHARS = 8
_MAX_ERROR_CHARS = 500
_HOP_HEADERS = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding"})
# Some servers stumble over a field that they do not know instead of refusing it, or refuse it with status 200.
_STUMBLES = (200, 500, 501)
TEMPLATE_TOKENS = 64  # of the chat template, at most
# What a cut reply is read from, where the server sends an error instead of the reply.
_CUT_REPLY = Completion(MessageParts(None, None), "length", 0, 0, None, None, "")


@dataclass(frozen=True, slots=True)
class WireLimits:
    """Limits of one exchange, in seconds and bytes.

    `first_byte_s` is long because a non-streaming reply starts only when it is complete. `body_s` limits each wait for
    more of the body, `whole_body_s` all of them together: a request ends after `first_byte_s + whole_body_s` at the
    latest.
    """

    connect_s: float = 10.0
    first_byte_s: float = 600.0
    body_s: float = 30.0
    whole_body_s: float = 60.0
    max_reply_bytes: int = 4 * 2**20


class JudgeClient:
    """A connection pool to one endpoint, for one profile. Close it with `aclose`."""

    def __init__(
        self,
        endpoint: Endpoint,
        profile: JudgeProfile,
        *,
        connections: int,
        limits: WireLimits | None = None,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        bounds = limits if limits is not None else WireLimits()
        self.endpoint = endpoint
        self._transport = AiohttpTransport(
            connections=connections,
            max_reply_bytes=bounds.max_reply_bytes,
            connect_s=bounds.connect_s,
            first_byte_s=bounds.first_byte_s,
            body_s=bounds.body_s,
            whole_body_s=bounds.whole_body_s,
            route=endpoint.route,
        )
        client = AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.api_key or "none",
            default_query=dict(parse_qsl(endpoint.route.query)),
            max_retries=0,
            timeout=None,
            http_client=httpx2.AsyncClient(transport=UnsentTransport(), trust_env=False),
        )
        # The SDK's telemetry headers are of no use to a judge.
        telemetry: Any = {name: Omit() for name in client.default_headers if name.lower().startswith("x-stainless")}
        self._client = client.with_options(default_headers=telemetry)
        self._secret = _spellings_of(endpoint.api_key) if len(endpoint.api_key) >= _SHORTEST_SECRET_CHARS else None
        self._call_headers: dict[str, Any] = {
            "Authorization": Omit(),
            **endpoint.route.headers(endpoint.api_key),
            "x-stainless-retry-count": Omit(),
            "x-stainless-read-timeout": Omit(),
            "Content-Type": "application/json",
        }
        self._addresses: dict[str, tuple[str, Mapping[str, str]]] = {}
        self._dialect = Dialect(profile)
        self._log = log
        self._id_prefix = f"pollux-{uuid.uuid4().hex[:12]}-"
        self._numbers = itertools.count()
        self._server_echoes_ids = False
        self._other_models: set[str] = set()
        self._counts = [self._count_messages, self._count_templated, self._count_text, self._count_encoded]

    async def ask(self, prompt: str, sampling: Sampling, levels: Sequence[float]) -> Completion | Failure:
        """Send one prompt, again without the fields that the server refuses where that asks for the same.

        Never raises for anything the server, the network or the prompt's text does.
        """
        while True:
            body = self._dialect.body(self.endpoint.model, prompt, sampling, levels)
            answer = await self._ask(body, prompt)
            if isinstance(answer, Completion):
                self._dialect.accept()
                self._look_at_model(answer.model)
                # Some servers cut a reply without a word.
                is_cut = answer.completion_tokens >= sampling.max_tokens
                return replace(answer, finish_reason="length") if is_cut else answer
            if ran_out(answer, prompt):
                return _CUT_REPLY
            if answer.status not in REFUSALS and not (answer.status in _STUMBLES and is_objection(answer.body)):
                return answer
            if change := self._dialect.adapt(body, answer.body):
                self._log(f"{self.endpoint.server} refused a request ({answer.error}); from now on: {change}")
            if self._dialect.body(self.endpoint.model, prompt, sampling, levels) == body:
                refused = answer.kind is FailureKind.REFUSED
                objection = self._dialect.objection(body, answer.body) if refused else None
                said = f"{objection}. It said: {answer.error}"
                return answer if objection is None else Failure(FailureKind.UNUSABLE, said, answer.status)

    @property
    def has_answered(self) -> bool:
        """Whether the server has answered a request of this judge."""
        return self._dialect.is_accepted

    def _look_at_model(self, named: str) -> None:
        """Say once that another model answers than was asked: some servers answer with whatever is loaded."""
        asked, answering = (name.casefold().rpartition("/")[2] for name in (self.endpoint.model, named))
        if answering and not (answering in asked or asked in answering) and named not in self._other_models:
            self._other_models.add(named)
            self._log(
                f"{self.endpoint.server} was asked for {self.endpoint.model!r} and says that {named!r} answered: its "
                "verdicts are recorded as those of the first. If that is another model, stop and set the right name"
            )

    async def _ask(self, body: dict[str, Any], prompt: str) -> Completion | Failure:
        request_id = self._next_id()
        try:
            content = orjson.dumps(body)
        except orjson.JSONEncodeError as error:
            return Failure(FailureKind.REFUSED, f"the prompt cannot be sent as UTF-8: {error}")
        reply = await self._post("/chat/completions", content, request_id, prompt)
        if isinstance(reply, Failure):
            return reply
        completion = read_completion(reply, prompt=prompt)
        if isinstance(completion, Completion) and not self._is_answer_to(request_id, completion.response_id):
            return Failure(
                FailureKind.BAD_BODY,
                f"expected the reply to {request_id}, got the one to {completion.response_id[:80]}",
            )
        return completion

    async def count_prompt_tokens(self, prompt: str) -> int | Failure:
        """The prompt's length in tokens as the server counts it; `refused` where it does not count.

        Servers count in one of four ways; the one that this server has is remembered.
        """
        for ask in self._counts:
            count = await ask(prompt)
            if isinstance(count, int):
                self._counts = [ask]
                return count
            if count.kind not in (FailureKind.REFUSED, FailureKind.UNUSABLE, FailureKind.BAD_BODY):
                return count
        return Failure(FailureKind.REFUSED, f"{self.endpoint.server} does not count tokens")

    async def _count_messages(self, prompt: str) -> int | Failure:
        """vLLM applies its chat template itself."""
        return await self._tokenized({"model": self.endpoint.model, "messages": self._dialect.messages(prompt)})

    async def _count_templated(self, prompt: str) -> int | Failure:
        """llama.cpp has an address for the chat template and one for the tokens."""
        reply = await self._beside("apply-template", {"messages": self._dialect.messages(prompt)})
        templated = reply if isinstance(reply, Failure) else read_templated(reply)
        if isinstance(templated, Failure):
            return templated
        return await self._tokenized({"content": templated, "add_special": True, "parse_special": True})

    async def _count_text(self, prompt: str) -> int | Failure:
        """SGLang counts a text."""
        text = "".join(message["content"] for message in self._dialect.messages(prompt))
        count = await self._tokenized({"model": self.endpoint.model, "prompt": text})
        return count if isinstance(count, Failure) else count + TEMPLATE_TOKENS

    async def _count_encoded(self, prompt: str) -> int | Failure:
        """TabbyAPI counts messages without the beginning of the reply."""
        body = {"text": self._dialect.messages(prompt)}
        reply = await self._post("/token/encode", orjson.dumps(body), self._next_id())
        count = reply if isinstance(reply, Failure) else read_token_count(reply)
        return count if isinstance(count, Failure) else count + TEMPLATE_TOKENS

    async def _tokenized(self, body: dict[str, Any]) -> int | Failure:
        reply = await self._beside("tokenize", body)
        return reply if isinstance(reply, Failure) else read_token_count(reply)

    async def _beside(self, name: str, body: dict[str, Any]) -> bytes | Failure:
        """The answer of an address that lies beside `/v1`."""
        url = f"{self.endpoint.base_url.removesuffix('/v1')}/{name}"
        return await self._post(url, orjson.dumps(body), self._next_id())

    async def tokens_of(self, text: str) -> tuple[int, ...] | Failure:
        """The ids of a text's tokens, without those of a template. Uses vLLM's `/tokenize`."""
        body = {"model": self.endpoint.model, "prompt": text, "add_special_tokens": False}
        reply = await self._beside("tokenize", body)
        return reply if isinstance(reply, Failure) else read_tokens(reply)

    async def next_token_logprobs(
        self, prefixes: Sequence[Sequence[int]], tokens: Sequence[int]
    ) -> list[dict[int, float]] | Failure:
        """The natural logarithm of the probability of each of `tokens` after the tokens of each prefix."""
        body = {
            "model": self.endpoint.model,
            "prompt": prefixes,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 1,
            "logprob_token_ids": list(tokens),
            "return_tokens_as_token_ids": True,
        }
        reply = await self._post("/completions", orjson.dumps(body), self._next_id())
        return reply if isinstance(reply, Failure) else read_logprobs(reply, len(prefixes), tokens)

    def _next_id(self) -> str:
        return f"{self._id_prefix}{next(self._numbers)}"

    async def aclose(self) -> None:
        """Close the pool; in-flight requests fail as unreachable."""
        await self._transport.aclose()

    async def _post(self, path: str, content: bytes, request_id: str, prompt: str = "") -> bytes | Failure:
        """The body of a 200, or the failure; an API key that the server repeats is masked in either. An error may quote
        the `prompt` that is in the content.
        """
        url, headers = self._addresses.get(path) or await self._address(path)
        try:
            reply = await self._transport.post(url, {**headers, "X-Request-Id": request_id}, content)
        except ReplyTooLargeError as error:
            return Failure(FailureKind.BAD_BODY, str(error))
        except UntrustedServerError as error:
            return Failure(FailureKind.UNTRUSTED, str(error))
        except Exception as error:
            # The message quotes damaged headers, whatever their length and bytes.
            said = f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARS].encode("utf-8", "replace").decode()
            return Failure(FailureKind.UNREACHABLE, said)
        body = self._without_key(reply.body)
        if reply.status == 200:
            return body
        if 200 < reply.status < 300:
            expected = f"expected a whole reply with status 200, got {reply.status}"
            return Failure(FailureKind.BAD_BODY, expected, reply.status)
        return read_error(reply.status, reply.headers, body, now=time.time(), prompt=prompt)

    async def _address(self, path: str) -> tuple[str, Mapping[str, str]]:
        """The URL of a path and the headers of a request to it."""
        options: Any = {"headers": self._call_headers}
        unsent = await self._client.post(path, cast_to=httpx2.Response, content=b"{}", options=options)
        headers = {name: value for name, value in unsent.request.headers.items() if name not in _HOP_HEADERS}
        self._addresses[path] = str(unsent.request.url), {**headers, "Accept-Encoding": "identity"}
        return self._addresses[path]

    def _is_answer_to(self, request_id: str, response_id: str) -> bool:
        """Whether the reply belongs to the request. Engines that echo X-Request-Id in the reply's id (vLLM) reveal
        mix-ups.
        """
        if response_id.endswith(request_id):
            self._server_echoes_ids = True
            return True
        return not self._server_echoes_ids and self._id_prefix not in response_id

    def _without_key(self, body: bytes) -> bytes:
        """Mask the key before anything reads or cuts the body, because a cut key is no longer recognised."""
        return body if self._secret is None else self._secret.sub(b"***", body)


def _spellings_of(key: str) -> re.Pattern[bytes]:
    """The key itself, and with any character except letters, digits and `-_.` escaped as JSON writers may do."""
    plain = {char: re.escape(char.encode()) for char in key}
    escaped = {char: rb"(?:\\?%s|\\u(?i:%04x))" % (plain[char], ord(char)) for char in key}
    return re.compile(b"".join(plain[char] if char.isalnum() or char in "-_." else escaped[char] for char in key))
