"""Which format a file has, from the fields of its first rows.

The one idea: a format is known by the fields only it has; where several fit, the most particular is meant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
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


def document_format(document: Any) -> Format | None:
    """The format of a JSON document that is not a list of rows, or None when its rows decide."""
    if looks_like_criteria(document):
        return Format.TAXONOMY_CRITERIA
    if looks_like_tasks(document):
        return Format.TAXONOMY_TASKS
    return None


def rows_format(rows: Iterable[RawRow]) -> Format:
    """The format most of these rows have; rows without a known shape do not vote."""
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
