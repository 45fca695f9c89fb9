"""The numeric scale hidden in a rubric's text: which numbers a judge may give.

Reading replies and rendering prompts live elsewhere. The one idea: a scale is what the rubric states, never
what it probably means, so anything short of two clearly stated levels is an error that quotes the rubric.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
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


class _RefusedError(Exception):
    """Why the text has no scale; read_scale adds the text."""


NUMBER = r"\d+(?:[.,]\d+)?"
SIGNED = rf"[+\-−–]?{NUMBER}"
GRADE_WORD = (
    r"(?:score|grade|rating|level|points?|mark|"
    r"оценк[аи]|балл(?:а|ов|ы)?|уровень|отметка|очк(?:о|а|ов)|вариант)"
)
_OPEN, _CLOSE = r"[\[(«\"'`]?", r"[\])»\"'`]?"
_LABEL = r"(?:[ \t]*\([^()\n]{1,80}\))?"

# One line that opens a level. Named parts are its style: lines of one scale look alike.
_LEVEL_LINE = re.compile(
    rf"""^(?P<bullet>(?:[-–—‒*•·+>]|\#{{1,6}})[ ]|—|•|\|[ ]?)?
    (?P<bold>\*\*|__|\*(?=\S))?
    (?:[\[(](?=[^\W\d]))?
    (?P<word>{GRADE_WORD}[ ]?[:=№\#]?[ ]?)?
    {_OPEN}(?P<low>{SIGNED})(?:[ ]?(?:-|–|—|‒|\.\.\.?|…|\bдо\b|\bto\b)[ ]?(?P<high>{SIGNED}))?{_CLOSE}
    (?P<unit>[ ]?{GRADE_WORD}(?!\w))?{_LABEL}
    (?:\*\*|__|\*)?[ ]?
    (?P<sep>:(?!\d\d\b)|=>|->|→|=|\)|\]|\||[—–‒](?!\d)|-(?=\s|$)|(?<=\s)-(?=\S)|\.(?=\D|$)|$)
    """,
    re.IGNORECASE | re.VERBOSE,
)
# From the mark least likely to be a list inside a description to the likeliest. A colon and the dashes are
# one mark: people type them by turns within one scale.
_MARKS = (":", "=", "=>", "->", "→", "|", ")", "]", ".", "")
_SAME_MARK = dict.fromkeys("-–—‒", ":")
# The same inside a running line: a level starts the text or follows punctuation or a joining word.
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

_SCALE_WORD = (
    r"(?:шкал|оцен|балл|отметк|(?:по|вы|про)став|ставь|выбер|scale|rat(?:e|ing)|scor|grade|assign|choose)\w{0,12}\b"
)
_RANGE_END = (
    r"(?=\s?(?:$|[.,;:!?()\]»\"…\n]|балл|очк|point|включительно|inclusive|"
    r"где\b|where\b|с\s+шагом|шаг|with\b|in\s(?:steps|increments)|step))"
)
_TO = r"(?:до|to|and|и|по)"
_RANGES = (
    # "от 1 до 5": a scale when a word says so, perhaps one otherwise
    re.compile(
        rf"(?P<scale>{_SCALE_WORD}[^\d\n.!?]{{0,40}}?)?\b(?:от|from)\s(?P<low>{SIGNED}){_LABEL}\s(?:до|to)\s"
        rf"(?P<high>{SIGNED}){_RANGE_END}",
        re.IGNORECASE | re.MULTILINE,
    ),
    re.compile(
        rf"(?P<scale>{_SCALE_WORD}[^\d\n.!?]{{0,40}}?)\b(?:between|между)\s(?P<low>{SIGNED})\s(?:and|и)\s"
        rf"(?P<high>{SIGNED}){_RANGE_END}",
        re.IGNORECASE | re.MULTILINE,
    ),
    re.compile(
        rf"(?P<scale>{_SCALE_WORD})[^\d\n+\-−–]{{0,40}}?(?P<low>{SIGNED})\s?"
        rf"(?:\.\.\.?|…|[-–—‒]|\bto\b|\bдо\b)\s?(?P<high>{SIGNED}){_RANGE_END}",
        re.IGNORECASE | re.MULTILINE,
    ),
    # right after the word "scale" whatever follows
    re.compile(
        rf"(?P<scale>\b(?:шкал\w{{0,4}}|scale)[\s:(]{{1,3}}(?:of\s)?)(?:(?:от|from|between|между|с)\s)?(?P<low>{SIGNED})\s?"
        rf"(?:\.\.\.?|…|[-–—‒]|\b{_TO}\b)\s?(?P<high>{SIGNED})(?![\w%]|[.,]\d)",
        re.IGNORECASE,
    ),
)
_COUNTS = ["двух", "трех", "четырех", "пяти", "шести", "семи", "восьми", "девяти", "десяти"]
_COUNTS_EN = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_POINTS = re.compile(
    rf"(?<![\d.,])(?P<n>\d{{1,4}})[\s\-–]{{0,2}}(?:(?:ти|и|х|ми)[\s\-–]{{0,2}})?балл?ьн"
    rf"|\b(?P<ru>{'|'.join(_COUNTS)})[\s\-–]?балл?ьн"
    rf"|(?<![\d.,])(?P<n_en>\d{{1,4}})[\s\-–]points?\s(?:likert\s)?scale"
    rf"|\b(?P<en>{'|'.join(_COUNTS_EN)})[\s\-–]points?\s(?:likert\s)?scale",
    re.IGNORECASE,
)
_WHOLE = r"[+\-−–]?\d+"  # "0,1 или 2" may be two numbers or three
_CHOICE = re.compile(
    rf"(?:{_SCALE_WORD}[^\d\n]{{0,40}}?|^\W{{0,3}})(?P<list>(?<![\d.,\-−–]){_WHOLE}(?:,\s{_WHOLE}){{0,20}},?\s"
    rf"(?:или|либо|or)\s{_WHOLE}){_RANGE_END}"
    rf"|{_SCALE_WORD}:\s(?P<bare>{_WHOLE}(?:,\s{_WHOLE}){{1,20}}){_RANGE_END}",
    re.IGNORECASE | re.MULTILINE,
)
_STEP = re.compile(
    rf"(?:\bшагом|\bточностью\sдо|\bnearest|\bprecision\sof|\bsteps?\s(?:of|size)|\bincrements?(?:\sof)?|\bкратн\w{{1,3}})\s?(?:в\s|по\s|is\s)?[:=—–-]?\s?({NUMBER})"
    rf"|\b(?:шаг|step)\s?(?:в\s|по\s|равен\s|шкалы\s|оценки\s)?[:=—–-]?\s?(\d+[.,]\d+|\d+(?=\s?(?:$|[),;]|\.(?!\S)|балл)))",
    re.IGNORECASE | re.MULTILINE,
)
_PARTS = r"(?:половин|полубалл|дробн|десятичн|промежуточн|half\b|halves|decimal|fraction|intermediate)\w{0,8}"
_PARTS_HINT = re.compile(
    rf"\b(?:{_PARTS}|шаг(?:ом|а)?\b(?!\s?№?\s?\d+\s?[:.)])|step\b(?!\s?\d+\s?[:.)])|steps\sof\b|increment\w{{0,2}}|точност\w{{0,3}}\sдо\b|nearest\b)",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"(?<![\d.,])\d{1,9}[.,]\d{0,9}[1-9]\d{0,9}(?!\d|[.,]\d)")
_DECIMAL_END = re.compile(r"\d[.,]\d")  # "от 0.0 до 1.0" has levels between
_PARTS_ALLOWED = re.compile(
    rf"\b(?:допуст|допуска|можно|могут|разреш|возможн|allow|may\b|can\b|permit|use\b)\w{{0,8}}\W{{1,3}}(?:\w{{1,20}}\W{{1,3}}){{0,3}}{_PARTS}"
    rf"|\b{_PARTS}\W{{1,3}}(?:\w{{1,20}}\W{{1,3}}){{0,3}}(?:допуст|допуска|разреш|возможн|allow|permit|ok\b)",
    re.IGNORECASE,
)
_NESTED = 2  # columns deeper than its scale that make a line a part of a description
_HINT_BEFORE, _HINT_AFTER = 60, 120


@dataclass(frozen=True, slots=True)
class _Line:
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
class _Described:
    """Levels a text describes. `spans` are where, ascending: what is said there need not be about the scale.

    `numbered`: as a list of anything may be (`1. …`), so that they may be no levels after all.
    """

    levels: set[float]
    spans: list[tuple[int, int]]
    in_lines: bool
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class _Range:
    """A range some words name; `stated` when they say it is the scale's."""

    low: float
    high: float
    start: int
    end: int
    stated: bool


def _number(text: str) -> float:
    return float(text.replace(",", ".").replace("−", "-").replace("–", "-")) + 0.0  # no negative zero


@lru_cache(maxsize=20_000)
def read_scale(rubrics: str) -> RubricScale:
    """Read the levels a rubric states.

    The rules, in order; the first that finds levels decides:

    1. A JSON object keyed by numbers (also one language or name deeper), or a JSON list of such objects.
    2. Levels that open lines: optional bullet, optional bold, optional word (Score, Оценка, Балл, …), a
       number or a band of whole numbers (`1-3`), perhaps a label in parentheses, then `:`, a dash, `=`, `)`,
       `.` or the end of the line.
       - Lines of one scale share their style (word, bullet, bold, separator; `:` and every dash are one
         separator). A numbered list inside a description has another style, or is two columns deeper.
       - Between styles, a grade word beats none, and `:` and dashes beat `)` and `.`.
       - A dash and a space is a bullet (`- 1:` is level 1); a dash glued to the number is a minus (`-1:` is
         level −1), unless every line has one and one of them says `-0`: then they are bullets.
       - Lines that differ in their dash or by a column are one scale when their levels are evenly spaced.
       - A line of nothing but `…` between whole levels stands for the whole numbers left out there.
       - Two readings are an error, not a choice: a level described twice, one level beside a list written
         another way, levels of which only some are bulleted or bold, a line or a place within one that reads
         like a level missing between the others or one step beside them.
    3. Levels inside one line (`0 — нет, 1 — да`), when they only rise or only fall; with nothing but spaces
       between them (`0: нет 1: да`) or with different separators they must also rise or fall evenly.
    4. A stated range: `от 1 до 5`, `from 0 to 2`, `Шкала 1–10`, `1..5`; whole numbers, or a stated step
       (`с шагом 0,5`). Two different ranges are an error, and so is a mention of halves without a step.
    5. A choice: `Оценка: 0 или 1`, `Score 0, 1 or 2`.

    A range stated beside described levels is part of the scale. Where it starts and ends as they do, the levels
    are the range's (`от 1 до 5, где 1 — плохо, 5 — отлично` has five); where it does not, the rubric is refused.
    `10-балльная шкала` is such a range once levels 1 and 10, or 0 and 10, are described. A range no word calls
    the scale's (`от 1 до 5` in a description) says nothing where whole levels are described without a gap.

    Raises UnreadableScaleError (a ValueError, with the rubric in its message) when none of them applies. Takes
    time linear in the length of the text.
    """
    if len(rubrics) > MAX_RUBRIC_CHARS:
        raise UnreadableScaleError(rubrics, f"it is longer than {MAX_RUBRIC_CHARS:,} characters")
    try:
        levels = _json_levels(rubrics.lstrip("\ufeff")) or _text_levels(_tidy(rubrics))
    except _RefusedError as refused:
        raise UnreadableScaleError(rubrics, str(refused)) from None
    if len(levels) < 2:
        raise UnreadableScaleError(rubrics, "it names one level only")
    if max(abs(x) for x in levels) > MAX_LEVEL or len(levels) > MAX_LEVELS:
        raise UnreadableScaleError(rubrics, f"levels beyond ±{MAX_LEVEL:g} or more than {MAX_LEVELS} of them")
    return RubricScale(tuple(sorted(levels)))


def read_level_keys(keys: Sequence[str]) -> RubricScale:
    """The levels that the keys of an object of levels name: numbers, also with a word, or bands (`1-3`).

    Raises UnreadableScaleError when they are not levels, fewer than two, or name one twice.
    """
    numbers = _all_numbers(keys)
    if numbers is None:
        return read_scale("\n".join(f"{key}: …" for key in keys))
    if len(set(numbers)) < max(2, len(numbers)):
        raise UnreadableScaleError("\n".join(keys), "fewer than two levels, or one described twice")
    return RubricScale(tuple(sorted(numbers)))


def _tidy(rubrics: str) -> str:
    """The text without blank lines and with single spaces, so that no pattern has a run of them to try in many ways.

    A first line deeper than all others was pasted with its margin.
    """
    lines = [line.rstrip() for line in rubrics.lstrip("\ufeff").expandtabs(4).splitlines()]
    bodies = [(len(line) - len(line.lstrip()), " ".join(line.split())) for line in lines if line]
    if len(bodies) > 1:
        bodies[0] = (min(bodies[0][0], min(indent for indent, _ in bodies[1:])), bodies[0][1])
    return "\n".join(" " * indent + body for indent, body in bodies)


def _text_levels(text: str) -> set[float]:
    lines = _lines(text)
    alike = Counter(line.style for line in lines)
    # "1–5" or "Оценка 1–5:" on its own states a range; described, it is levels.
    bands = {x for x in lines if x.high and alike[x.style] == 1 and x.head_end == x.end}
    ranges = [*_ranges(text), *(_band_range(line) for line in bands)]
    described = _line_levels(text, [line for line in lines if line not in bands])
    described = described or _inline_levels(_without(text, [(r.start, r.end) for r in ranges]))
    if described is None:
        return _range_levels(text, ranges)
    return _settled(text, described, ranges)


def _json_levels(text: str) -> set[float] | None:
    if not text.strip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None  # braces in ordinary text: the other rules look at it
    found = _levels_of_json(value)
    if found is None:
        raise _RefusedError("it is JSON, but its keys are not levels")
    if len(set(found)) != len(found):
        raise _RefusedError("a level is described twice")
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


def _all_numbers(texts: Sequence[str]) -> list[float] | None:
    pattern = re.compile(rf"\s*(?:{GRADE_WORD}\s*)?({SIGNED})\s*(?:{GRADE_WORD}\s*)?", re.IGNORECASE)
    matches = [pattern.fullmatch(t) for t in texts]
    return [_number(m[1]) for m in matches if m] if all(matches) else None


def _lines(text: str) -> list[_Line]:
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
            found.append(_Line(style, separator, indent, start, head_end, end, match["low"], match["high"]))
        start += len(line) + 1
    return found


def _line_levels(text: str, lines: list[_Line]) -> _Described | None:
    if not lines:
        return None
    best = min((line.style for line in lines), key=_style_rank)
    alike = [line for line in lines if line.style == best]
    outermost = min(line.indent for line in alike) + _NESTED
    outer = [line for line in alike if line.indent < outermost]
    chosen = outer if len(outer) >= 2 else alike  # a text cut from indented code has one outer line only
    described = _expand(chosen)
    levels = [level for each in described for level in each]
    taken = set(chosen)
    others = [line for line in lines if line not in taken]
    rivals = [line for line in others if line.style != best and line.indent < outermost]
    if len(chosen) < 2:
        if len(others) >= 2:
            raise _RefusedError(f"level {levels[0]:g} stands beside a list written another way")
        return None
    if any((line.style[0], line.style[3]) == (best[0], best[3]) for line in rivals):
        raise _RefusedError("some levels are written as bullets or in bold and some are not")
    if len(set(levels)) != len(levels):
        raise _RefusedError(f"level {_repeated(levels):g} is described twice")
    typed_by_turns = len({line.separator for line in chosen}) > 1
    if not _even(levels, sure=typed_by_turns) and (typed_by_turns or len({line.indent for line in chosen}) > 1):
        raise _RefusedError("lines that differ in their dash or indent do not make evenly spaced levels")
    for style in {line.style for line in others}:
        same = [line for line in others if line.style == style]
        group = [level for each in _expand(same) for level in each]
        _refuse_overlooked(set(levels), group, listed=not any(line.high for line in same))
    spans = [(line.start, line.end) for line in chosen]
    word, mark = best[0], best[3]
    if mark in (":", "="):
        heads = [(line.start, line.head_end) for line in lines]
        _refuse_overlooked(set(levels), _mentioned(_without(text, heads), (_INLINE_LEVEL,)))
    return _Described(_with_ellipses(text, described, spans, in_lines=True), spans, True, not word and mark in ".)")


def _style_rank(style: tuple[bool, bool, bool, str]) -> tuple[bool, int, bool, bool]:
    word, bullet, bold, mark = style
    return (not word, _MARKS.index(mark), not bold, bullet)


def _expand(lines: Sequence[_Line]) -> list[list[float]]:
    """The levels each line of one style opens: one, or those of its band."""
    lows = [line.low for line in lines]
    if all(low[0] in "-−–" for low in lows) and any(_number(low) == 0 for low in lows):
        lows = [low[1:] for low in lows]  # a glued dash everywhere, also before 0, is a bullet
    levels: list[list[float]] = []
    for low, line in zip(lows, lines, strict=True):
        band = [_number(low)] if line.high is None else _grid(_number(low), _number(line.high), 1.0)
        if band is None:
            raise _RefusedError("a band of levels does not end in whole numbers")
        levels.append(band)
        if len(levels) + len(band) > MAX_LEVELS:
            raise _RefusedError(f"more than {MAX_LEVELS} levels")
    return levels


def _repeated(levels: Iterable[float]) -> float:
    seen: set[float] = set()
    return next(x for x in levels if x in seen or seen.add(x))  # type: ignore[func-returns-value]


def _even(levels: Iterable[float], *, sure: bool = False) -> bool:
    """Whether the levels are evenly spaced. `sure`: as two numbers always are, two must be one apart."""
    ordered = sorted(levels)
    steps = {round(b - a, 9) for a, b in pairwise(ordered)}
    return len(steps) == 1 and 0 not in steps and (not sure or len(ordered) > 2 or steps == {1.0})


def _refuse_overlooked(levels: set[float], group: Sequence[float], *, listed: bool = False) -> None:
    """Refuse when a group of numbers not taken for levels would be levels in another reading.

    A `listed` group that counts from 1 (`1. …`, `2. …`) is a list inside a description, unless it completes the levels.
    """
    extra = {level for level in group if level not in levels}
    low, high = min(levels), max(levels)
    step = min(b - a for a, b in pairwise(sorted(levels)))
    between = sorted(level for level in extra if low < level < high)
    beside = [level for level in (low - step, high + step) if level in extra]
    counted = listed and len(group) > 1 and group[0] == 1 and all(b in (a + 1, 1) for a, b in pairwise(group))
    if counted:
        completes = _even(levels | extra) and (bool(between) or levels.isdisjoint(group))
        overlooked = sorted(extra) if completes else []
    else:
        overlooked = between + beside
    if overlooked:
        raise _RefusedError(f"{overlooked[0]:g} reads like one of its levels, but is written in another way")


def _inline_levels(text: str) -> _Described | None:
    for pattern in (_INLINE_LEVEL, _SPACED_LEVEL):
        matches = list(pattern.finditer(text))
        bands = [_inline_band(m) for m in matches]
        levels = [level for band in bands for level in band]
        steps = [b - a for a, b in pairwise(levels)]
        if len(matches) < 2 or not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
            continue
        mixed = len({(bool(m["word"]), m["sep"]) for m in matches}) > 1
        if mixed and (pattern is _SPACED_LEVEL or not _even(levels, sure=True)):
            continue
        if pattern is _SPACED_LEVEL and not _even(levels):
            continue
        _refuse_overlooked(set(levels), _mentioned(text, (_SPACED_LEVEL, _LABELLED_LEVEL)))
        starts = [m.start("low") for m in matches]
        last = re.compile(r"[.;)\n]|\Z").search(text, matches[-1].end())
        spans = list(pairwise([*starts, last.start() if last else len(text)]))
        return _Described(_with_ellipses(text, bands, spans, in_lines=False), spans, in_lines=False)
    return None


def _inline_band(match: re.Match[str]) -> list[float]:
    if match["high"] is None:
        return [_number(match["low"])]
    band = _grid(_number(match["low"]), _number(match["high"]), 1.0)
    if band is None:
        raise _RefusedError("a band of levels does not end in whole numbers")
    return band


def _mentioned(text: str, patterns: Iterable[re.Pattern[str]]) -> list[float]:
    """Numbers written like levels inside a line, but for those that a dash joins to another number."""
    matches = sorted((m for pattern in patterns for m in pattern.finditer(text)), key=lambda m: m.start("low"))
    return [_number(m["low"]) for m in matches if not text[m.end() : m.end() + 1].isdigit()]


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
            skipped |= set(_grid(*gap, 1.0) or [])
            glued = not in_lines and left_out["glued"]  # "плохо… 5 — отлично": a description may just trail off
            steps.add(0.0 if glued or not gap[0].is_integer() else 1.0)
        elif in_lines or left_out is None:
            steps.add(gap[1] - gap[0])
    unfinished = in_lines and _ELLIPSIS_LINE.search(text, spans[-1][1])
    if unfinished or (skipped and steps != {1.0}):
        raise _RefusedError("it leaves levels out ('…') that are not whole numbers between two described ones")
    return levels | skipped


def _ranges(text: str) -> list[_Range]:
    found = []
    for pattern in _RANGES:
        for match in pattern.finditer(text):
            low, high = sorted((_number(match["low"]), _number(match["high"])))
            found.append(_Range(low, high, match.start("low"), match.end("high"), match["scale"] is not None))
    return [r for r in found if r.low < r.high]


def _band_range(line: _Line) -> _Range:
    low, high = sorted((_number(line.low), _number(line.high or line.low)))
    return _Range(low, high, line.start, line.end, stated=True)


def _settled(text: str, described: _Described, ranges: Sequence[_Range]) -> set[float]:
    """Described levels together with the ranges stated beside them."""
    levels, spans = described.levels, described.spans
    low, high = min(levels), max(levels)
    complete = low.is_integer() and len(levels) == high - low + 1 and _even(levels)
    outside = _without(text, spans)
    step = _step(outside if described.in_lines else text)
    speaking = [r for r in ranges if _is_about_the_scale(r, described, complete=complete)]
    for stated in speaking:
        if (stated.low, stated.high) != (low, high):
            raise _RefusedError(
                f"it states {stated.low:g} to {stated.high:g}, but the levels it describes go from {low:g} to {high:g}"
            )
    whole_text = not (described.in_lines and complete)
    sizes = _points(text if whole_text else outside)
    if any(not (complete and size == len(levels)) and (size != high or low not in (0, 1)) for size in sizes):
        raise _RefusedError(f"it names a scale of {min(sizes):g} points, but describes levels {low:g} to {high:g}")
    _refuse_parts(outside, speaking if all(level.is_integer() for level in levels) else (), step)
    filled = bool(speaking) or any(size != len(levels) for size in sizes)
    result = levels if not filled and step is None else _filled(levels, step, ranged=filled)
    if not all(set(choice) <= result for choice in _choices(outside)):
        raise _RefusedError("it offers a choice of numbers that are not all among its levels")
    return result


def _is_about_the_scale(r: _Range, described: _Described, *, complete: bool) -> bool:
    at = bisect_right(described.spans, (r.start, math.inf)) - 1
    inside = at >= 0 and r.start < described.spans[at][1]
    if r.stated:
        return not (inside and complete and described.in_lines and not described.numbered)
    same = (r.low, r.high) == (min(described.levels), max(described.levels))
    if inside and same and not complete:
        raise _RefusedError("a range inside a description may be the scale's or not")
    return not inside and (same or not complete)


def _filled(levels: set[float], step: float | None, *, ranged: bool) -> set[float]:
    """Every level from the lowest described to the highest: in the stated step, else whole, else as described."""
    grid = _grid(min(levels), max(levels), step or 1.0) if ranged or step is not None else None
    if grid is not None and levels <= set(grid) and (ranged or len(grid) == len(levels)):
        return set(grid)
    if step is None and _even(levels):
        return levels
    raise _RefusedError("the levels it describes do not fit its range or its step")


def _range_levels(text: str, ranges: Sequence[_Range]) -> set[float]:
    step = _step(text)
    _refuse_parts(text, ranges, step)
    usable = [r for r in ranges if r.stated or r.high - r.low < MAX_LEVELS]  # "от 100 до 5000" counts words
    grids = {(r.low, r.high): _grid(r.low, r.high, step or 1.0) for r in usable}
    if len(grids) > 1:
        raise _RefusedError(f"it states {len(grids)} different ranges")
    if grids:
        ((low, high), grid), *_ = grids.items()
        if grid is None:
            raise _RefusedError(f"{low:g} to {high:g} is not a range of at most {MAX_LEVELS} whole levels or steps")
        if any(size != len(grid) and (size != high or low not in (0, 1)) for size in _points(text)):
            raise _RefusedError(f"it names a scale of other points than the range {low:g} to {high:g}")
        if not all(choice <= set(grid) for choice in _choices(text)):
            raise _RefusedError("it offers a choice of numbers that are not all in its range")
        return set(grid)
    choices = {frozenset(choice) for choice in _choices(text)}
    if len(choices) == 1 and not _PARTS_ALLOWED.search(text):
        return set(choices.pop())
    if _points(text):
        raise _RefusedError("it says how many points its scale has, but not where it starts")
    raise _RefusedError("fewer than two levels found")


def _step(text: str) -> float | None:
    steps = {_number(m[1] or m[2]) for m in _STEP.finditer(text)}
    if len(steps) > 1:
        raise _RefusedError("it states two different steps")
    return steps.pop() if steps else None


def _refuse_parts(outside: str, ranges: Iterable[_Range], step: float | None) -> None:
    """Refuse when levels between whole numbers are allowed and the text does not say which."""
    if step is not None:
        return
    hint = _PARTS_ALLOWED.search(outside)
    hinted, fractions = _PARTS_HINT.search(outside), _FRACTION.search(outside)  # most texts have neither
    for r in ranges:
        near = max(0, r.start - _HINT_BEFORE), r.end + _HINT_AFTER
        hint = hint or _DECIMAL_END.search(outside, r.start, r.end)
        if hinted:
            hint = hint or _PARTS_HINT.search(outside, *near)
        if fractions and r.low.is_integer() and r.high.is_integer():
            hint = hint or next((m for m in _FRACTION.finditer(outside, *near) if r.low < _number(m[0]) < r.high), None)
    if hint:
        raise _RefusedError(f"it speaks of levels between its levels ({hint[0]!r}) without a step such as 'шаг 0,5'")


def _points(text: str) -> set[float]:
    """N of `N-балльная шкала`, also in words."""
    sizes = set()
    for match in _POINTS.finditer(text.replace("ё", "е")):
        word, words = (match["ru"], _COUNTS) if match["ru"] else (match["en"], _COUNTS_EN)
        sizes.add(words.index(word.lower()) + 2.0 if word else float(match["n"] or match["n_en"]))
    return sizes


def _choices(text: str) -> list[set[float]]:
    return [{_number(n) for n in re.findall(_WHOLE, m["list"] or m["bare"])} for m in _CHOICE.finditer(text)]


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with these spans blank; everything else stays where it was."""
    parts, at = [], 0
    for start, end in sorted(spans):
        if end > at:
            parts += [text[at : max(start, at)], "\t" * (end - max(start, at))]
            at = end
    return "".join([*parts, text[at:]])


def _grid(low: float, high: float, step: float) -> list[float] | None:
    """low, low+step, …, high; None when the step does not land on `high` or makes more than MAX_LEVELS."""
    if step <= 0 or low >= high or (step == 1.0 and not low.is_integer()):
        return None
    count = (high - low) / step
    if count < 1 or count >= MAX_LEVELS or not math.isclose(count, round(count), abs_tol=1e-9):
        return None
    return [round(low + i * step, 9) for i in range(round(count) + 1)]
