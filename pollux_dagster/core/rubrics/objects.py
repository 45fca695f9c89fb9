"""Scales written as JSON: an object keyed by levels, or a list of objects with one level each."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pollux_dagster.core.rubrics.scale import GRADE_WORD, SIGNED, RefusedError, to_number


def json_levels(text: str) -> set[float] | None:
    """The levels of a JSON text; None when the text is not JSON. Raises RefusedError when it is JSON without levels."""
    if not text.strip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None  # braces in ordinary text: left to the other rules
    found = _levels_of_json(value)
    if found is None:
        raise RefusedError("it is JSON, but its keys are not levels")
    if len(set(found)) != len(found):
        raise RefusedError("a level is described twice")
    return set(found)


def json_level_texts(text: str) -> dict[float, str] | None:
    """The description of each level of a JSON scale, in its first language; None when the text is no JSON scale."""
    try:
        if not text.strip().startswith(("{", "[")) or json_levels(text) is None:
            return None
    except RefusedError:
        return None
    return _texts_of_json(json.loads(text))


def _texts_of_json(value: Any) -> dict[float, str]:
    if isinstance(value, list):
        levels = _levels_of_json(value) or []
        words = ["; ".join(v for v in item.values() if isinstance(v, str)) for item in value if isinstance(item, dict)]
        return dict(zip(levels, words, strict=False))
    if len(value) >= 2 and (numbers := to_numbers(list(value))) is not None:
        return {number: v for number, v in zip(numbers, value.values(), strict=True) if isinstance(v, str)}
    stated = [v for v in value.values() if isinstance(v, dict | list) and _levels_of_json(v) is not None]
    return _texts_of_json(stated[0]) if stated else {}


def _levels_of_json(value: Any) -> list[float] | None:
    if isinstance(value, list):
        keys = ("score", "level", "value", "grade", "балл", "оценка")
        picked = [next((i[k] for k in keys if k in i), None) for i in value if isinstance(i, dict)]
        if len(picked) != len(value) or len(picked) < 2:
            return None
        return to_numbers([str(p) for p in picked])
    if not isinstance(value, dict):
        return None
    if len(value) >= 2 and (numbers := to_numbers(list(value))) is not None:
        return numbers
    inner = [_levels_of_json(v) for v in value.values() if isinstance(v, dict | list)]
    stated = [levels for levels in inner if levels is not None]
    same = bool(stated) and all(set(levels) == set(stated[0]) for levels in stated)
    return stated[0] if same else None


def to_numbers(texts: Sequence[str]) -> list[float] | None:
    """Each text as a number, with or without a word (`Score 1`); None when one of them is something else."""
    pattern = re.compile(rf"\s*(?:{GRADE_WORD}\s*)?({SIGNED})\s*(?:{GRADE_WORD}\s*)?", re.IGNORECASE)
    matches = [pattern.fullmatch(t) for t in texts]
    return [to_number(m[1]) for m in matches if m] if all(matches) else None
