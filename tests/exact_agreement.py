"""RMSE, macro F1 and Spearman in exact fractions, written from their definitions and not from the package's code.

An item is a dict with `ratings` (one number a person), `judge`, `levels`, `criterion` and `model`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from math import isqrt
from typing import Any

Item = dict[str, Any]


def root(square: Fraction) -> Fraction:
    """The square root, to 30 digits."""
    scale = 10**60
    return Fraction(isqrt(square.numerator * scale // square.denominator), 10**30)


def joined(ratings: Sequence[Fraction], how: str) -> list[Fraction]:
    ordered = sorted(ratings)
    if how == "each":
        return list(ratings)
    if how == "mean":
        return [sum(ordered, Fraction(0)) / len(ordered)]
    if how == "median":
        return [(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2]
    counts = Counter(ordered)
    return [min(value for value in counts if counts[value] == max(counts.values()))]


def to_level(value: Fraction, levels: Sequence[int], halfway: str) -> Fraction:
    distance = min(abs(value - level) for level in levels)
    near = sorted(level for level in levels if abs(value - level) == distance)
    if halfway == "even" and any(level % 2 == 0 for level in near):
        near = [level for level in near if level % 2 == 0]
    return Fraction(near[0] if halfway == "down" else near[-1])


def _pairs(items: Sequence[Item], choices: dict[str, str]) -> list[Item]:
    pairs = []
    for item in items:
        if choices["binary"] == "dropped" and tuple(item["levels"]) == (0, 1):
            continue
        for gold in joined(item["ratings"], choices["experts"]):
            pair = {**item, "gold": gold}
            for side, rounding in (("gold", choices["people_rounding"]), ("judge", choices["judge_rounding"])):
                level = to_level(Fraction(pair[side]), item["levels"], "up" if rounding == "none" else rounding)
                pair |= {f"{side}_class": level, side: pair[side] if rounding == "none" else level}
            pairs.append(pair)
    return pairs


def _midranks(values: Sequence[Fraction]) -> list[Fraction]:
    ordered = sorted(values)
    return [Fraction(bisect_left(ordered, value) + bisect_right(ordered, value) + 1, 2) for value in values]


def _spearman(pairs: Sequence[Item]) -> Fraction | None:
    x, y = (_midranks([pair[side] for pair in pairs]) for side in ("gold", "judge"))
    middle = Fraction(len(pairs) + 1, 2)
    spread = sum((a - middle) ** 2 for a in x) * sum((b - middle) ** 2 for b in y)
    if not spread:
        return None
    return sum(((a - middle) * (b - middle) for a, b in zip(x, y, strict=True)), Fraction(0)) / root(Fraction(spread))


def _macro_f1(pairs: Sequence[Item], classes: str) -> Fraction:
    people, judge = ({pair[side] for pair in pairs} for side in ("gold_class", "judge_class"))
    averaged = {
        "used": people | judge,
        "people": people,
        "rubric": {Fraction(level) for pair in pairs for level in pair["levels"]},
    }[classes]
    total = Fraction(0)
    for level in averaged:
        both = sum(pair["gold_class"] == level == pair["judge_class"] for pair in pairs)
        either = sum((pair["gold_class"] == level) + (pair["judge_class"] == level) for pair in pairs)
        total += Fraction(2 * both, either) if either else 0
    return total / len(averaged)


def exact_figures(items: Sequence[Item], choices: dict[str, str]) -> dict[str, float | None]:
    """The three figures; None where one is undefined."""
    pairs = _pairs(items, choices)
    key = {"pooled": None, "criteria": "criterion", "models": "model"}[choices["average"]]
    names = {None if key is None else pair[key] for pair in pairs}
    groups = [[pair for pair in pairs if key is None or pair[key] == name] for name in names]
    each: dict[str, list[Fraction | None]] = {
        "rmse": [
            root(sum(((Fraction(p["judge"]) - p["gold"]) ** 2 for p in group), Fraction(0)) / len(group))
            for group in groups
        ],
        "macro_f1": [_macro_f1(group, choices["classes"]) for group in groups],
        "spearman": [_spearman(group) for group in groups],
    }
    found: dict[str, float | None] = {}
    for name, values in each.items():
        defined = [value for value in values if value is not None]
        found[name] = float(sum(defined, Fraction(0)) / len(defined)) if defined else None
    return found
