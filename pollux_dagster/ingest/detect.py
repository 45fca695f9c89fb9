"""Which format a file has, from the fields of its first rows.

A format is recognised by fields that only it has; where several formats fit, the most specific one is meant.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Any

from pollux_dagster.core.taxonomy import looks_like_criteria, looks_like_tasks
from pollux_dagster.ingest.rows import RawRow


class Format(StrEnum):
    """The landing formats. The values are what `landing.files.format` holds."""

    TAXONOMY_CRITERIA = "taxonomy_criteria"
    TAXONOMY_TASKS = "taxonomy_tasks"
    OPENAI_BATCH = "openai_batch"
    FASTCHAT_ANSWERS = "fastchat_answers"
    FASTCHAT_QUESTIONS = "fastchat_questions"
    LM_EVAL = "lm_eval"
    POLLUX_WIDE = "pollux_wide"
    POLLUX_INSTRUCTIONS = "pollux_instructions"
    HUMAN_SCORES = "human_scores"
    ANSWERS = "answers"
    ALPACA_EVAL = "alpaca_eval"
    UNKNOWN = "unknown"


# The required fields by which each format is recognised, for messages.
_KNOWN_BY: dict[Format, tuple[str, ...]] = {
    Format.ANSWERS: ("prompt_id", "answer"),
    Format.POLLUX_INSTRUCTIONS: ("prompt_id", "instruction"),
    Format.POLLUX_WIDE: ("instruction", "answer", "model_id"),
    Format.HUMAN_SCORES: ("prompt_id", "model_id", "criteria_name", "score"),
    Format.ALPACA_EVAL: ("instruction", "output", "generator"),
    Format.FASTCHAT_QUESTIONS: ("question_id", "turns"),
    Format.FASTCHAT_ANSWERS: ("question_id", "choices"),
    Format.LM_EVAL: ("doc_id", "arguments", "resps"),
    Format.OPENAI_BATCH: ("custom_id", "response"),
}


def nearest_formats(fields: Collection[str]) -> str:
    """The three formats whose fields are most like these, each with its fields: `answers (prompt_id, answer)`."""
    found = [field.lower()[:100] for field in itertools.islice(fields, 100)]

    def likeness(format_: Format) -> float:
        wanted = _KNOWN_BY[format_]
        best = (max((SequenceMatcher(None, name, field).ratio() for field in found), default=0) for name in wanted)
        return sum(best) / len(wanted)

    nearest = sorted(_KNOWN_BY, key=likeness, reverse=True)[:3]
    return ", ".join(f"{format_} ({', '.join(_KNOWN_BY[format_])})" for format_ in nearest)


def document_format(document: Any) -> Format | None:
    """The format of a JSON document that is not a list of rows, or None when its rows decide."""
    if looks_like_criteria(document):
        return Format.TAXONOMY_CRITERIA
    if looks_like_tasks(document):
        return Format.TAXONOMY_TASKS
    return None


def rows_format(rows: Iterable[RawRow]) -> Format:
    """The format that most of these rows have; rows of no known format do not count."""
    votes = Counter(_row_format(row.fields) for row in rows if isinstance(row.fields, dict))
    votes.pop(Format.UNKNOWN, None)
    return votes.most_common(1)[0][0] if votes else Format.UNKNOWN


def _row_format(fields: dict[str, Any]) -> Format:
    has = fields.keys()
    if "custom_id" in has and ({"response", "error"} & has):
        return Format.OPENAI_BATCH
    if "question_id" in has and "choices" in has:
        return Format.FASTCHAT_ANSWERS
    if "question_id" in has and "turns" in has:
        return Format.FASTCHAT_QUESTIONS
    if "doc_id" in has and ({"resps", "filtered_resps"} & has):
        return Format.LM_EVAL
    if "instruction" in has and "output" in has and "prompt_id" not in has:
        return Format.ALPACA_EVAL
    if "instruction" in has and ({"answer", "output"} & has):
        return Format.POLLUX_WIDE
    if "instruction" in has:
        return Format.POLLUX_INSTRUCTIONS
    if "criteria_name" in has and "score" in has:
        return Format.HUMAN_SCORES
    if "answer" in has:
        return Format.ANSWERS
    return Format.UNKNOWN
