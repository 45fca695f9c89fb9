"""Reads a rubric's text into its scale: which notation the text uses, and whether its statements agree."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from pollux_dagster.core.rubrics.level_lines import DescribedLevels, LevelLine, inline_levels, level_lines, line_levels
from pollux_dagster.core.rubrics.objects import json_level_texts, json_levels, to_numbers
from pollux_dagster.core.rubrics.ranges import (
    Range,
    find_choices,
    find_points,
    find_ranges,
    find_step,
    labelled_ends,
    range_levels,
    refuse_parts,
)
from pollux_dagster.core.rubrics.scale import (
    MAX_LEVEL,
    MAX_LEVELS,
    RefusedError,
    RubricScale,
    UnreadableScaleError,
    are_even,
    blank_out,
    make_grid,
    to_number,
)

MAX_RUBRIC_CHARS = 100_000


@lru_cache(maxsize=20_000)
def read_scale(rubrics: str) -> RubricScale:
    """Read the levels that a rubric states.

    The rules, in order; the first that finds levels decides:

    1. A JSON object keyed by numbers (also one language or name deeper), or a JSON list of such objects.
    2. Levels that open lines: optional bullet, optional bold, optional word (Score, Оценка, Балл, …), a number or a
       band of whole numbers (`1-3`), optionally a label in parentheses, then `:`, a dash, `=`, `)`, `.` or the end of
       the line.
       - Lines of one scale share their style (word, bullet, bold, separator; `:` and every dash count as one
         separator). A numbered list inside a description has another style, or is two columns deeper.
       - Between styles, a grade word wins over none, and `:` and dashes win over `)` and `.`.
       - A dash followed by a space is a bullet (`- 1:` is level 1); a dash glued to the number is a minus (`-1:` is
         level −1), unless every line has one and one of them is `-0`: then they are bullets.
       - Lines that differ in their dash or by one column are one scale when their levels are evenly spaced.
       - A line with only `…` between whole levels stands for the whole numbers left out there.
       - Two possible readings are an error: a level described twice; one level beside a list written another way;
         levels of which only some are bulleted or bold; a line, or a place within one, that reads like a level missing
         between the others or one step beside them.
    3. Levels inside one line (`0 — нет, 1 — да`), when they only rise or only fall; where only spaces separate them
       (`0: нет 1: да`) or the separators differ, they must also be evenly spaced.
    4. A stated range: `от 1 до 5`, `from 0 to 2`, `Шкала 1–10`, `1..5`; whole numbers, or a stated step (`с шагом
       0,5`). Two different ranges are an error, and so is a mention of halves without a step.
    5. A choice: `Оценка: 0 или 1`, `Score 0, 1 or 2`.

    A range stated beside described levels is part of the scale. Where it starts and ends as they do, the levels are the
    range's (`от 1 до 5, где 1 — плохо, 5 — отлично` has five); where it does not, the rubric is refused. `10-балльная
    шкала` is such a range once levels 1 and 10, or 0 and 10, are described. A range that no word ties to the scale (`от
    1 до 5` in a description) is ignored where whole levels are described without a gap.

    Raises UnreadableScaleError (a ValueError, with the rubric in its message) when no rule applies. Takes time linear
    in the length of the text.
    """
    if len(rubrics) > MAX_RUBRIC_CHARS:
        raise UnreadableScaleError(rubrics, f"it is longer than {MAX_RUBRIC_CHARS:,} characters")
    try:
        levels = json_levels(rubrics.lstrip("\ufeff")) or _text_levels(_tidy(rubrics))
    except RefusedError as refused:
        raise UnreadableScaleError(rubrics, str(refused)) from None
    if len(levels) < 2:
        raise UnreadableScaleError(rubrics, "it names one level only")
    if max(abs(x) for x in levels) > MAX_LEVEL or len(levels) > MAX_LEVELS:
        raise UnreadableScaleError(rubrics, f"levels beyond ±{MAX_LEVEL:g} or more than {MAX_LEVELS} of them")
    return RubricScale(tuple(sorted(levels)))


@lru_cache(maxsize=20_000)
def read_level_texts(rubrics: str) -> dict[float, str]:
    """The text of each level that the rubric describes, including its head (`1 (плохо): …`), or the labels of a range's
    ends.

    Levels without a text of their own are left out. Empty for a rubric without a readable scale.
    """
    try:
        read_scale(rubrics)
    except UnreadableScaleError:
        return {}
    if (texts := json_level_texts(rubrics.lstrip("\ufeff"))) is not None:
        return texts
    text = _tidy(rubrics)
    described = _described(text)[0]
    if described is None:
        return labelled_ends(text)
    starts = [start for start, _ in described.spans]
    ends = [*starts[1:], len(text)] if described.in_lines else [end for _, end in described.spans]
    pieces = [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    return {level: piece for piece, levels in zip(pieces, described.opened, strict=True) for level in levels}


def read_level_keys(keys: Sequence[str]) -> RubricScale:
    """The scale that the keys of an object of levels name: numbers, with or without a word, or bands (`1-3`).

    Raises UnreadableScaleError when the keys are not levels, are fewer than two, or name one level twice.
    """
    numbers = to_numbers(keys)
    if numbers is None:
        return read_scale("\n".join(f"{key}: …" for key in keys))
    if len(set(numbers)) < max(2, len(numbers)):
        raise UnreadableScaleError("\n".join(keys), "fewer than two levels, or one described twice")
    return RubricScale(tuple(sorted(numbers)))


def _tidy(rubrics: str) -> str:
    """The text without blank lines and with single spaces.

    No pattern then meets a run of spaces that it could match in many ways, which would be slow. A first line that is
    deeper than all others is taken to be pasted with its margin and loses it.
    """
    lines = [line.rstrip() for line in rubrics.lstrip("\ufeff").expandtabs(4).splitlines()]
    bodies = [(len(line) - len(line.lstrip()), " ".join(line.split())) for line in lines if line]
    if len(bodies) > 1:
        bodies[0] = (min(bodies[0][0], min(indent for indent, _ in bodies[1:])), bodies[0][1])
    return "\n".join(" " * indent + body for indent, body in bodies)


def _text_levels(text: str) -> set[float]:
    described, ranges = _described(text)
    if described is None:
        return range_levels(text, ranges)
    return _settled(text, described, ranges)


def _described(text: str) -> tuple[DescribedLevels | None, list[Range]]:
    """The levels that the text describes, if any, and the ranges it states beside them."""
    lines = level_lines(text)
    alike = Counter(line.style for line in lines)
    # "1–5" or "Оценка 1–5:" on its own states a range; with a description it is a band of levels.
    bands = {x for x in lines if x.high and alike[x.style] == 1 and x.head_end == x.end}
    ranges = [*find_ranges(text), *(_band_range(line) for line in bands)]
    described = line_levels(text, [line for line in lines if line not in bands])
    described = described or inline_levels(blank_out(text, [(r.start, r.end) for r in ranges]))
    return described, ranges


def _band_range(line: LevelLine) -> Range:
    low, high = sorted((to_number(line.low), to_number(line.high or line.low)))
    return Range(low, high, line.start, line.end, stated=True)


def _settled(text: str, described: DescribedLevels, ranges: Sequence[Range]) -> set[float]:
    """The levels that follow from the described levels and the ranges stated beside them. Raises RefusedError."""
    levels, spans = described.levels, described.spans
    low, high = min(levels), max(levels)
    complete = low.is_integer() and len(levels) == high - low + 1 and are_even(levels)
    outside = blank_out(text, spans)
    step = find_step(outside if described.in_lines else text)
    speaking = [r for r in ranges if _is_about_the_scale(r, described, complete=complete)]
    for stated in speaking:
        if (stated.low, stated.high) != (low, high):
            raise RefusedError(
                f"it states {stated.low:g} to {stated.high:g}, but the levels it describes go from {low:g} to {high:g}"
            )
    whole_text = not (described.in_lines and complete)
    sizes = find_points(text if whole_text else outside)
    if any(not (complete and size == len(levels)) and (size != high or low not in (0, 1)) for size in sizes):
        raise RefusedError(f"it names a scale of {min(sizes):g} points, but describes levels {low:g} to {high:g}")
    refuse_parts(outside, speaking if all(level.is_integer() for level in levels) else (), step)
    filled = bool(speaking) or any(size != len(levels) for size in sizes)
    result = levels if not filled and step is None else _filled(levels, step, ranged=filled)
    if not all(set(choice) <= result for choice in find_choices(outside)):
        raise RefusedError("it offers a choice of numbers that are not all among its levels")
    return result


def _is_about_the_scale(r: Range, described: DescribedLevels, *, complete: bool) -> bool:
    at = bisect_right(described.spans, (r.start, math.inf)) - 1
    inside = at >= 0 and r.start < described.spans[at][1]
    if r.stated:
        return not (inside and complete and described.in_lines and not described.numbered)
    same = (r.low, r.high) == (min(described.levels), max(described.levels))
    if inside and same and not complete:
        raise RefusedError("a range inside a description may be the scale's or not")
    return not inside and (same or not complete)


def _filled(levels: set[float], step: float | None, *, ranged: bool) -> set[float]:
    """Every level from the lowest described to the highest: in the stated step, else whole, else as described."""
    grid = make_grid(min(levels), max(levels), step or 1.0) if ranged or step is not None else None
    if grid is not None and levels <= set(grid) and (ranged or len(grid) == len(levels)):
        return set(grid)
    if step is None and are_even(levels):
        return levels
    raise RefusedError("the levels it describes do not fit its range or its step")
