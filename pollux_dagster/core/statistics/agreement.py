"""How well a judge's scores agree with people's: the model card's three figures, kappa, alpha and the confusion table.

Every figure is a function of one contingency table (gold value by judge value), so leaving out each instruction in
turn, for the intervals, costs one subtraction each. The functions take one set of items at a time; the caller decides
who is compared on which items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

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
    gold_class, judge_class = classes or (scale[nearest_level(gold, scale)], scale[nearest_level(judge, scale)])
    gold_values, gold_levels, gold_code = _distinct(gold, gold_class)
    judge_values, judge_levels, judge_code = _distinct(judge, judge_class)
    names, cluster = np.unique(clusters, return_inverse=True)
    shape = (len(names), len(gold_values), len(judge_values))
    cell = (cluster * shape[1] + gold_code) * shape[2] + judge_code
    tables = np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)
    whole = tables.sum(axis=0)
    stacked = np.concatenate([whole[None], whole[None] - tables])
    to_level = _fold(gold_levels, judge_levels, scale)
    values = _figures(stacked, to_level(stacked), gold_values, judge_values)
    figures = {name: jackknife(values[name], len(names), _TRANSFORMS[name], level) for name in METRICS}
    return Agreement(
        n=len(gold),
        clusters=len(names),
        figures=figures,
        levels=tuple(float(x) for x in scale),
        confusion=to_level(whole[None])[0].astype(np.int64),
    )


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


def _figures(tables: Table, confusion: Table, gold_values: Floats, judge_values: Floats) -> dict[str, Floats]:
    """Every figure for a stack of contingency tables (tables, gold values, judge values): (tables,) each.

    confusion: the same tables by level. A value that stands for two levels has two rows or columns.
    """
    n = tables.sum(axis=(1, 2))
    gap = judge_values[None, :] - gold_values[:, None]
    diagonal = np.einsum("tii->ti", confusion)
    gold_counts, judge_counts = confusion.sum(axis=2), confusion.sum(axis=1)
    used = gold_counts + judge_counts
    position = np.arange(confusion.shape[1])
    distance = (position[:, None] - position[None, :]) ** 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        square = (tables * gap**2).sum(axis=(1, 2))
        f1 = np.where(used > 0, 2 * diagonal / used, 0.0)
        expected = np.einsum("ti,ij,tj->t", gold_counts, distance, judge_counts) / n
        return {
            "rmse": np.sqrt(square / n),
            "mae": (tables * np.abs(gap)).sum(axis=(1, 2)) / n,
            "macro_f1": f1.sum(axis=1) / (used > 0).sum(axis=1),
            "spearman": _spearman(tables, gold_values, judge_values),
            "quadratic_kappa": 1 - (confusion * distance).sum(axis=(1, 2)) / expected,
            "krippendorff_alpha": _alpha_of_two(tables, gold_values, judge_values, square),
            "exact_agreement": diagonal.sum(axis=1) / n,
        }


def _spearman(tables: Table, gold_values: Floats, judge_values: Floats) -> Floats:
    """Pearson's correlation of the midranks that the margins of each table imply."""
    # Equal values of different classes are still ties.
    same = [(np.unique(v)[:, None] == v[None, :]).astype(np.float64) for v in (gold_values, judge_values)]
    tables = same[0] @ tables @ same[1].T
    n = tables.sum(axis=(1, 2))[:, None]
    rows, columns = tables.sum(axis=2), tables.sum(axis=1)
    x = np.cumsum(rows, axis=1) - rows / 2 - n / 2
    y = np.cumsum(columns, axis=1) - columns / 2 - n / 2
    covariance = np.einsum("ti,tij,tj->t", x, tables, y)
    spread = (rows * x**2).sum(axis=1) * (columns * y**2).sum(axis=1)
    correlation: Floats = covariance / np.sqrt(spread)
    return correlation


def _alpha_of_two(tables: Table, gold_values: Floats, judge_values: Floats, square: Floats) -> Floats:
    # Observed disagreement over 2n pairable values against that of all their pairs. With the interval metric both
    # follow from the first two moments.
    rows, columns = tables.sum(axis=2), tables.sum(axis=1)
    m = 2 * tables.sum(axis=(1, 2))
    first = rows @ gold_values + columns @ judge_values
    second = rows @ gold_values**2 + columns @ judge_values**2
    expected = (2 * m * second - 2 * first**2) / (m * (m - 1))
    alpha: Floats = 1 - 2 * square / m / expected
    return alpha


def jackknife(values: Floats, clusters: int, transform: str, level: float) -> Estimate:
    value, left_out = float(values[0]), values[1:]
    forward, back, slope = _SCALES[transform]
    if clusters < 2 or not np.isfinite(value) or not np.isfinite(left_out).all():
        return Estimate(value, float("nan"), float("nan"), float("nan"))
    error = float(np.sqrt((clusters - 1) / clusters * ((left_out - left_out.mean()) ** 2).sum()))
    reach = float(stats.t.ppf((1 + level) / 2, clusters - 1)) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        centre, stretch = forward(value), slope(value)
    if not np.isfinite(centre) or not np.isfinite(stretch):
        # Perfect agreement is the end of its scale, where the jackknife shows no spread: no interval is better than a
        # false one.
        return Estimate(value, error, float("nan"), float("nan"))
    ends = sorted(float(back(centre + sign * stretch * reach)) for sign in (-1, 1))
    return Estimate(value, error, ends[0], ends[1])


_SCALES: dict[str, tuple[Callable[[float], float], Callable[[float], float], Callable[[float], float]]] = {
    "log": (np.log, np.exp, lambda x: float(np.float64(1) / x)),
    "logit": (special.logit, special.expit, lambda x: float(np.float64(1) / (x * (1 - x)))),
    "fisher": (np.arctanh, np.tanh, lambda x: float(np.float64(1) / (1 - x * x))),
}
_TRANSFORMS = {
    "rmse": "log",
    "mae": "log",
    "macro_f1": "logit",
    "spearman": "fisher",
    "quadratic_kappa": "fisher",
    "krippendorff_alpha": "fisher",
    "exact_agreement": "logit",
}
