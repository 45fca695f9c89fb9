"""What a server says comes after prefixes of tokens, asked together by those who wait at the same time.

A request for one token costs a server more as a request than as a token, and its client as much again. So one is under
way at a time; what comes meanwhile waits and shares the next. A server that answers at once is asked at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from pollux_dagster.judge.client import JudgeClient
from pollux_dagster.judge.responses import Failure, FailureKind

_LONGEST = 100_000  # tokens of all prefixes of one request: a body below a megabyte, which some proxies limit it to
_MOST_TOKENS = 128  # that vLLM takes (MAX_LOGPROB_TOKEN_IDS in its sampling_params.py)
_WAITS_S = (0.05, 0.5)  # between tries: a connection that was just closed, a server that is busy
_PASSING = frozenset({FailureKind.UNREACHABLE, FailureKind.THROTTLED, FailureKind.SERVER_ERROR, FailureKind.BAD_BODY})

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Question:
    client: JudgeClient
    prefix: tuple[int, ...]
    tokens: tuple[int, ...]
    answer: dict[int, float] | Failure | None = None


class NextTokens:
    """Asks for log-probabilities of next tokens. Used from one event loop."""

    def __init__(self) -> None:
        self._waiting: list[_Question] = []
        self._turn = asyncio.Lock()

    async def logprobs(
        self, client: JudgeClient, prefix: tuple[int, ...], tokens: tuple[int, ...]
    ) -> dict[int, float] | Failure:
        """The natural logarithm of the probability of each of `tokens` after the tokens of `prefix`."""
        mine = _Question(client, prefix, tokens)
        self._waiting.append(mine)
        try:
            async with self._turn:
                if mine.answer is None:  # no earlier request took it along
                    await asyncio.sleep(0)  # what is as far as this one joins it
                    await _answer(self._together_with(mine))
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)
        assert mine.answer is not None
        return mine.answer if isinstance(mine.answer, Failure) else {token: mine.answer[token] for token in tokens}

    def _together_with(self, mine: _Question) -> list[_Question]:
        """The questions of the next request, `mine` first; they wait no longer."""
        chosen, length, tokens = [mine], len(mine.prefix), set(mine.tokens)
        for other in self._waiting:
            fits = length + len(other.prefix) <= _LONGEST and len(tokens | set(other.tokens)) <= _MOST_TOKENS
            if other is not mine and other.client is mine.client and fits:
                chosen.append(other)
                length += len(other.prefix)
                tokens |= set(other.tokens)
        self._waiting = [each for each in self._waiting if each not in chosen]
        return chosen


async def _answer(questions: list[_Question]) -> None:
    """Answer the questions together; one by one where the server refuses that, since one of them may be at fault."""
    client = questions[0].client
    prefixes = [each.prefix for each in questions]
    tokens = sorted({token for each in questions for token in each.tokens})
    answers = await patiently(lambda: client.next_token_logprobs(prefixes, tokens))
    if not isinstance(answers, Failure):
        for question, answer in zip(questions, answers, strict=True):
            question.answer = answer
    elif answers.kind is FailureKind.REFUSED and len(questions) > 1:
        for question in questions:
            await _answer([question])
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
