"""The numeric scale hidden in a rubric's text: which numbers a judge may give.

Reading replies and rendering prompts live elsewhere. The one idea: a scale is what the rubric states, never
what it probably means, so anything short of two clearly stated levels is an error that quotes the rubric.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

MAX_LEVELS = 1001
MAX_LEVEL = 1e9
MAX_RUBRIC_CHARS = 100_000


class UnreadableScaleError(ValueError):
    """The rubric does not state at least two numeric levels in a way that can be read without guessing."""

    def __init__(self, rubrics: str, why: str) -> None:
        shown = rubrics if len(rubrics) <= 500 else rubrics[:500] + "…"
        super().__init__(
            f"no readable scale in this rubric: {why}. Expected at least two levels such as '0: …' and "
            "'1: …' on their own lines, a JSON object of levels, or a range such as 'от 1 до 5'. "
            f"The rubric: {shown!r}"
        )


@dataclass(frozen=True, slots=True)
class RubricScale:
    """The levels of one rubric, ascending and distinct, in the rubric's own units. At least two."""

    levels: tuple[float, ...]

    @property
    def min(self) -> float:
        return self.levels[0]

    @property
    def max(self) -> float:
        return self.levels[-1]


NUMBER = r"\d+(?:[.,]\d+)?"
SIGNED = rf"[+\-−–]?{NUMBER}"
GRADE_WORD = (
    r"(?:score|grade|rating|level|points?|mark|"
    r"оценк[аи]|балл(?:а|ов|ы)?|уровень|отметка|очк(?:о|а|ов)|вариант)"
)
_OPEN, _CLOSE = r"[\[(«\"'`]?", r"[\])»\"'`]?"

# One line that opens a level. Named parts are its style: lines of one scale look alike.
_LEVEL_LINE = re.compile(
    rf"""^(?P<indent>[ \t]*)
    (?P<bullet>(?:[-–—*•·+>]|\#{{1,6}})[ \t]+|—|•|\|[ \t]*)?
    (?P<bold>\*\*|__|\*(?=\S))?
    (?P<word>{GRADE_WORD}[ \t]*[:=№\#]?[ \t]*)?
    {_OPEN}(?P<low>{SIGNED})(?:[ \t]*(?:-|–|—|\.\.\.?|…|\bдо\b|\bto\b)[ \t]*(?P<high>{SIGNED}))?{_CLOSE}
    (?P<unit>[ \t]*{GRADE_WORD}(?!\w))?
    (?:\*\*|__|\*)?[ \t]*
    (?P<sep>:(?!\d\d\b)|=>|->|→|=|\)|\]|\||[—–](?!\d)|-(?=\s|$)|(?<=\s)-(?=\S)|\.(?=\D|$)|$)
    """,
    re.IGNORECASE | re.VERBOSE,
)
# The same inside a running line: a level starts the text or follows punctuation.
_LEVEL_INSIDE = (
    rf"(?P<word>{GRADE_WORD}\s*)?(?P<low>{SIGNED})(?:\s*{GRADE_WORD}(?!\w))?"
    r"\s*(?P<sep>:(?!\d\d\b)|=|—|–(?!\d)|(?<=\s)-(?=\s))\s*(?=\S)"
)
_INLINE_LEVEL = re.compile(rf"(?:^|(?<=[;,.|/(:!?\n—])\s*|(?<=\s)(?:и|или|and|or)\s+){_LEVEL_INSIDE}", re.IGNORECASE)
_SPACED_LEVEL = re.compile(rf"(?:\A|(?<=\s)){_LEVEL_INSIDE}", re.IGNORECASE)
_RANGE_END = (
    r"(?=\s*(?:$|[.,;:!?()\]»\"…\n]|балл|очк|point|включительно|inclusive|"
    r"где\b|where\b|с\s+шагом|with\b|step))"
)
_RANGES = (
    re.compile(rf"\b(?:от|from)\s+({SIGNED})\s+(?:до|to)\s+({SIGNED}){_RANGE_END}", re.IGNORECASE),
    re.compile(
        rf"(?:шкал\w*|оцен\w*|балл\w*|scale|rat(?:e|ing)|score)\b[^\d\n+\-−–]{{0,40}}?({SIGNED})\s*"
        rf"(?:\.\.\.?|…|[-–—]|\bto\b|\bдо\b)\s*({SIGNED}){_RANGE_END}",
        re.IGNORECASE,
    ),
    re.compile(rf"\A\s*({SIGNED})\s*(?:\.\.\.?|…|[-–—])\s*({SIGNED})\s*\Z"),
)
_STEP = re.compile(rf"(?:с\s+шагом|step(?:\s+of)?)\s*:?\s*({NUMBER})", re.IGNORECASE)
# From the mark least likely to be a list inside a description to the likeliest.
_SEPARATOR_RANK = (":", "—", "–", "-", "=", "=>", "->", "→", "|", ")", "]", ".", "")


@dataclass(frozen=True, slots=True)
class _Candidate:
    style: tuple[bool, bool, bool, str]
    indent: int
    start: int
    low: str
    high: str | None


def _number(text: str) -> float:
    return float(text.replace(",", ".").replace("−", "-").replace("–", "-")) + 0.0  # no negative zero


@lru_cache(maxsize=20_000)
def read_scale(rubrics: str) -> RubricScale:
    """Read the levels a rubric states.

    The rules, in order; the first that finds a scale decides:

    1. A JSON object keyed by numbers (also one language or name deeper), or a JSON list of such objects.
    2. Levels that open lines: optional bullet, optional bold, optional word (Score, Оценка, Балл, …), a
       number or a band of whole numbers (`1-3`), then `:`, a dash, `=`, `)`, `.` or the end of the line.
       - Lines of one scale share their style (word, bullet, bold, separator). A numbered list inside a
         description has another style or a deeper indent, and is not taken for levels.
       - Between styles, a grade word beats none, and `:` beats dashes, which beat `)` and `.`.
       - A dash and a space is a bullet (`- 1:` is level 1); a dash glued to the number is a minus (`-1:` is
         level −1), unless every line has one and one of them says `-0`: then they are bullets.
       - Two readings are an error, not a choice: a level described twice, one level beside a list written
         another way, levels of which only some are bulleted or bold.
       - If the text before the first level states a range that the described levels span from end to end
         (`от 1 до 5` over `1: …`, `3: …`, `5: …`), the levels are the range's.
    3. Levels inside one line (`0 — нет, 1 — да`), when they share a separator and only rise or only fall;
       with nothing but spaces between them (`0: нет 1: да`) they must also rise or fall evenly.
    4. A stated range: `от 1 до 5`, `from 0 to 2`, `Шкала 1–10`, `1..5`; whole numbers, or a step
       (`с шагом 0,5`). Two different ranges are an error.

    Raises UnreadableScaleError (a ValueError, with the rubric in its message) when none of them applies.
    """
    if len(rubrics) > MAX_RUBRIC_CHARS:
        raise UnreadableScaleError(rubrics, f"it is longer than {MAX_RUBRIC_CHARS:,} characters")
    text = rubrics.replace("\u00a0", " ").replace("\u202f", " ").lstrip("\ufeff")
    levels = _json_levels(rubrics, text) or _line_levels(rubrics, text)
    levels = levels or _inline_levels(text) or _range_levels(rubrics, text)
    if levels is None:
        raise UnreadableScaleError(rubrics, "fewer than two levels found")
    if max(abs(x) for x in levels) > MAX_LEVEL or len(levels) > MAX_LEVELS:
        raise UnreadableScaleError(rubrics, f"levels beyond ±{MAX_LEVEL:g} or more than {MAX_LEVELS} of them")
    return RubricScale(tuple(sorted(levels)))


def _json_levels(rubrics: str, text: str) -> set[float] | None:
    if not text.strip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None  # braces in ordinary text: the other rules look at it
    found = _levels_of_json(value)
    if found is None:
        raise UnreadableScaleError(rubrics, "it is JSON, but its keys are not levels")
    if len(set(found)) != len(found):
        raise UnreadableScaleError(rubrics, "a level is described twice")
    return set(found)


def _levels_of_json(value: Any) -> list[float] | None:
    if isinstance(value, list):
        keys = ("score", "level", "value", "grade", "балл", "оценка")
        picked = [next((i[k] for k in keys if k in i), None) for i in value if isinstance(i, dict)]
        if len(picked) != len(value) or len(picked) < 2:
            return None
        return _all_numbers([str(p) for p in picked])
    if not isinstance(value, dict):
        return None
    if len(value) >= 2 and (numbers := _all_numbers(list(value))) is not None:
        return numbers
    inner = [_levels_of_json(v) for v in value.values() if isinstance(v, dict | list)]
    stated = [levels for levels in inner if levels is not None]
    same = bool(stated) and all(set(levels) == set(stated[0]) for levels in stated)
    return stated[0] if same else None


def _all_numbers(texts: list[str]) -> list[float] | None:
    pattern = re.compile(rf"\s*(?:{GRADE_WORD}\s*)?({SIGNED})\s*(?:{GRADE_WORD}\s*)?", re.IGNORECASE)
    matches = [pattern.fullmatch(t) for t in texts]
    return [_number(m[1]) for m in matches if m] if all(matches) else None


def _line_levels(rubrics: str, text: str) -> set[float] | None:
    candidates = _candidates(text)
    if not candidates:
        return None
    best = min((c.style for c in candidates), key=_style_rank)
    alike = [c for c in candidates if c.style == best]
    least = min(c.indent for c in alike)
    outer = [c for c in alike if c.indent == least]
    chosen = outer if len(outer) >= 2 else alike  # a text cut from indented code has one outer line only
    levels = _expand(chosen)
    if levels is None:
        raise UnreadableScaleError(rubrics, "a band of levels does not end in whole numbers")
    rivals = [c for c in candidates if c.style != best and c.indent <= least]
    if len(levels) < 2:
        if len(rivals) >= 2:
            raise UnreadableScaleError(rubrics, f"level {levels[0]:g} stands beside a list written another way")
        return None
    if any((c.style[0], c.style[3]) == (best[0], best[3]) for c in rivals):
        raise UnreadableScaleError(rubrics, "some levels are written as bullets or in bold and some are not")
    if len(set(levels)) != len(levels):
        twice = next(x for x in levels if levels.count(x) > 1)
        raise UnreadableScaleError(rubrics, f"level {twice:g} is described twice")
    described = set(levels)
    stated = _stated_ranges(text[: chosen[0].start])
    spanned = [r for r in stated if described <= r and {min(r), max(r)} <= described]
    return spanned[0] if len(stated) == 1 and spanned else described


def _candidates(text: str) -> list[_Candidate]:
    found, start = [], 0
    for line in text.splitlines(keepends=True):
        body = line.rstrip()
        match = _LEVEL_LINE.match(body)
        if match and (match["sep"] or match["word"] or match["unit"] or match["bold"] or match.end() == len(body)):
            word = bool(match["word"] or match["unit"])
            style = (word, bool((match["bullet"] or "").strip()), bool(match["bold"]), match["sep"])
            indent = len(match["indent"].expandtabs(4))
            found.append(_Candidate(style, indent, start, match["low"], match["high"]))
        start += len(line)
    return found


def _style_rank(style: tuple[bool, bool, bool, str]) -> tuple[bool, int, bool, bool]:
    word, bullet, bold, separator = style
    return (not word, _SEPARATOR_RANK.index(separator), not bold, bullet)


def _expand(lines: list[_Candidate]) -> list[float] | None:
    """The levels of lines of one style, bands opened up; None when a band has no whole-number ends."""
    glued = [line.low[0] in "-−–" for line in lines]
    if all(glued) and any(_number(line.low) == 0 for line in lines):
        lines = [_Candidate(x.style, x.indent, x.start, x.low[1:], x.high) for x in lines]
    levels: list[float] = []
    for line in lines:
        if line.high is None:
            levels.append(_number(line.low))
            continue
        band = _grid(_number(line.low), _number(line.high), 1.0)
        if band is None:
            return None
        levels.extend(band)
    return levels


def _inline_levels(text: str) -> set[float] | None:
    for pattern in (_INLINE_LEVEL, _SPACED_LEVEL):
        matches = list(pattern.finditer(text))
        if len(matches) < 2 or len({(bool(m["word"]), m["sep"]) for m in matches}) != 1:
            continue
        levels = [_number(m["low"]) for m in matches]
        steps = [b - a for a, b in pairwise(levels)]
        even = pattern is _INLINE_LEVEL or len({round(step, 9) for step in steps}) == 1
        if even and (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
            return set(levels)
    return None


def _range_levels(rubrics: str, text: str) -> set[float] | None:
    stated = _stated_ranges(text)
    if len(stated) > 1:
        raise UnreadableScaleError(rubrics, f"it states {len(stated)} different ranges")
    return stated[0] if stated else None


def _stated_ranges(text: str) -> list[set[float]]:
    ends = {(_number(m[1]), _number(m[2])) for pattern in _RANGES for m in pattern.finditer(text)}
    step = _STEP.search(text)
    grids = [_grid(low, high, _number(step[1]) if step else 1.0) for low, high in map(sorted, ends)]
    return [set(grid) for grid in grids if grid]


def _grid(low: float, high: float, step: float) -> list[float] | None:
    """low, low+step, …, high; None when the step does not land on `high` or makes more than MAX_LEVELS."""
    if step <= 0 or low >= high or (step == 1.0 and not low.is_integer()):
        return None
    count = (high - low) / step
    if count < 1 or count >= MAX_LEVELS or not math.isclose(count, round(count), abs_tol=1e-9):
        return None
    return [round(low + i * step, 9) for i in range(round(count) + 1)]
