"""RMSE, macro F1 and Spearman of a judge against people under every choice that a published table leaves open.

A table of judges says which figures it holds, but seldom how several experts became one number, what was rounded, which
criteria were left out, or over what was averaged. Each such choice is a field of `Choices`; `every_choice` lists the
combinations that can make a difference on the data at hand, and `figures` computes one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, cast

import numpy as np

from pollux_dagster.core.statistics import Aggregation
from pollux_dagster.core.statistics.agreement import (
    TRANSFORMS,
    ClassesOfF1,
    Estimate,
    contingency,
    jackknife,
    macro_f1,
    nearest_level,
    rmse,
    spearman,
)
from pollux_dagster.core.statistics.clusters import Booleans, Floats, Integers
from pollux_dagster.core.statistics.reliability import aggregate_ratings

Rounding = Literal["none", "up", "even", "down"]
FIGURES = ("rmse", "macro_f1", "spearman")


@dataclass(frozen=True, slots=True)
class Choices:
    """How ratings and verdicts become the three figures.

    - experts: one number for each item from its ratings (mean, median, mode), or each rating an item of its own.
    - people_rounding, judge_rounding: "none", or to the nearest level of the criterion, a number halfway between two
      going "up", to the "even" one (as Python's round) or "down". Classes for macro F1 are always levels: what is not
      rounded goes to the nearest one, halfway up.
    - binary: whether criteria of the two levels 0 and 1 are "kept" or "dropped".
    - average: over all items ("pooled"), or the mean of the figures of each criterion ("criteria") or of each answering
      model ("models"); a group in which a figure is undefined has no part in its mean.
    - classes: the classes that macro F1 averages over (`agreement.macro_f1`).
    """

    experts: Literal[Aggregation, "each"] = "mean"
    people_rounding: Rounding = "none"
    judge_rounding: Rounding = "none"
    binary: Literal["kept", "dropped"] = "kept"
    average: Literal["pooled", "criteria", "models"] = "pooled"
    classes: ClassesOfF1 = "used"


OPTIONS: Mapping[str, tuple[str, ...]] = {
    "experts": ("mean", "median", "mode", "each"),
    "people_rounding": ("none", "up", "even", "down"),
    "judge_rounding": ("none", "up", "even", "down"),
    "binary": ("kept", "dropped"),
    "average": ("pooled", "criteria", "models"),
    "classes": ("used", "people", "rubric"),
}
"""The values of each field of `Choices`, its default first."""


@dataclass(frozen=True, slots=True)
class RatedItems:
    """Items (one criterion of one answer) with the judge's score and people's ratings.

    `rating` and `item` are (ratings,): a person's score and the index of its item. The others are (items,): the judge's
    score and codes of criterion, instruction and answering model. `scales` has the ascending levels of each criterion
    by its code.
    """

    rating: Floats
    item: Integers
    judge: Floats
    criterion: Integers
    instruction: Integers
    model: Integers
    scales: tuple[Floats, ...]

    def __len__(self) -> int:
        return len(self.judge)

    def only(self, keep: Booleans) -> RatedItems:
        """The items for which `keep` (items,) is true."""
        kept = keep[self.item]
        place = np.cumsum(keep) - 1
        return RatedItems(
            self.rating[kept],
            place[self.item[kept]],
            self.judge[keep],
            self.criterion[keep],
            self.instruction[keep],
            self.model[keep],
            self.scales,
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """The three figures of one combination on one set of items, and on how many items and instructions."""

    n: int
    instructions: int
    figures: dict[str, Estimate]


def every_choice(items: RatedItems, fixed: Mapping[str, str]) -> list[Choices]:
    """The combinations of choices that can differ on these items; the fields in `fixed` have only the value given.

    A choice that cannot matter (how to round whole numbers, how to join one rating) has its default alone. Raises
    ValueError for a value that a field does not have.
    """
    for name, value in fixed.items():
        if value not in OPTIONS[name]:
            raise ValueError(f"{name.replace('_', ' ')}: expected one of {', '.join(OPTIONS[name])}, got {value!r}")
    has_several = len(items.item) > len(items)
    is_binary = _binary(items)
    matters = {
        "experts": has_several,
        "judge_rounding": _off_level(items.judge, items.criterion, items.scales),
        "binary": bool(is_binary.any() and not is_binary.all()),
        "average": bool(np.ptp(items.criterion) or np.ptp(items.model)) if len(items) else False,
        "classes": True,
    }
    values: dict[str, tuple[Any, ...]] = {
        name: OPTIONS[name] if matter else OPTIONS[name][:1] for name, matter in matters.items()
    }
    values |= {name: (value,) for name, value in fixed.items()}
    found = []
    for experts in values["experts"]:
        gold, at = _joined(items, experts)
        fraction = _off_level(gold, items.criterion[at], items.scales)
        roundings = values.get("people_rounding") or (OPTIONS["people_rounding"] if fraction else ("none",))
        others = (values[name] for name in ("judge_rounding", "binary", "average", "classes"))
        found += [Choices(experts, *rest) for rest in product(roundings, *others)]
    return found


def figures(items: RatedItems, choices: Choices) -> Measured:
    """The three figures with their intervals, which leave out one instruction at a time.

    The interval is a jackknife's, as that of `agreement.agreement`.
    """
    pairs = _pairs(items, choices)
    names, cluster = np.unique(pairs.instruction, return_inverse=True)
    values = _values(pairs, choices.average, cluster, len(names))
    values["macro_f1"] = values.pop(choices.classes)
    estimates = {name: jackknife(values[name], len(names), TRANSFORMS[name], 0.95) for name in FIGURES}
    return Measured(len(pairs.gold), len(names), estimates)


def all_figures(items: RatedItems, combinations: list[Choices]) -> Iterator[tuple[Choices, dict[str, float]]]:
    """The three figures of many combinations, without intervals; those that differ only in classes share one pass."""
    known: dict[tuple[object, ...], dict[str, Floats]] = {}
    for choices in combinations:
        key = (choices.experts, choices.people_rounding, choices.judge_rounding, choices.binary, choices.average)
        if key not in known:
            pairs = _pairs(items, choices)
            known = {key: _values(pairs, choices.average, np.zeros(len(pairs.gold), dtype=np.int64), 1)}
        values = known[key]
        yield (
            choices,
            {
                "rmse": float(values["rmse"][0]),
                "macro_f1": float(values[choices.classes][0]),
                "spearman": float(values["spearman"][0]),
            },
        )


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Gold and judge scores that are compared, and the level that each of them stands for: all are (pairs,)."""

    gold: Floats
    judge: Floats
    gold_class: Floats
    judge_class: Floats
    criterion: Integers
    instruction: Integers
    model: Integers
    scales: tuple[Floats, ...]


def _pairs(items: RatedItems, choices: Choices) -> _Pairs:
    kept = items.only(~_binary(items)) if choices.binary == "dropped" else items
    gold, at = _joined(kept, choices.experts)
    criterion, judge = kept.criterion[at], kept.judge[at]
    sides = []
    for values, rounding in ((gold, choices.people_rounding), (judge, choices.judge_rounding)):
        level = _to_level(values, criterion, kept.scales, "up" if rounding == "none" else rounding)
        sides.append((values if rounding == "none" else level, level))
    (gold, gold_class), (judge, judge_class) = sides
    return _Pairs(
        gold, judge, gold_class, judge_class, criterion, kept.instruction[at], kept.model[at], kept.scales
    )  # fmt: skip


def _joined(items: RatedItems, experts: str) -> tuple[Floats, Integers]:
    """People's number of each pair, and the index of its item."""
    if experts == "each":
        return items.rating, items.item
    gold, _ = aggregate_ratings(items.rating, items.item, len(items), cast("Aggregation", experts))
    return gold, np.arange(len(items))


def _values(pairs: _Pairs, average: str, clusters: Integers, n_clusters: int) -> dict[str, Floats]:
    """RMSE, Spearman and macro F1 over each set of classes: of all items, then without each cluster in turn."""
    group = {"pooled": np.zeros_like(pairs.criterion), "criteria": pairs.criterion, "models": pairs.model}[average]
    each: dict[str, list[Floats]] = {name: [] for name in ("rmse", "spearman", *OPTIONS["classes"])}
    for code in np.unique(group):
        rows = group == code
        scale = np.unique(np.concatenate([pairs.scales[c] for c in np.unique(pairs.criterion[rows])]))
        tables = contingency(
            pairs.gold[rows], pairs.judge[rows], clusters[rows], n_clusters, scale,
            (pairs.gold_class[rows], pairs.judge_class[rows]),
        )  # fmt: skip
        each["rmse"].append(rmse(tables))
        each["spearman"].append(spearman(tables))
        for classes in OPTIONS["classes"]:
            each[classes].append(macro_f1(tables.confusion, cast("ClassesOfF1", classes)))
    return {name: _mean_of_defined(values, 1 + n_clusters) for name, values in each.items()}


def _mean_of_defined(groups: list[Floats], length: int) -> Floats:
    """The mean over groups of (length,) figures, without those that are undefined; NaN where none is defined."""
    if not groups:
        return np.full(length, np.nan)
    stacked = np.stack(groups)
    defined = np.isfinite(stacked)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: Floats = np.where(defined, stacked, 0.0).sum(axis=0) / defined.sum(axis=0)
    return mean


def _binary(items: RatedItems) -> Booleans:
    """Whether the criterion of each item has exactly the levels 0 and 1."""
    is_binary = np.array([np.array_equal(scale, (0.0, 1.0)) for scale in items.scales], dtype=np.bool_)
    found: Booleans = is_binary[items.criterion]
    return found


def _to_level(values: Floats, criterion: Integers, scales: tuple[Floats, ...], halfway: str) -> Floats:
    """The nearest level of its own criterion for each value; `halfway` decides between two that are equally near."""
    found = np.empty(len(values))
    for code in np.unique(criterion):
        rows, scale = criterion == code, scales[code]
        upper = scale[nearest_level(values[rows], scale)]
        lower = -(-scale[::-1])[nearest_level(-values[rows], -scale[::-1])]
        # Both agree unless the value is halfway; `nearest_level` sends halves up, and down on the mirrored scale.
        if halfway == "down":
            found[rows] = lower
        elif halfway == "even":
            found[rows] = np.where((lower % 2 == 0) & (upper % 2 != 0), lower, upper)
        else:
            found[rows] = upper
    return found


def _off_level(values: Floats, criterion: Integers, scales: tuple[Floats, ...]) -> bool:
    """Whether any value lies between the levels of its criterion."""
    return bool((np.abs(values - _to_level(values, criterion, scales, "up")) > 1e-9).any())
