"""Reads the numeric scale from a rubric's text: which numbers a judge may give.

A scale is what the rubric states, never what it probably means, so a rubric with fewer than two clearly stated levels
is an error that quotes the rubric. Replies are read in `replies` and prompts rendered in `prompts`.
"""

from pollux_dagster.core.rubrics.reading import MAX_RUBRIC_CHARS, read_level_keys, read_scale
from pollux_dagster.core.rubrics.scale import MAX_LEVEL, MAX_LEVELS, RubricScale, UnreadableScaleError

__all__ = [
    "MAX_LEVEL",
    "MAX_LEVELS",
    "MAX_RUBRIC_CHARS",
    "RubricScale",
    "UnreadableScaleError",
    "read_level_keys",
    "read_scale",
]
