"""Sends one request to a judge and returns a completion or a typed failure; also counts prompt tokens.

Retries, restarts and concurrency are handled elsewhere. One `AsyncOpenAI` is used with its own retries off, its typed
models bypassed and its transport replaced, because those three cost more than the request itself.
"""

from __future__ import annotations

import itertools
import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import httpx2
import orjson
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, Omit

from pollux_dagster.core.profiles import JudgeProfile, Sampling
from pollux_dagster.judge.dialect import REFUSALS, Dialect
from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.judge.responses import (
    Completion,
    Failure,
    FailureKind,
    read_completion,
    read_error,
    read_logprobs,
    read_token_count,
    read_tokens,
)
from pollux_dagster.judge.transport import AiohttpTransport, ReplyTooLargeError, UntrustedServerError

# Shorter ones are placeholders ("none", "EMPTY", "1"); masking such a word would falsify replies.
_SHORTEST_SECRET_CHARS = 8
_MAX_ERROR_CHARS = 500


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
        transport = AiohttpTransport(
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
            http_client=httpx2.AsyncClient(transport=transport, trust_env=False),
        )
        # The SDK's telemetry headers take a third of its time per request and are of no use to a judge.
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
        self._dialect = Dialect(profile)
        self._log = log
        self._id_prefix = f"pollux-{uuid.uuid4().hex[:12]}-"
        self._numbers = itertools.count()
        self._server_echoes_ids = False

    async def ask(self, prompt: str, sampling: Sampling, levels: Sequence[float]) -> Completion | Failure:
        """Send one prompt, again without the fields that the server refuses where that asks for the same.

        Never raises for anything the server, the network or the prompt's text does.
        """
        while True:
            body = self._dialect.body(self.endpoint.model, prompt, sampling, levels)
            answer = await self._ask(body)
            if isinstance(answer, Completion):
                self._dialect.accept()
                return answer
            if answer.kind is not FailureKind.REFUSED or answer.status not in REFUSALS:
                return answer
            if change := self._dialect.adapt(body, answer.body):
                self._log(f"{self.endpoint.server} refused a request ({answer.error}); from now on: {change}")
            if self._dialect.body(self.endpoint.model, prompt, sampling, levels) == body:
                objection = self._dialect.objection(body, answer.body)
                said = f"{objection}. It said: {answer.error}"
                return answer if objection is None else Failure(FailureKind.UNUSABLE, said, answer.status)

    async def _ask(self, body: dict[str, Any]) -> Completion | Failure:
        request_id = self._next_id()
        try:
            content = orjson.dumps(body, default=dict)
        except orjson.JSONEncodeError as error:
            return Failure(FailureKind.REFUSED, f"the prompt cannot be sent as UTF-8: {error}")
        reply = await self._post("/chat/completions", content, request_id)
        if isinstance(reply, Failure):
            return reply
        completion = read_completion(reply)
        if isinstance(completion, Completion) and not self._is_answer_to(request_id, completion.response_id):
            return Failure(
                FailureKind.BAD_BODY,
                f"expected the reply to {request_id}, got the one to {completion.response_id[:80]}",
            )
        return completion

    async def count_prompt_tokens(self, prompt: str) -> int | Failure:
        """The prompt's length in tokens under the server's own chat template.

        Uses vLLM's `/tokenize`, which is beside `/v1`; `refused` where the server has none.
        """
        body = {
            "model": self.endpoint.model,
            "messages": self._dialect.messages(prompt),
        }
        reply = await self._post(f"{self._root}/tokenize", orjson.dumps(body), self._next_id())
        return reply if isinstance(reply, Failure) else read_token_count(reply)

    async def tokens_of(self, text: str) -> tuple[int, ...] | Failure:
        """The ids of a text's tokens, without those of a template. Uses vLLM's `/tokenize`."""
        body = {"model": self.endpoint.model, "prompt": text, "add_special_tokens": False}
        reply = await self._post(f"{self._root}/tokenize", orjson.dumps(body), self._next_id())
        return reply if isinstance(reply, Failure) else read_tokens(reply)

    async def next_token_logprobs(self, prefix: Sequence[int], tokens: Sequence[int]) -> dict[int, float] | Failure:
        """The natural logarithm of the probability of each of `tokens` after the tokens of `prefix`."""
        body = {
            "model": self.endpoint.model,
            "prompt": list(prefix),
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 1,
            "logprob_token_ids": list(tokens),
            "return_tokens_as_token_ids": True,
        }
        reply = await self._post("/completions", orjson.dumps(body), self._next_id())
        return reply if isinstance(reply, Failure) else read_logprobs(reply, tokens)

    @property
    def _root(self) -> str:
        return self.endpoint.base_url.removesuffix("/v1")

    def _next_id(self) -> str:
        return f"{self._id_prefix}{next(self._numbers)}"

    async def aclose(self) -> None:
        """Close the pool; in-flight requests fail as unreachable."""
        await self._client.close()

    async def _post(self, path: str, content: bytes, request_id: str) -> bytes | Failure:
        """The body of a 200, or the failure; an API key that the server repeats is masked in either."""
        try:
            response = await self._client.post(
                path,
                cast_to=httpx2.Response,
                content=content,
                options={"headers": {**self._call_headers, "X-Request-Id": request_id}},
            )
        except APIStatusError as error:
            body = self._without_key(error.response.content)
            return read_error(error.status_code, error.response.headers, body, now=time.time())
        except APIConnectionError as error:
            cause = error.__cause__
            if isinstance(cause, ReplyTooLargeError):
                return Failure(FailureKind.BAD_BODY, str(cause))
            if isinstance(cause, UntrustedServerError):
                return Failure(FailureKind.UNTRUSTED, str(cause))
            # The message quotes damaged headers, whatever their length and bytes.
            said = f"{type(cause).__name__}: {cause}"[:_MAX_ERROR_CHARS].encode("utf-8", "replace").decode()
            return Failure(FailureKind.UNREACHABLE, said)
        if response.status_code != 200:
            status = response.status_code
            return Failure(FailureKind.BAD_BODY, f"expected a whole reply with status 200, got {status}", status)
        return self._without_key(response.content)

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
