"""Whether a prompt fits the judge's context, decided before it is sent and without truncating anything.

vLLM silently shortens a reply when prompt and reply together exceed the context, so the sum is checked here: by the
prompt's bytes where these suffice, otherwise by the server's tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pollux_dagster.judge.client import TEMPLATE_TOKENS, JudgeClient
from pollux_dagster.judge.responses import Completion, Failure, FailureKind

DENSER = 1.25  # than the densest prompt seen, because other texts may split into more tokens
_ENOUGH_SAMPLES = 64
_FEW_SAMPLES = 8
_LONGEST_MEAN_TOKEN_BYTES = 16  # English has 4 to 5 bytes a token, Russian 4 to 7
FEWEST_CHARS_PER_TOKEN = 3  # below it nothing was cut, and a closer look would only cost time
_RUN = re.compile(r"(.)\1{4,}", re.DOTALL)
_LETTER = re.compile(r"\w")
_LEAST_TOKENS_PER_PIECE = 0.9  # not 1, for the odd token that reaches over a piece's end


def too_long(context: int, prompt_tokens: int, max_tokens: int) -> str:
    """The problem in words."""
    return (
        f"expected prompt and reply within {context} tokens, got {prompt_tokens} + {max_tokens}; "
        "serve the judge with a longer context, or shorten the instruction or answer"
    )


def fewest_tokens(prompt: str, words: Sequence[str]) -> float:
    """What the prompt, whose words these are, has at least by any tokenizer.

    None joins words, and none has tokens that long on average; long runs of one character, which some do join, count as
    four.
    """
    # A word's part up to its last letter or digit is a piece, and so is what follows.
    ending_otherwise = [word for word in words if not word[-1].isalnum() and word[-1] != "_"]
    of_two = [word for word in ending_otherwise if word[0].isalnum() or _LETTER.search(word)]
    pieces = _LEAST_TOKENS_PER_PIECE * (len(words) + len(of_two))
    if _size(prompt) <= _LONGEST_MEAN_TOKEN_BYTES * pieces:
        return pieces
    return max(pieces, _size(_RUN.sub(r"\1\1\1\1", prompt)) / _LONGEST_MEAN_TOKEN_BYTES)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


class ContextCheck:
    """Learns from completions how many tokens per byte the prompts of this judge have."""

    def __init__(self) -> None:
        self._most_tokens_per_byte = 0.0
        self._least_tokens_per_byte = 1.0
        self._samples = 0
        self._server_counts = True

    def learn(self, prompt_bytes: int, completion: Completion) -> None:
        """Record the true length of a prompt that was sent."""
        if completion.prompt_tokens > 0 and prompt_bytes > 0:
            self._samples += 1
            density = completion.prompt_tokens / prompt_bytes
            self._most_tokens_per_byte = max(self._most_tokens_per_byte, density)
            self._least_tokens_per_byte = min(self._least_tokens_per_byte, density)

    async def problem(self, client: JudgeClient, prompt: str, max_tokens: int) -> str | None:
        """Why the prompt must not be sent; None when it fits, or when only the server can find out."""
        context = client.endpoint.max_model_len
        size = _size(prompt)
        if self._upper_bound(size) + max_tokens <= context:
            return None
        if not self._server_counts:
            return self._certainly_too_long(client, size, max_tokens)
        count = await client.count_prompt_tokens(prompt)
        if isinstance(count, Failure):
            # No such route, or a temporary failure: the server itself has to refuse a prompt that is too long.
            self._server_counts = count.kind is not FailureKind.REFUSED
            return self._certainly_too_long(client, size, max_tokens)
        if count + max_tokens <= context:
            return None
        return too_long(context, count, max_tokens)

    def _certainly_too_long(self, client: JudgeClient, size: int, max_tokens: int) -> str | None:
        """Some servers (`transformers serve`) do not check a prompt's length and read on beyond the model's context."""
        least = self._least_tokens_per_byte if self._samples >= _FEW_SAMPLES else 1 / _LONGEST_MEAN_TOKEN_BYTES
        tokens = int(size * least / DENSER)
        context = client.endpoint.max_model_len
        return too_long(context, tokens, max_tokens) if tokens > context else None

    def _upper_bound(self, size: int) -> float:
        tokens = float(size)  # a token covers at least one byte
        if self._samples >= _ENOUGH_SAMPLES:
            tokens = min(tokens, size * self._most_tokens_per_byte * DENSER)
        return tokens + TEMPLATE_TOKENS
