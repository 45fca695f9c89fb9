"""Levels that a text describes, each with its own description: one per line, or several within a line.

Levels of one scale are written alike. A number written in another way either belongs to a description or makes the
rubric ambiguous, and an ambiguous rubric is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pollux_dagster.core.rubrics.scale import (
    GRADE_WORD,
    LABEL,
    MAX_LEVELS,
    NUMBER,
    SIGNED,
    RefusedError,
    are_even,
    blank_out,
    make_grid,
    to_number,
)

_OPEN, _CLOSE = r"[\[(«\"'`]?", r"[\])»\"'`]?"
# One line that opens a level. The named groups are its style: lines of one scale look alike.
_LEVEL_LINE = re.compile(
    rf"""^(?P<bullet>(?:[-–—‒*•·+>]|\#{{1,6}})[ ]|—|•|\|[ ]?)?
    (?P<bold>\*\*|__|\*(?=\S))?
    (?:[\[(](?=[^\W\d]))?
    (?P<word>{GRADE_WORD}[ ]?[:=№\#]?[ ]?)?
    {_OPEN}(?P<low>{SIGNED})(?:[ ]?(?:-|–|—|‒|\.\.\.?|…|\bдо\b|\bto\b)[ ]?(?P<high>{SIGNED}))?{_CLOSE}
    (?P<unit>[ ]?{GRADE_WORD}(?!\w))?{LABEL}
    (?:\*\*|__|\*)?[ ]?
    (?P<sep>:(?!\d\d\b)|=>|->|→|=|\)|\]|\||[—–‒](?!\d)|-(?=\s|$)|(?<=\s)-(?=\S)|\.(?=\D|$)|$)
    """,
    re.IGNORECASE | re.VERBOSE,
)
# From the separator least likely to belong to a list inside a description to the likeliest. A colon and the dashes
# count as one separator, because people mix them within one scale.
_MARKS = (":", "=", "=>", "->", "→", "|", ")", "]", ".", "")
_SAME_MARK = dict.fromkeys("-–—‒", ":")
# The same within a line: a level starts the text or follows punctuation or a conjunction.
_LEVEL_INSIDE = (
    rf"(?P<word>{GRADE_WORD}\s?)?(?<!\d[.,])(?P<low>{SIGNED})(?:[-–—‒](?P<high>{NUMBER}))?(?:\s?{GRADE_WORD}(?!\w))?"
    r"\s?(?P<sep>:(?!\d\d\b)|=|—|[–‒](?!\d)|(?<=\s)-(?=\s))\s?(?=\S)"
)
_BEFORE_LEVEL = r"(?:^|(?<=[;,.|/(:!?\n—])\s?|(?<=\s)(?:и|или|а|где|and|or|where|while)\s)"
_INLINE_LEVEL = re.compile(rf"{_BEFORE_LEVEL}{_LEVEL_INSIDE}", re.IGNORECASE)
_SPACED_LEVEL = re.compile(rf"(?:\A|(?<=\s)){_LEVEL_INSIDE}", re.IGNORECASE)
_LABELLED_LEVEL = re.compile(rf"{_BEFORE_LEVEL}(?<!\d[.,])(?P<low>{SIGNED})\s?\((?=[^\W\d])", re.IGNORECASE)
_ELLIPSIS_LINE = re.compile(r"^\W{0,8}(?:\.{2,}|…)\W{0,8}$", re.MULTILINE)
_ELLIPSIS_ITEM = re.compile(r"(?P<glued>[^\s,;])?(?:\.{3}|…)[\s,;]{0,4}\Z")
_NESTED = 2  # a line this many columns deeper than its scale is part of a description


@dataclass(frozen=True, slots=True)
class LevelLine:
    """A line that may open a level. `style`: has a word, has a bullet, is bold, what separates the number."""

    style: tuple[bool, bool, bool, str]
    separator: str
    indent: int
    start: int
    head_end: int  # where its description starts
    end: int
    low: str
    high: str | None


@dataclass(frozen=True, slots=True)
class DescribedLevels:
    """Levels that a text describes. `spans`: where they are, ascending; what is said inside need not concern the scale.

    `opened`: the levels that each span opens, several for a band. `numbered`: the levels look like an ordinary numbered
    list (`1. …`), so they may not be levels at all.
    """

    levels: set[float]
    opened: list[list[float]]
    spans: list[tuple[int, int]]
    in_lines: bool
    numbered: bool = False


def level_lines(text: str) -> list[LevelLine]:
    """Every line that may open a level, from top to bottom."""
    found, start = [], 0
    for line in text.split("\n"):
        body = line.lstrip(" ")
        match = _LEVEL_LINE.match(body)
        if match and (match["sep"] or match["word"] or match["unit"] or match["bold"] or match.end() == len(body)):
            separator = match["sep"]
            mark = _SAME_MARK.get(separator, separator)
            word, bullet = bool(match["word"] or match["unit"]), bool(match["bullet"])
            style = (word, bullet, bool(match["bold"]), mark)
            indent = len(line) - len(body)
            head_end, end = start + indent + match.end(), start + len(line)
            found.append(LevelLine(style, separator, indent, start, head_end, end, match["low"], match["high"]))
        start += len(line) + 1
    return found


def line_levels(text: str, lines: list[LevelLine]) -> DescribedLevels | None:
    """The levels opened by those of `lines` that share one style; None when they open fewer than two.

    Raises RefusedError when there are two readings.
    """
    if not lines:
        return None
    best = min((line.style for line in lines), key=_style_rank)
    alike = [line for line in lines if line.style == best]
    outermost = min(line.indent for line in alike) + _NESTED
    outer = [line for line in alike if line.indent < outermost]
    chosen = outer if len(outer) >= 2 else alike  # a text cut from indented code has only one outer line
    described = _expand(chosen)
    levels = [level for each in described for level in each]
    taken = set(chosen)
    others = [line for line in lines if line not in taken]
    rivals = [line for line in others if line.style != best and line.indent < outermost]
    if len(chosen) < 2:
        if len(others) >= 2:
            raise RefusedError(f"level {levels[0]:g} stands beside a list written another way")
        return None
    if any((line.style[0], line.style[3]) == (best[0], best[3]) for line in rivals):
        raise RefusedError("some levels are written as bullets or in bold and some are not")
    if len(set(levels)) != len(levels):
        raise RefusedError(f"level {_repeated(levels):g} is described twice")
    typed_by_turns = len({line.separator for line in chosen}) > 1
    if not are_even(levels, sure=typed_by_turns) and (typed_by_turns or len({line.indent for line in chosen}) > 1):
        raise RefusedError("lines that differ in their dash or indent do not make evenly spaced levels")
    for style in {line.style for line in others}:
        same = [line for line in others if line.style == style]
        group = [level for each in _expand(same) for level in each]
        _refuse_overlooked(set(levels), group, listed=not any(line.high for line in same))
    spans = [(line.start, line.end) for line in chosen]
    word, mark = best[0], best[3]
    if mark in (":", "="):
        heads = [(line.start, line.head_end) for line in lines]
        _refuse_overlooked(set(levels), _mentioned(blank_out(text, heads), (_INLINE_LEVEL,)))
    filled = _with_ellipses(text, described, spans, in_lines=True)
    return DescribedLevels(filled, described, spans, in_lines=True, numbered=not word and mark in ".)")


def _style_rank(style: tuple[bool, bool, bool, str]) -> tuple[bool, int, bool, bool]:
    word, bullet, bold, mark = style
    return (not word, _MARKS.index(mark), not bold, bullet)


def _expand(lines: Sequence[LevelLine]) -> list[list[float]]:
    """The levels that each line of one style opens: one, or all of its band."""
    lows = [line.low for line in lines]
    if all(low[0] in "-−–" for low in lows) and any(to_number(low) == 0 for low in lows):
        lows = [low[1:] for low in lows]  # a dash glued to every number, also to 0, is a bullet
    levels: list[list[float]] = []
    for low, line in zip(lows, lines, strict=True):
        band = [to_number(low)] if line.high is None else make_grid(to_number(low), to_number(line.high), 1.0)
        if band is None:
            raise RefusedError("a band of levels does not end in whole numbers")
        levels.append(band)
        if len(levels) + len(band) > MAX_LEVELS:
            raise RefusedError(f"more than {MAX_LEVELS} levels")
    return levels


def _repeated(levels: Iterable[float]) -> float:
    seen: set[float] = set()
    return next(x for x in levels if x in seen or seen.add(x))  # type: ignore[func-returns-value]


def _refuse_overlooked(levels: set[float], group: Sequence[float], *, listed: bool = False) -> None:
    """Refuse when numbers that were not taken for levels would be levels in another reading.

    A `listed` group that counts from 1 (`1. …`, `2. …`) is a list inside a description, unless it completes the levels.
    """
    extra = {level for level in group if level not in levels}
    low, high = min(levels), max(levels)
    step = min(b - a for a, b in pairwise(sorted(levels)))
    between = sorted(level for level in extra if low < level < high)
    beside = [level for level in (low - step, high + step) if level in extra]
    counted = listed and len(group) > 1 and group[0] == 1 and all(b in (a + 1, 1) for a, b in pairwise(group))
    if counted:
        completes = are_even(levels | extra) and (bool(between) or levels.isdisjoint(group))
        overlooked = sorted(extra) if completes else []
    else:
        overlooked = between + beside
    if overlooked:
        raise RefusedError(f"{overlooked[0]:g} reads like one of its levels, but is written in another way")


def inline_levels(text: str) -> DescribedLevels | None:
    """The levels described within one line; None for fewer than two. Raises RefusedError for two readings."""
    for pattern in (_INLINE_LEVEL, _SPACED_LEVEL):
        matches = list(pattern.finditer(text))
        bands = [_inline_band(m) for m in matches]
        levels = [level for band in bands for level in band]
        steps = [b - a for a, b in pairwise(levels)]
        if len(matches) < 2 or not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
            continue
        mixed = len({(bool(m["word"]), m["sep"]) for m in matches}) > 1
        if mixed and (pattern is _SPACED_LEVEL or not are_even(levels, sure=True)):
            continue
        if pattern is _SPACED_LEVEL and not are_even(levels):
            continue
        _refuse_overlooked(set(levels), _mentioned(text, (_SPACED_LEVEL, _LABELLED_LEVEL)))
        starts = [m.start("low") for m in matches]
        last = re.compile(r"[.;)\n]|\Z").search(text, matches[-1].end())
        spans = list(pairwise([*starts, last.start() if last else len(text)]))
        return DescribedLevels(_with_ellipses(text, bands, spans, in_lines=False), bands, spans, in_lines=False)
    return None


def _inline_band(match: re.Match[str]) -> list[float]:
    if match["high"] is None:
        return [to_number(match["low"])]
    band = make_grid(to_number(match["low"]), to_number(match["high"]), 1.0)
    if band is None:
        raise RefusedError("a band of levels does not end in whole numbers")
    return band


def _mentioned(text: str, patterns: Iterable[re.Pattern[str]]) -> list[float]:
    """Numbers written like levels inside a line, except those that a dash joins to another number."""
    matches = sorted((m for pattern in patterns for m in pattern.finditer(text)), key=lambda m: m.start("low"))
    return [to_number(m["low"]) for m in matches if not text[m.end() : m.end() + 1].isdigit()]


def _with_ellipses(
    text: str, described: list[list[float]], spans: Sequence[tuple[int, int]], *, in_lines: bool
) -> set[float]:
    """The described levels and the whole numbers that an ellipsis between two of them stands for."""
    levels = {level for each in described for level in each}
    skipped: set[float] = set()
    steps: set[float] = set()
    for (before, after), (span, following) in zip(pairwise(described), pairwise(spans), strict=True):
        low, high = sorted((before, after))
        gap = low[-1], high[0]
        pause = text[span[1] : following[0]] if in_lines else text[span[0] : following[0]]
        left_out = _ELLIPSIS_LINE.search(pause) if in_lines else _ELLIPSIS_ITEM.search(pause)
        if left_out and gap[1] - gap[0] > 1:
            skipped |= set(make_grid(*gap, 1.0) or [])
            glued = not in_lines and left_out["glued"]  # "плохо… 5 — отлично": a description may just trail off
            steps.add(0.0 if glued or not gap[0].is_integer() else 1.0)
        elif in_lines or left_out is None:
            steps.add(gap[1] - gap[0])
    unfinished = in_lines and _ELLIPSIS_LINE.search(text, spans[-1][1])
    if unfinished or (skipped and steps != {1.0}):
        raise RefusedError("it leaves levels out ('…') that are not whole numbers between two described ones")
    return levels | skipped
