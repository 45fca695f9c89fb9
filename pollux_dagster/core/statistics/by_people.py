"""Which models people's scores tell apart: by people's means of all answers, paired by instruction.

Where the labels allow no such means, it is the items that people scored of both. Pairs of the judge's scores are in
`comparison`; people's means in `ppi`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pollux_dagster.core.statistics import student
from pollux_dagster.core.statistics.clusters import Booleans, Floats, Integers, matched_degrees
from pollux_dagster.core.statistics.comparison import (
    UNDEFINED,
    PairwiseComparisons,
    adjusted_over_pairs,
    compare_all,
)
from pollux_dagster.core.statistics.ppi import CalibratedMeans, Influences

BY_MEANS = "means of all answers, paired t"
BY_INTERVALS = "intervals of two means"
_NO_SPREAD = 1e-12  # a standard error by which nothing but rounding is told


@dataclass(frozen=True, slots=True)
class _Differences:
    """Every field is (models, models), the first model less the second."""

    difference: Floats
    error: Floats
    low: Floats
    high: Floats
    p_value: Floats


def compare_by_people(
    gold: Floats,
    instructions: Integers,
    means: CalibratedMeans,
    *,
    plain: Booleans | None = None,
    trusted: Booleans | None = None,
    level: float = 0.95,
) -> tuple[PairwiseComparisons, Booleans]:
    """Compare every two models by people's scores; also whether they surely differ, (models, models). All in [0, 1].

    gold: (models, items), NaN where people did not score the item, one criterion of one instruction. instructions:
    (items,) codes. means: of the same models, from the same labels. plain: (models,), whether each label stands for as
    many answers as any other; all do when None. trusted: (models,), whether the model is compared at all; all are when
    None.

    Two models whose labels give a mean of all answers are compared by these: an instruction moves the difference by
    the difference of its influences on both (`CalibratedMeans.influences`), so where people scored the same items, or
    the judge stands in for them, the pair is a paired one, as in `comparison.compare_all`. t interval and test with the
    degrees of freedom of the model that has fewer, and no more than match the kurtosis of the influences. Any other
    two, and two that differ by the same everywhere, are compared on the items that people scored of both, by
    `compare_all`, if their labels are plain. If they share fewer than two instructions, and both have at least the
    interval of their labels' mean, the intervals are compared as those of independent estimates (MOVER, Zou & Donner
    2008, Statistics in Medicine 27:1693).

    Holm 1979 adjusts the p-values of all pairs together. Surely different means an adjusted p-value below 1 - level; of
    pairs compared by intervals these must not overlap either.
    """
    plain = np.ones(len(gold), dtype=bool) if plain is None else plain
    trusted = np.ones(len(gold), dtype=bool) if trusted is None else trusted
    items = compare_all(gold, instructions, level=level)
    has_interval = ~np.isnan(means.labels_low)
    compared = _both(trusted) & ~np.eye(len(gold), dtype=bool)
    paired, apart = _of_means(means, level), _of_intervals(means, level)
    by_means = compared & _both(means.varied & has_interval) & (paired.error > _NO_SPREAD)
    by_items = compared & ~by_means & _both(plain) & (items.method != UNDEFINED)
    by_intervals = compared & ~by_means & ~by_items & _both(has_interval)
    routes = [by_means, by_items, by_intervals]
    of_items = _Differences(items.difference, items.standard_error, items.low, items.high, items.p_value)

    def chosen(field: str) -> Floats:
        found: Floats = np.select(routes, [getattr(each, field) for each in (paired, of_items, apart)], np.nan)
        return found

    p_value = chosen("p_value")
    method = np.select(routes, [np.full_like(items.method, BY_MEANS), items.method, BY_INTERVALS], UNDEFINED)
    found = replace(
        items,
        difference=chosen("difference"),
        standard_error=chosen("error"),
        low=chosen("low"),
        high=chosen("high"),
        p_value=p_value,
        adjusted_p_value=adjusted_over_pairs(p_value),
        superiority=np.where(by_items, items.superiority, np.nan),
        method=method,
    )
    surely = np.nan_to_num(found.adjusted_p_value, nan=1.0) < 1 - level
    _, low, high = _with_intervals(means)
    overlap = (low[:, None] <= high[None, :]) & (low[None, :] <= high[:, None])
    return found, surely & ~(by_intervals & overlap)


def _both(models: Booleans) -> Booleans:
    both: Booleans = models[:, None] & models[None, :]
    return both


def _of_means(means: CalibratedMeans, level: float) -> _Differences:
    """Every two means, paired by instruction."""
    mean, _, _ = _with_intervals(means)
    difference = mean[:, None] - mean[None, :]
    moved, labelled = _by_cluster(means.influences, len(mean))
    error, degrees = np.empty_like(difference), np.empty_like(difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        for model in range(len(mean)):
            error[model], degrees[model] = _spread(moved[model] - moved, labelled[model] | labelled)
        own = means.influences.degrees
        degrees = np.maximum(np.fmin(np.minimum(own[:, None], own[None, :]), degrees), 0.5)
        reach = student.quantile((1 + level) / 2, degrees) * error
        p_value = 2 * student.exceedance(np.abs(difference) / error, degrees)
    return _Differences(
        difference, error, np.maximum(difference - reach, -1.0), np.minimum(difference + reach, 1.0), p_value
    )


def _by_cluster(influences: Influences, n_models: int) -> tuple[Floats, Booleans]:
    """Influence and whether there is a label, both (models, clusters)."""
    shape = (n_models, int(influences.cluster.max(initial=-1)) + 1)
    moved, labelled = np.zeros(shape), np.zeros(shape, dtype=bool)
    moved[influences.model, influences.cluster] = influences.value
    labelled[influences.model, influences.cluster] = influences.has_label
    return moved, labelled


def _spread(influence: Floats, labelled: Booleans) -> tuple[Floats, Floats]:
    """Standard errors of differences, and the degrees of freedom that match the kurtosis of their influences.

    influence, labelled: (differences, clusters). Clusters with and without a label are two samples, as in `ppi`, whose
    degrees of freedom are combined as in Welch 1947, Biometrika 34:28.
    """
    total, unsure = np.zeros(len(influence)), np.zeros(len(influence))
    for part in (labelled, ~labelled):
        squares = np.where(part, influence**2, 0.0)
        variance, number = squares.sum(axis=1), (part & (influence != 0)).sum(axis=1).astype(np.float64)
        total += variance
        unsure += np.nan_to_num(variance**2 / matched_degrees(variance, (squares**2).sum(axis=1), number))
    return np.sqrt(total), total**2 / unsure


def _with_intervals(means: CalibratedMeans) -> tuple[Floats, Floats, Floats]:
    """The mean of all answers with its interval, and where there is none, that of the labels."""
    return (
        np.where(means.enough, means.mean, means.labels_mean),
        np.where(means.enough, means.low, means.labels_low),
        np.where(means.enough, means.high, means.labels_high),
    )


def _of_intervals(means: CalibratedMeans, level: float) -> _Differences:
    """Every two means as independent ones; the p-value is of the t test with this interval."""
    (mean, low, high), draws = _with_intervals(means), means.effective_clusters
    below, above = mean - low, high - mean
    difference = mean[:, None] - mean[None, :]
    down, up = np.hypot(below[:, None], above[None, :]), np.hypot(above[:, None], below[None, :])
    degrees = np.maximum(np.minimum(draws[:, None], draws[None, :]) - 1, 0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = student.quantile((1 + level) / 2, degrees) * np.abs(difference) / np.where(difference > 0, down, up)
        p_value = 2 * student.exceedance(size, degrees)
    return _Differences(
        difference,
        np.full_like(difference, np.nan),
        np.maximum(difference - down, -1.0),
        np.minimum(difference + up, 1.0),
        p_value,
    )
