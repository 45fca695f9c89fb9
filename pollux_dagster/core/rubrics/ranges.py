"""Scales that a text states without describing each level: ranges, steps, sizes and choices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pollux_dagster.core.rubrics.scale import LABEL, MAX_LEVELS, NUMBER, SIGNED, RefusedError, make_grid, to_number

_SCALE_WORD = (
    r"(?:шкал|оцен|балл|отметк|(?:по|вы|про)став|ставь|выбер|scale|rat(?:e|ing)|scor|grade|assign|choose)\w{0,12}\b"
)
_RANGE_END = (
    r"(?=\s?(?:$|[.,;:!?()\]»\"…\n]|балл|очк|point|включительно|inclusive|"
    r"где\b|where\b|с\s+шагом|шаг|with\b|in\s(?:steps|increments)|step))"
)
_TO = r"(?:до|to|and|и|по)"
_RANGES = (
    # "от 1 до 5": a scale when a word says so, otherwise only perhaps
    re.compile(
        rf"(?P<scale>{_SCALE_WORD}[^\d\n.!?]{{0,40}}?)?\b(?:от|from)\s(?P<low>{SIGNED}){LABEL}\s(?:до|to)\s"
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
    # right after the word "scale" any range counts
    re.compile(
        rf"(?P<scale>\b(?:шкал\w{{0,4}}|scale)[\s:(]{{1,3}}(?:of\s)?)(?:(?:от|from|between|между|с)\s)?(?P<low>{SIGNED})\s?"
        rf"(?:\.\.\.?|…|[-–—‒]|\b{_TO}\b)\s?(?P<high>{SIGNED})(?![\w%]|[.,]\d)",
        re.IGNORECASE,
    ),
)
_LABELLED_ENDS = re.compile(
    rf"({SIGNED})[ \t]*\(([^()\n]{{1,80}})\)\s?(?:\.\.\.?|…|[-–—‒]|\b{_TO}\b)\s?({SIGNED})[ \t]*\(([^()\n]{{1,80}})\)",
    re.IGNORECASE,
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
_WHOLE = r"[+\-−–]?\d+"  # "0,1 или 2" may mean two numbers or three
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
_DECIMAL_END = re.compile(r"\d[.,]\d")  # "от 0.0 до 1.0" has levels in between
_PARTS_ALLOWED = re.compile(
    rf"\b(?:допуст|допуска|можно|могут|разреш|возможн|allow|may\b|can\b|permit|use\b)\w{{0,8}}\W{{1,3}}(?:\w{{1,20}}\W{{1,3}}){{0,3}}{_PARTS}"
    rf"|\b{_PARTS}\W{{1,3}}(?:\w{{1,20}}\W{{1,3}}){{0,3}}(?:допуст|допуска|разреш|возможн|allow|permit|ok\b)",
    re.IGNORECASE,
)
_HINT_BEFORE, _HINT_AFTER = 60, 120


@dataclass(frozen=True, slots=True)
class Range:
    """A range that the text names; `stated` when its words say that it is the scale's."""

    low: float
    high: float
    start: int
    end: int
    stated: bool


def find_ranges(text: str) -> list[Range]:
    """Every range in the text, whether it is the scale's or not."""
    found = []
    for pattern in _RANGES:
        for match in pattern.finditer(text):
            low, high = sorted((to_number(match["low"]), to_number(match["high"])))
            found.append(Range(low, high, match.start("low"), match.end("high"), match["scale"] is not None))
    return [r for r in found if r.low < r.high]


def labelled_ends(text: str) -> dict[float, str]:
    """The labels of both ends of `от 1 (плохо) до 5 (отлично)`, by level; empty where no range has both."""
    match = _LABELLED_ENDS.search(text)
    return {} if match is None else {to_number(match[1]): match[2], to_number(match[3]): match[4]}


def range_levels(text: str, ranges: Sequence[Range]) -> set[float]:
    """The levels of a text that describes none: its one range or choice. Raises RefusedError without one."""
    step = find_step(text)
    refuse_parts(text, ranges, step)
    usable = [r for r in ranges if r.stated or r.high - r.low < MAX_LEVELS]  # "от 100 до 5000" counts words
    grids = {(r.low, r.high): make_grid(r.low, r.high, step or 1.0) for r in usable}
    if len(grids) > 1:
        raise RefusedError(f"it states {len(grids)} different ranges")
    if grids:
        ((low, high), grid), *_ = grids.items()
        if grid is None:
            raise RefusedError(f"{low:g} to {high:g} is not a range of at most {MAX_LEVELS} whole levels or steps")
        if any(size != len(grid) and (size != high or low not in (0, 1)) for size in find_points(text)):
            raise RefusedError(f"it names a scale of other points than the range {low:g} to {high:g}")
        if not all(choice <= set(grid) for choice in find_choices(text)):
            raise RefusedError("it offers a choice of numbers that are not all in its range")
        return set(grid)
    choices = {frozenset(choice) for choice in find_choices(text)}
    if len(choices) == 1 and not _PARTS_ALLOWED.search(text):
        return set(choices.pop())
    if find_points(text):
        raise RefusedError("it says how many points its scale has, but not where it starts")
    raise RefusedError("fewer than two levels found")


def find_step(text: str) -> float | None:
    """The step between levels that the text states; raises RefusedError when it states two."""
    steps = {to_number(m[1] or m[2]) for m in _STEP.finditer(text)}
    if len(steps) > 1:
        raise RefusedError("it states two different steps")
    return steps.pop() if steps else None


def refuse_parts(outside: str, ranges: Iterable[Range], step: float | None) -> None:
    """Refuse when the text allows levels between whole numbers and does not say which. Raises RefusedError."""
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
            hint = hint or next(
                (m for m in _FRACTION.finditer(outside, *near) if r.low < to_number(m[0]) < r.high), None
            )
    if hint:
        raise RefusedError(f"it speaks of levels between its levels ({hint[0]!r}) without a step such as 'шаг 0,5'")


def find_points(text: str) -> set[float]:
    """The N of every `N-балльная шкала`, also where N is written as a word."""
    sizes = set()
    for match in _POINTS.finditer(text.replace("ё", "е")):
        word, words = (match["ru"], _COUNTS) if match["ru"] else (match["en"], _COUNTS_EN)
        sizes.add(words.index(word.lower()) + 2.0 if word else float(match["n"] or match["n_en"]))
    return sizes


def find_choices(text: str) -> list[set[float]]:
    """The numbers of each choice such as `0, 1 or 2`."""
    return [{to_number(n) for n in re.findall(_WHOLE, m["list"] or m["bare"])} for m in _CHOICE.finditer(text)]
