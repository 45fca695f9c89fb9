"""Whether the server read the whole prompt: some drop a part of one that is too long and answer all the same.

How many tokens a text has depends on the tokenizer, so no number by itself shows a cut. For every tokenizer the tokens
of two halves are those of the whole: where they are more, the whole was cut. To find that out takes requests, so it is
done for the first long prompt of a kind, and where a number is unusual for its kind.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from bisect import insort
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pollux_dagster.core.profiles import Sampling
from pollux_dagster.judge.client import TEMPLATE_TOKENS, JudgeClient
from pollux_dagster.judge.context import DENSER, FEWEST_CHARS_PER_TOKEN, fewest_tokens
from pollux_dagster.judge.responses import Completion

_NO_CONTEXT_IS_SHORTER = 2_000  # tokens; a prompt of so many bytes has no more
_NEVER_CUTTING = ("vllm", "sglang", "transformers", "llama-server")  # as managed engines they refuse instead
_LEAST_SHARE = 0.9  # of the expected tokens: the seam of two halves costs some
_MARK_TOKENS = 12  # of the mark before a text that the server must not find in its cache, at most
_UNUSUAL = 0.75  # of the usual tokens for such a text
_LOWER = 0.95  # than the lowest so far, so that a mixed kind is not looked into again and again
_SAMPLES = 64
_MOST_FAILURES = 3


@dataclass(slots=True)
class _Kind:
    """What is known of texts of one kind (of script, digits and white space)."""

    lowest: float = math.inf  # of `usual` among those that were found to be read whole
    usual: list[float] = field(default_factory=list)  # tokens for a rough one, sorted
    rough: dict[int, float] = field(default_factory=dict)  # rough tokens, by the tokens that there were
    densest: float = 0.0  # tokens for a byte


class WholeCheck:
    """Looks at the replies of one judge on one server. Used from one event loop."""

    def __init__(self, sampling: Sampling, log: Callable[[str], None]) -> None:
        self._sampling = replace(sampling, max_tokens=1)
        self._log = log
        self._alone = asyncio.Lock()  # what one request finds out, others need not
        self._kinds: defaultdict[tuple[int, ...], _Kind] = defaultdict(_Kind)
        self._read_whole = 0  # tokens of the longest prompt that was
        self._failures = 0
        self._is_off = False

    async def problem(self, client: JudgeClient, prompt: str, completion: Completion) -> str | None:
        """Why the server cannot have read all of the prompt; None where it has, or where that cannot be found out."""
        tokens = completion.prompt_tokens
        if not tokens or self._is_off or client.endpoint.engine in _NEVER_CUTTING:
            return None
        text = _Text(prompt)
        least = fewest_tokens(prompt, text.words) if len(prompt) >= FEWEST_CHARS_PER_TOKEN * tokens else 0.0
        if least <= tokens and not self._is_suspect(text, tokens):
            self._learn(text, tokens)
            return None
        async with self._alone:
            if least <= tokens and not self._is_suspect(text, tokens):
                return None
            found = await self._expected(client, prompt)
            if found is None:
                return _cut(least, tokens) if least > tokens else None
            expected = _LEAST_SHARE * found
            if found < _LEAST_SHARE * tokens:  # its numbers do not add up; where they do, a tokenizer may join words
                expected = max(expected, least)
            if tokens >= expected:
                self._read_whole = max(self._read_whole, tokens)
                kind = self._kinds[text.kind]
                kind.lowest = min(kind.lowest, tokens / text.rough_tokens)
                self._learn(text, tokens)
                return None
            anew = await self._tokens(client, _marked(prompt))
        if anew is None:
            return _cut(least, tokens) if least > tokens else None
        if anew < expected:
            return _cut(expected, tokens)
        self._is_off = True
        self._log(
            f"{client.endpoint.server} reports fewer tokens for a prompt whose beginning it has read before: whether "
            "it reads whole prompts cannot be told from its numbers"
        )
        return None

    def _is_suspect(self, text: _Text, tokens: int) -> bool:
        """Whether a prompt may be longer than any that was read whole, and its number is unusual or the first one."""
        if text.size <= max(_NO_CONTEXT_IS_SHORTER, self._read_whole) or self._failures >= _MOST_FAILURES:
            return False
        kind = self._kinds[text.kind]
        if not kind.usual or kind.lowest == math.inf:
            return True
        if text.size * kind.densest * DENSER <= self._read_whole:
            return False
        rough = text.rough_tokens
        lowest = min(_UNUSUAL * kind.usual[len(kind.usual) // 2], _LOWER * kind.lowest)
        return tokens < lowest * rough or not 0.95 < kind.rough.get(tokens, rough) / rough < 1.05

    def _learn(self, text: _Text, tokens: int) -> None:
        kind = self._kinds[text.kind]
        kind.densest = max(kind.densest, tokens / text.size)
        if len(kind.usual) < _SAMPLES:
            insort(kind.usual, tokens / text.rough_tokens)
            kind.rough[tokens] = text.rough_tokens

    async def _expected(self, client: JudgeClient, prompt: str) -> float | None:
        """The prompt's tokens by the server's tokenizer, or by the tokens that it reports for its halves; None where it
        does not answer, and once it has not several times.
        """
        if self._failures >= _MOST_FAILURES:
            return None
        counted = await client.count_prompt_tokens(prompt)
        if isinstance(counted, int):
            return counted - TEMPLATE_TOKENS  # which some ways to count add
        middle = prompt.rfind(" ", 0, len(prompt) // 2) + 1 or len(prompt) // 2
        texts = ("1", _marked(prompt[:middle]), prompt[middle:])
        found = [await self._tokens(client, text) for text in texts]
        if not all(found):
            self._failures += 1
            return None
        empty, first, second = (count or 0 for count in found)
        return first + second - empty - _MARK_TOKENS

    async def _tokens(self, client: JudgeClient, text: str) -> int | None:
        answer = await client.ask(text, self._sampling, (0.0, 1.0))
        return answer.prompt_tokens if isinstance(answer, Completion) else None


class _Text:
    """What is measured of a prompt: its size in bytes; its words; its kind, which is the shares, in thirds, of what
    tokenizers treat differently (letters of several bytes, digits, white space); and about what a tokenizer makes of
    it, which counts white space once.
    """

    __slots__ = ("kind", "rough_tokens", "size", "words")

    def __init__(self, prompt: str) -> None:
        encoded = prompt.encode("utf-8", "replace")
        words = prompt.split()
        solid = "".join(words)
        length = max(1, len(prompt))
        parts = (
            len(encoded) - length,
            len(encoded) - len(encoded.translate(None, b"0123456789")),
            length - len(solid),
        )
        self.size, self.words = len(encoded), words
        self.kind = tuple(round(3 * part / length) for part in parts)
        self.rough_tokens = len(words) / 2 + len(solid.encode("utf-8", "replace")) / 4 + 1


def _marked(text: str) -> str:
    return f"#{secrets.token_hex(3)}\n{text}"


def _cut(expected: float, tokens: int) -> str:
    return (
        f"expected the server to read the whole prompt, which is {expected:.0f} tokens or more, it read {tokens}: "
        "it cut the prompt. Serve the judge with a longer context (Ollama: OLLAMA_CONTEXT_LENGTH)"
    )
