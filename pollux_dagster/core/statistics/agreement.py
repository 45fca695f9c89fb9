"""How well a judge's scores agree with people's: the model card's three figures, kappa, alpha and the confusion table.

Every figure is a function of one contingency table (gold value by judge value), so leaving out each instruction in
turn, for the intervals, costs one subtraction each. The functions take one set of items at a time; the caller decides
who is compared on which items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from pollux_dagster.core.statistics import student
from pollux_dagster.core.statistics.clusters import Floats, Integers

Table = Floats
METRICS = (
    "rmse",
    "mae",
    "macro_f1",
    "spearman",
    "quadratic_kappa",
    "krippendorff_alpha",
    "exact_agreement",
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; NaN where it is undefined (a constant rater has no rank correlation)."""

    value: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """All figures of one set of items: `figures` has an Estimate for each name in METRICS."""

    n: int
    clusters: int
    figures: dict[str, Estimate]
    levels: tuple[float, ...]
    confusion: Integers
    """(levels, levels): rows are gold, columns the judge, both at their nearest level."""


def nearest_level(values: Floats, levels: Floats) -> Integers:
    """Index of the level nearest to each value; halfway goes to the higher one. Levels are ascending.

    This rule maps fractional gold (a mean of annotators) to classes for macro F1, kappa, exact agreement and the
    confusion table. RMSE, MAE, Spearman and alpha use the fractional value itself.
    """
    middles = (levels[1:] + levels[:-1]) / 2
    # The mean of three annotators can be 1.4999999999999998 in floating point where it is exactly 1.5.
    return np.searchsorted(middles, values + 1e-9, side="right").astype(np.int64)


def agreement(
    gold: Floats,
    judge: Floats,
    clusters: Integers,
    levels: Sequence[float],
    *,
    classes: tuple[Floats, Floats] | None = None,
    level: float = 0.95,
) -> Agreement:
    """Figures of agreement between gold and judge scores, both (items,), in the units of the scale.

    levels: the scale's levels, ascending. clusters: (items,) codes of the instructions. classes: the level that each
    gold and each judge score stands for, (items,) both; by default the nearest of `levels`. Pass it where items have
    scales of their own and `levels` is the union of all of them.

    - rmse, mae: of judge - gold.
    - macro_f1: over the classes that either side uses, as scikit-learn's f1_score(average="macro").
    - spearman: of midranks, as scipy.stats.spearmanr.
    - quadratic_kappa: Cohen 1968 with squared distance of level positions, as scikit-learn's
      cohen_kappa_score(weights="quadratic", labels=levels).
    - krippendorff_alpha: interval metric, two coders (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    Intervals: delete-one-instruction jackknife variance (Efron & Tibshirani 1993, chapter 11), t with clusters - 1
    degrees of freedom, on a scale where the figure is nearly normal (log for errors, logit for shares, Fisher's z for
    coefficients). Raises ValueError on empty or unequal inputs.
    """
    if not len(gold) == len(judge) == len(clusters) or not len(gold):
        raise ValueError(
            "gold, judge and clusters must be equally long and not empty; "
            f"got {len(gold)}, {len(judge)} and {len(clusters)} entries."
        )
    scale = np.asarray(sorted(levels), dtype=np.float64)
    names, cluster = np.unique(clusters, return_inverse=True)
    tables = contingency(
        gold, judge, cluster, len(names), scale,
        classes or (scale[nearest_level(gold, scale)], scale[nearest_level(judge, scale)]),
    )  # fmt: skip
    values = figures_of(_sums(tables))
    figures = {name: jackknife(values[name], len(names), TRANSFORMS[name], level) for name in METRICS}
    return Agreement(
        n=len(gold),
        clusters=len(names),
        figures=figures,
        levels=tuple(float(x) for x in scale),
        confusion=tables.confusion[0].astype(np.int64),
    )


@dataclass(frozen=True, slots=True)
class Tables:
    """The contingency tables of one set of items: the first of all of them, then one without each cluster in turn.

    `counts` is (tables, gold values, judge values), `confusion` the same by level: (tables, levels, levels). A value
    that stands for two levels has two rows or columns in `counts`.
    """

    counts: Table
    confusion: Table
    gold_values: Floats
    judge_values: Floats


def contingency(
    gold: Floats, judge: Floats, clusters: Integers, n_clusters: int, scale: Floats, classes: tuple[Floats, Floats]
) -> Tables:
    """Count (items,) pairs of scores; `clusters` are codes below `n_clusters`, and a cluster may have no items.

    scale: all levels, ascending. classes: the level that each gold and each judge score stands for.
    """
    gold_values, gold_levels, gold_code = _distinct(gold, classes[0])
    judge_values, judge_levels, judge_code = _distinct(judge, classes[1])
    shape = (n_clusters, len(gold_values), len(judge_values))
    cell = (clusters * shape[1] + gold_code) * shape[2] + judge_code
    each = np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)
    whole = each.sum(axis=0)
    counts = np.concatenate([whole[None], whole[None] - each])
    return Tables(counts, _fold(gold_levels, judge_levels, scale)(counts), gold_values, judge_values)


def _distinct(values: Floats, classes: Floats) -> tuple[Floats, Floats, Integers]:
    """The distinct pairs of a value and its class, ascending by value, and the index of each item's pair."""
    value, value_code = np.unique(values, return_inverse=True)
    kind, kind_code = np.unique(classes, return_inverse=True)
    pair, code = np.unique(value_code * len(kind) + kind_code, return_inverse=True)
    return value[pair // len(kind)], kind[pair % len(kind)], code.astype(np.int64)


def _fold(gold_levels: Floats, judge_levels: Floats, scale: Floats) -> Callable[[Table], Table]:
    gold_to, judge_to = (np.eye(len(scale))[nearest_level(v, scale)] for v in (gold_levels, judge_levels))

    def fold(tables: Table) -> Table:
        folded: Table = gold_to.T @ tables @ judge_to
        return folded

    return fold


@dataclass(frozen=True, slots=True)
class Sums:
    """What the figures are made of, over all items and then without each cluster in turn: (1 + clusters,) each.

    `squares` and `gaps` are the sums of (judge - gold)^2 and |judge - gold|, `first` and `second` those of both sides'
    scores and of their squares. `confusion` is (1 + clusters, levels, levels), gold in rows.
    """

    n: Floats
    squares: Floats
    gaps: Floats
    first: Floats
    second: Floats
    confusion: Table
    spearman: Floats


def _sums(tables: Tables) -> Sums:
    counts, gold, judge = tables.counts, tables.gold_values, tables.judge_values
    gap = judge[None, :] - gold[:, None]
    rows, columns = counts.sum(axis=2), counts.sum(axis=1)
    return Sums(
        n=counts.sum(axis=(1, 2)),
        squares=(counts * gap**2).sum(axis=(1, 2)),
        gaps=(counts * np.abs(gap)).sum(axis=(1, 2)),
        first=rows @ gold + columns @ judge,
        second=rows @ gold**2 + columns @ judge**2,
        confusion=tables.confusion,
        spearman=spearman(tables),
    )


def figures_of(sums: Sums) -> dict[str, Floats]:
    """Every figure of METRICS: (1 + clusters,) each."""
    n, confusion = sums.n, sums.confusion
    gold_counts, judge_counts = confusion.sum(axis=2), confusion.sum(axis=1)
    position = np.arange(confusion.shape[1])
    distance = (position[:, None] - position[None, :]) ** 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.einsum("ti,ij,tj->t", gold_counts, distance, judge_counts) / n
        return {
            "rmse": np.sqrt(sums.squares / n),
            "mae": sums.gaps / n,
            "macro_f1": macro_f1(confusion),
            "spearman": sums.spearman,
            "quadratic_kappa": 1 - (confusion * distance).sum(axis=(1, 2)) / expected,
            "krippendorff_alpha": _alpha_of_two(sums),
            "exact_agreement": np.einsum("tii->t", confusion) / n,
        }


def rmse(tables: Tables) -> Floats:
    """Root mean squared error of judge - gold for every table: (tables,), NaN for one without items."""
    gap = tables.judge_values[None, :] - tables.gold_values[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        error: Floats = np.sqrt((tables.counts * gap**2).sum(axis=(1, 2)) / tables.counts.sum(axis=(1, 2)))
    return error


ClassesOfF1 = Literal["used", "people", "rubric"]


def macro_f1(confusion: Table, over: ClassesOfF1 = "used") -> Floats:
    """Macro F1 for every (levels, levels) table of `confusion`: (tables,), NaN for one without items.

    over: the classes whose F1 are averaged. "used": those that either side uses, as scikit-learn's
    f1_score(average="macro"). "people": those in gold. "rubric": every level of the scale, an unused one with F1 0, as
    with scikit-learn's `labels` and its default for a zero division.
    """
    gold_counts = confusion.sum(axis=2)
    used = gold_counts + confusion.sum(axis=1)
    n = gold_counts.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(used > 0, 2 * np.einsum("tii->ti", confusion) / used, 0.0)
        if over == "used":
            mean = f1.sum(axis=1) / (used > 0).sum(axis=1)
        elif over == "people":
            mean = np.where(gold_counts > 0, f1, 0.0).sum(axis=1) / (gold_counts > 0).sum(axis=1)
        else:
            mean = np.where(n > 0, f1.mean(axis=1), np.nan)
    averaged: Floats = mean
    return averaged


def spearman(tables: Tables) -> Floats:
    """Pearson's correlation of the midranks that each table's margins imply: (tables,), NaN if a side is constant."""
    # Equal values of different classes are still ties.
    same = [(np.unique(v)[:, None] == v[None, :]).astype(np.float64) for v in (tables.gold_values, tables.judge_values)]
    counts = same[0] @ tables.counts @ same[1].T
    n = counts.sum(axis=(1, 2))[:, None]
    rows, columns = counts.sum(axis=2), counts.sum(axis=1)
    x = np.cumsum(rows, axis=1) - rows / 2 - n / 2
    y = np.cumsum(columns, axis=1) - columns / 2 - n / 2
    covariance = np.einsum("ti,tij,tj->t", x, counts, y)
    spread = (rows * x**2).sum(axis=1) * (columns * y**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation: Floats = covariance / np.sqrt(spread)
    return correlation


def _alpha_of_two(sums: Sums) -> Floats:
    # Observed disagreement over 2n pairable values against that of all their pairs. With the interval metric both
    # follow from the first two moments.
    m = 2 * sums.n
    expected = (2 * m * sums.second - 2 * sums.first**2) / (m * (m - 1))
    # Where all values are one, rounding may leave a little of the squares of what was left out.
    expected = np.where(expected > 1e-12 * sums.second, expected, 0.0)
    alpha: Floats = 1 - 2 * sums.squares / m / expected
    return alpha


def jackknife(values: Floats, clusters: int, transform: str, level: float) -> Estimate:
    """The first of `values` with its interval, the others being the figure without each cluster in turn."""
    value, left_out = float(values[0]), values[1:]
    forward, back, slope = _SCALES[transform]
    if clusters < 2 or not np.isfinite(value) or not np.isfinite(left_out).all():
        return Estimate(value, float("nan"), float("nan"), float("nan"))
    error = float(np.sqrt((clusters - 1) / clusters * ((left_out - left_out.mean()) ** 2).sum()))
    reach = float(student.quantile((1 + level) / 2, clusters - 1)) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        centre, stretch = forward(value), slope(value)
    if not np.isfinite(centre) or not np.isfinite(stretch):
        # Perfect agreement is the end of its scale, where the jackknife shows no spread: no interval is better than a
        # false one.
        return Estimate(value, error, float("nan"), float("nan"))
    ends = sorted(float(back(centre + sign * stretch * reach)) for sign in (-1, 1))
    return Estimate(value, error, ends[0], ends[1])


_SCALES: dict[str, tuple[Callable[[float], float], Callable[[float], float], Callable[[float], float]]] = {
    "plain": (float, float, lambda _: 1.0),
    "log": (np.log, np.exp, lambda x: float(np.float64(1) / x)),
    "logit": (special.logit, special.expit, lambda x: float(np.float64(1) / (x * (1 - x)))),
    "fisher": (np.arctanh, np.tanh, lambda x: float(np.float64(1) / (1 - x * x))),
}
TRANSFORMS = {  # the scale on which the interval of each figure is built
    "rmse": "log",
    "mae": "log",
    "macro_f1": "logit",
    "spearman": "fisher",
    "quadratic_kappa": "fisher",
    "krippendorff_alpha": "fisher",
    "exact_agreement": "logit",
}
