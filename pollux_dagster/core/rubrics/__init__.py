"""The numeric scale hidden in a rubric's text: which numbers a judge may give.

Reading replies and rendering prompts live elsewhere. The one idea: a scale is what the rubric states, never
what it probably means, so anything short of two clearly stated levels is an error that quotes the rubric.
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
