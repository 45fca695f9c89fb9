"""What a server says comes after prefixes of tokens, asked together by those who wait at the same time.

A request for one token costs a server more as a request than as a token, and its client as much again. So one is under
way to each server at a time; what comes meanwhile waits and shares the next. A server that answers at once is asked at
once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar
from weakref import WeakKeyDictionary

from pollux_dagster.judge.client import JudgeClient
from pollux_dagster.judge.responses import Failure, FailureKind

_LONGEST = 100_000  # tokens of all prefixes of one request: a body below a megabyte, which some proxies limit it to
_MOST_TOKENS = 128  # that vLLM takes (MAX_LOGPROB_TOKEN_IDS in its sampling_params.py)
_WAITS_S = (0.05, 0.5)  # between tries: a connection that was just closed, a server that is busy
_PASSING = frozenset({FailureKind.UNREACHABLE, FailureKind.THROTTLED, FailureKind.SERVER_ERROR, FailureKind.BAD_BODY})

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Question:
    prefix: tuple[int, ...]
    tokens: tuple[int, ...]
    answer: dict[int, float] | Failure | None = None


@dataclass(slots=True)
class _Queue:
    """Those who wait for one server. `is_single` where it answers one prefix, and several not."""

    waiting: list[_Question] = field(default_factory=list)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    is_single: bool = False


class NextTokens:
    """Asks for log-probabilities of next tokens. Used from one event loop."""

    def __init__(self) -> None:
        self._queues: WeakKeyDictionary[JudgeClient, _Queue] = WeakKeyDictionary()

    async def logprobs(
        self, client: JudgeClient, prefix: tuple[int, ...], tokens: tuple[int, ...]
    ) -> dict[int, float] | Failure:
        """The natural logarithm of the probability of each of `tokens` after the tokens of `prefix`."""
        mine = _Question(prefix, tokens)
        queue = self._queues.setdefault(client, _Queue())
        queue.waiting.append(mine)
        try:
            async with queue.turn:
                if mine.answer is None:  # no earlier request took it along
                    await asyncio.sleep(0)  # what is as far as this one joins it
                    await _answer(client, queue, _together_with(mine, queue))
        finally:
            if mine in queue.waiting:
                queue.waiting.remove(mine)
        assert mine.answer is not None
        return mine.answer if isinstance(mine.answer, Failure) else {token: mine.answer[token] for token in tokens}


def _together_with(mine: _Question, queue: _Queue) -> list[_Question]:
    """The questions of the next request, `mine` first; they wait no longer."""
    chosen, length, tokens = [mine], len(mine.prefix), set(mine.tokens)
    for other in queue.waiting if not queue.is_single else ():
        fits = length + len(other.prefix) <= _LONGEST and len(tokens | set(other.tokens)) <= _MOST_TOKENS
        if other is not mine and fits:
            chosen.append(other)
            length += len(other.prefix)
            tokens |= set(other.tokens)
    queue.waiting = [each for each in queue.waiting if each not in chosen]
    return chosen


async def _answer(client: JudgeClient, queue: _Queue, questions: list[_Question]) -> None:
    """Answer the questions together; one by one where the server refuses that, since one of them may be at fault, or
    answers that in a way of its own.
    """
    prefixes = [each.prefix for each in questions]
    tokens = sorted({token for each in questions for token in each.tokens})
    answers = await patiently(lambda: client.next_token_logprobs(prefixes, tokens))
    if not isinstance(answers, Failure):
        for question, answer in zip(questions, answers, strict=True):
            question.answer = answer
    elif answers.kind is FailureKind.REFUSED and len(questions) > 1:
        for question in questions:
            await _answer(client, queue, [question])
    elif answers.kind is FailureKind.BAD_BODY and len(questions) > 1:
        first, *rest = questions
        await _answer(client, queue, [first])
        for question in rest:
            if isinstance(first.answer, Failure):  # it does not answer such questions at all
                question.answer = first.answer
            else:
                await _answer(client, queue, [question])
        queue.is_single = not any(isinstance(each.answer, Failure) for each in questions)
    else:
        for question in questions:
            question.answer = answers


async def patiently(ask: Callable[[], Awaitable[T | Failure]]) -> T | Failure:
    """What `ask` brings, asked again after a failure that may pass."""
    for wait_s in _WAITS_S:
        answer = await ask()
        if not (isinstance(answer, Failure) and answer.kind in _PASSING):
            return answer
        await asyncio.sleep(wait_s)
    return await ask()
