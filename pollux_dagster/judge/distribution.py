"""The probability of each level at the place where a judge wrote its number, from one more token of the same server.

That token is asked for in a request of its own, because the log-probabilities of the verdict's request would be those
of every token of its reasoning: with vLLM 0.32 on two cores, replies of 25 tokens took 1.6 to 1.8 times as long with
them.

The reply is continued from the token before its number, so that prompt and reasoning are those of the verdict and are
in the server's prefix cache. The probabilities are those of decoding in which the levels are the only allowed texts: at
each place where levels differ, the model's own probabilities of their next tokens, scaled to sum to 1. Levels of
several tokens (10, -1, 0.5) and levels that begin alike (1 and 10) are told apart token by token, the end of the reply
included. Needs vLLM: `return_token_ids` and, since 0.32, `logprob_token_ids`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import partial

from pollux_dagster.judge.client import JudgeClient
from pollux_dagster.judge.next_tokens import NextTokens, patiently
from pollux_dagster.judge.responses import Completion, Failure

_MOST_END_TOKENS = 2  # of the chat template, after the number


class ScoreDistribution:
    """Asks for the distributions of one judge's scores. What cannot be had is reported once to `log`."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._ids: dict[str, tuple[int, ...]] = {}
        self._complaints: set[str] = set()
        self._next_tokens = NextTokens()

    async def of(
        self, client: JudgeClient, completion: Completion, score: float, levels: Sequence[float]
    ) -> tuple[float, ...] | None:
        """The probability of each of `levels`, in their order; None where the server does not give what this needs, or
        the reply does not end in the score as its rubric writes it.
        """
        if not completion.reply_ids or not completion.prompt_ids:
            self._complain("it does not return the tokens of its replies (vLLM does)")
            return None
        if (completion.message.content or "").strip() != level_text(score):
            # `2/2`, `2.0` or a JSON reply: another place than that of the bare number.
            self._complain("its reply is not the bare number that a level is written as, after the reasoning")
            return None
        texts = [level_text(level) for level in levels]
        for text in texts:
            if text not in self._ids:
                found = await patiently(partial(client.tokens_of, text))
                if isinstance(found, Failure):
                    self._complain(found.error)
                    return None
                self._ids[text] = found
        cut = _cut_before(completion.reply_ids, self._ids[level_text(score)])
        if cut is None:
            self._complain("the tokens of its reply do not end in those of the score")
            return None
        if len({self._ids[text] for text in texts}) < len(texts):
            self._complain("two levels are the same tokens to it")
            return None
        start, end_token = cut
        prefix = (*completion.prompt_ids, *completion.reply_ids[:start])
        return await self._spread(client, prefix, [(*self._ids[text], end_token) for text in texts])

    async def _spread(
        self, client: JudgeClient, prefix: tuple[int, ...], paths: Sequence[tuple[int, ...]]
    ) -> tuple[float, ...] | None:
        """The probability of each path of tokens after `prefix`, where these paths are all that is allowed; None where
        the server fails.
        """
        following: dict[tuple[int, ...], set[int]] = {}
        for path in paths:
            for place, token in enumerate(path):
                following.setdefault(path[:place], set()).add(token)
        forks = {common: tuple(sorted(tokens)) for common, tokens in following.items() if len(tokens) > 1}
        found = await asyncio.gather(
            *(self._next_tokens.logprobs(client, (*prefix, *common), tokens) for common, tokens in forks.items())
        )
        shares: dict[tuple[int, ...], float] = {}
        for common, logs in zip(forks, found, strict=True):
            if isinstance(logs, Failure):
                self._complain(logs.error)
                return None
            highest = max(logs.values())
            weights = {token: math.exp(value - highest) for token, value in logs.items()}
            shares |= {(*common, token): weight / sum(weights.values()) for token, weight in weights.items()}
        return tuple(math.prod(shares.get(path[: end + 1], 1.0) for end in range(len(path))) for path in paths)

    def _complain(self, why: str) -> None:
        if why not in self._complaints and len(self._complaints) < 5:
            self._complaints.add(why)
            self._log(f"some scores get no distribution: {why}")


def level_text(level: float) -> str:
    """A level as judges write it: 2, -1, 0.5."""
    return str(int(level)) if float(level).is_integer() else f"{level:.15g}"


def _cut_before(reply: Sequence[int], score: Sequence[int]) -> tuple[int, int] | None:
    """Where the score begins in the tokens of a reply that ends in it, and the token that ends the reply; None where it
    does not end so.
    """
    for ends in range(1, _MOST_END_TOKENS + 1):
        start = len(reply) - ends - len(score)
        if start >= 0 and tuple(reply[start : start + len(score)]) == tuple(score):
            return start, reply[start + len(score)]
    return None
