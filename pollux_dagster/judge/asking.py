"""Obtains one verdict: asks, waits, asks again, asks differently, and in the end always has a status.

Pacing and recording are in `evaluate`. The one idea: attempts at the transport and attempts at the model are
counted apart, because a server that was restarted says nothing about the prompt it dropped.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pollux_dagster.core.profiles import JudgeProfile
from pollux_dagster.core.replies import Reply, read_reply
from pollux_dagster.core.verdicts import VerdictStatus
from pollux_dagster.judge.bodies import Completion, Failure, Trouble
from pollux_dagster.judge.capacity import Capacity
from pollux_dagster.judge.context import ContextCheck, too_long
from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.judge.recovery import SharedServer
from pollux_dagster.judge.retry import ALTERABLE, FINAL_STATUS, SUSPICIOUS, RetryPolicy, altered


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request, done with. Tokens are summed over all attempts, `latency_s` is the last one's."""

    reply: Reply
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cached_tokens_known: bool
    system_fingerprint: str | None
    attempts: int
    latency_s: float
    endpoint: Endpoint


class Asker:
    """Asks one judge through one shared server."""

    def __init__(
        self,
        shared: SharedServer,
        profile: JudgeProfile,
        capacity: Capacity,
        policy: RetryPolicy,
        random_source: random.Random,
    ) -> None:
        self._shared = shared
        self._profile = profile
        self._capacity = capacity
        self._policy = policy
        self._random = random_source
        self._context = ContextCheck()
        self.retries = 0

    async def obtain(self, prompt: str, levels: Sequence[float]) -> Outcome:
        """Return what the judge says to `prompt`, or the failure that stays after every attempt.

        Raises only ServerError: the server is gone and cannot be had back.
        """
        sampling = self._profile.sampling
        spent = _Spent()
        failures = 0
        may_alter = True
        while True:
            client, generation = await self._shared.current()
            if spent.attempts == 0:
                problem = await self._context.problem(client, prompt, sampling.max_tokens)
                if problem is not None:
                    return spent.outcome(_failed(VerdictStatus.CONTEXT_OVERFLOW, problem), None, client.endpoint)
            began = time.monotonic()
            answer = await client.ask(prompt, sampling)
            spent.attempts += 1
            spent.latency_s = time.monotonic() - began
            if isinstance(answer, Completion):
                self._shared.note_success()
                self._capacity.on_completion()
                self._context.learn(len(prompt.encode()), answer)
                spent.add(answer)
                reply = read_reply(self._profile, answer.message, answer.finish_reason, levels)
                room = client.endpoint.max_model_len - answer.prompt_tokens
                if reply.status is VerdictStatus.TRUNCATED and room < sampling.max_tokens:
                    # The server shortened the reply to fit, silently: not the judge's fault.
                    problem = too_long(client.endpoint.max_model_len, answer.prompt_tokens, sampling.max_tokens)
                    reply = _failed(VerdictStatus.CONTEXT_OVERFLOW, problem)
                if reply.status in ALTERABLE and may_alter:
                    may_alter = False
                    other = altered(sampling, reply.status, room)
                    if other is not None:
                        sampling = other
                        self.retries += 1
                        continue
                if reply.status is not VerdictStatus.TRANSPORT_ERROR:
                    return spent.outcome(reply, answer, client.endpoint)
                failure = Failure(Trouble.SERVER_ERROR, reply.problem or "the server gave the reply up")
            else:
                failure = answer
            if failure.trouble in FINAL_STATUS:
                self._shared.note_success()
                reply = _failed(FINAL_STATUS[failure.trouble], failure.error)
                return spent.outcome(reply, None, client.endpoint)
            is_last = failures + 1 >= self._policy.max_attempts
            if not await self._is_servers_fault(failure, generation, is_last=is_last):
                failures += 1
            if failures >= self._policy.max_attempts:
                error = f"given up after {spent.attempts} attempts, the last one: {failure.error}"
                return spent.outcome(_failed(VerdictStatus.TRANSPORT_ERROR, error), None, client.endpoint)
            self.retries += 1
            await asyncio.sleep(self._policy.wait_s(max(failures, 1), failure, self._random))

    async def _is_servers_fault(self, failure: Failure, generation: int, *, is_last: bool) -> bool:
        """Note the failure where it belongs; True when the server has been replaced meanwhile."""
        if failure.trouble in SUSPICIOUS:
            in_flight = self._capacity.in_flight
            return await self._shared.note_failure(generation, failure.error, in_flight, is_last=is_last)
        if failure.trouble is Trouble.THROTTLED:
            self._capacity.on_throttle()
        self._shared.note_success()  # busy or garbled, it answers
        return False


@dataclass(slots=True)
class _Spent:
    """What a request has cost so far."""

    attempts: int = 0
    latency_s: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cached_tokens_known: bool = False

    def add(self, completion: Completion) -> None:
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens
        self.cached_tokens += completion.cached_tokens or 0
        self.cached_tokens_known = self.cached_tokens_known or completion.cached_tokens is not None

    def outcome(self, reply: Reply, completion: Completion | None, endpoint: Endpoint) -> Outcome:
        return Outcome(
            reply=reply,
            finish_reason=completion.finish_reason if completion else None,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
            cached_tokens_known=self.cached_tokens_known,
            system_fingerprint=completion.system_fingerprint if completion else None,
            attempts=self.attempts,
            latency_s=self.latency_s,
            endpoint=endpoint,
        )


def _failed(status: VerdictStatus, problem: str) -> Reply:
    return Reply(status, None, None, None, problem)
