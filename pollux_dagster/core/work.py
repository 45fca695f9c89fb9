"""The input of a judge: answers with their pending requests, and the criteria of these requests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """One distinct answer and its pending requests as (verdict_key, criterion_id) pairs, gates first.

    All requests on an answer are sent together, so that they share the server's prefix cache.
    """

    instruction: str
    reference_answer: str | None
    answer: str
    requests: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion; `levels` are the scores its rubric allows."""

    criterion_id: str
    criteria_name: str
    rubrics: str
    levels: tuple[float, ...]
    is_gate: bool
