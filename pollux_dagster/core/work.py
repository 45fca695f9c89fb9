"""The input of a judge: answers with their pending requests, and the criteria of these requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


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


def read_criteria(con: duckdb.DuckDBPyConnection) -> dict[str, Criterion]:
    """The criteria of `raw.criteria` by their ids. Raises duckdb.Error."""
    rows = con.execute("SELECT criterion_id, criteria_name, rubrics, levels, is_gate FROM raw.criteria").fetchall()
    return {row[0]: Criterion(row[0], row[1], row[2], tuple(row[3]), row[4]) for row in rows}
