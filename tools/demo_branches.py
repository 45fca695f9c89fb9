"""Attention over rows of one text with branches: every branch sees the shared text and itself, never another branch.

No model and no items live here. The idea: rows lie one after the other without padding, and each piece attends to
what it sees and nothing else. One masked attention over whole rows takes twice as long.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from transformers import AttentionInterface

BRANCHES = "branches"  # the name under which a model's configuration selects this attention
_sdpa = torch.nn.functional.scaled_dot_product_attention


class Piece(NamedTuple):
    """Consecutive tokens of one row. ``mask`` is None for a shared text, else (tokens, shared tokens + tokens)."""

    tokens: int
    mask: torch.Tensor | None


def pieces_of(branches: Sequence[Sequence[int]]) -> list[Piece]:
    """Cut rows, given as a branch number a token with the shared text first and numbered 0, into their pieces."""
    return [piece for branch in branches for piece in _row_pieces(branch)]


def _row_pieces(branch: Sequence[int]) -> Iterator[Piece]:
    shared = 0
    for number, run in groupby(branch):
        tokens = len(list(run))
        if number == 0:
            shared = tokens
            yield Piece(tokens, None)
        else:
            seen = torch.ones(tokens, shared + tokens, dtype=torch.bool).tril(shared)
            yield Piece(tokens, torch.zeros(seen.shape).masked_fill(~seen, -torch.inf))


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    pieces: Sequence[Piece],
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend piece by piece. Query (1, heads, tokens, size), key and value (1, key groups, tokens, size)."""
    groups = query.shape[1] // key.shape[1]
    sizes = [piece.tokens for piece in pieces]
    queries, keys, values = (
        torch.split(part, sizes, dim=2)
        for part in (query, key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1))
    )
    shared, results = (keys[0], values[0]), []
    for piece, q, k, v in zip(pieces, queries, keys, values, strict=True):
        if piece.mask is None:
            shared = k, v
            results.append(_sdpa(q, k, v, is_causal=True))
        else:
            k, v = torch.cat((shared[0], k), dim=2), torch.cat((shared[1], v), dim=2)
            results.append(_sdpa(q, k, v, attn_mask=piece.mask))
    return torch.cat(results, dim=2).transpose(1, 2), None


AttentionInterface.register(BRANCHES, attend)
