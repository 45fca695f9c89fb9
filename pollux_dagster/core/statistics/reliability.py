"""How well people agree with each other: Krippendorff's alpha of any raters, and each rater against the rest.

This is the ceiling for a judge: it cannot be expected to agree with people more than they agree among themselves, so
both are measured with the same figures.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from pollux_dagster.core.statistics import Aggregation
from pollux_dagster.core.statistics.agreement import Estimate, jackknife
from pollux_dagster.core.statistics.clusters import Floats, Integers

Metric = Literal["ordinal", "interval"]


def krippendorff_alpha(
    values: Floats, units: Integers, clusters: Integers, metric: Metric, *, level: float = 0.95
) -> Estimate:
    """Krippendorff's alpha of (ratings,) values given to units by any raters; a unit with one rating is left out.

    1 - D_o / D_e over the coincidence matrix, with the "interval" metric (c - k)^2 or the "ordinal" metric (sum of the
    frequencies from c to k less half of both ends)^2: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability",
    section D. clusters: (ratings,) codes of the instructions, which the jackknife leaves out in turn. NaN without two
    ratings of one unit, or when all ratings are equal.
    """
    levels, code = np.unique(values, return_inverse=True)
    names, unit = np.unique(units, return_inverse=True)
    counts = np.bincount(unit * len(levels) + code, minlength=len(names) * len(levels)).reshape(len(names), -1)
    raters = counts.sum(axis=1)
    paired = raters >= 2
    nothing = Estimate(float("nan"), float("nan"), float("nan"), float("nan"))
    if not paired.any():
        return nothing
    owner = np.zeros(len(names), dtype=np.int64)
    owner[unit] = np.unique(clusters, return_inverse=True)[1]
    owner = np.unique(owner[paired], return_inverse=True)[1]
    share = counts[paired] / (raters[paired] - 1)[:, None]
    n_clusters = int(owner.max()) + 1
    # Coincidences of each unit, summed by cluster: (clusters, levels, levels).
    order = np.argsort(owner, kind="stable")
    starts = np.flatnonzero(np.diff(owner[order], prepend=-1))
    crossed = np.add.reduceat((share[:, :, None] * counts[paired][:, None, :])[order], starts, axis=0)
    own = np.add.reduceat(share[order], starts, axis=0)
    tables = crossed - own[:, :, None] * np.eye(len(levels))
    whole = tables.sum(axis=0)
    alphas = _alphas(np.concatenate([whole[None], whole[None] - tables]), levels, metric)
    return jackknife(alphas, n_clusters, "fisher", level)


def aggregate_ratings(
    values: Floats, units: Integers, n_units: int, aggregation: Aggregation
) -> tuple[Floats, Integers]:
    """Gold of each unit from its (ratings,) values, NaN without any, and their number: two (n_units,) arrays.

    mean: may be fractional. median: of an even number, the mean of the middle two. mode: the commonest value, the
    lowest of equally common ones, so that a tie never favours the model.
    """
    order = np.lexsort((values, units))
    sorted_values, sorted_units = values[order], units[order]
    number = np.bincount(units, minlength=n_units).astype(np.int64)
    gold = np.full(n_units, np.nan)
    rated = number > 0
    first = np.searchsorted(sorted_units, np.arange(n_units))
    if aggregation == "mean":
        gold[rated] = (np.bincount(units, weights=values, minlength=n_units)[rated]) / number[rated]
    elif aggregation == "median":
        at = first[rated]
        gold[rated] = (sorted_values[at + (number[rated] - 1) // 2] + sorted_values[at + number[rated] // 2]) / 2
    else:
        starts = np.flatnonzero(
            (np.diff(sorted_units, prepend=-1) != 0) | (np.diff(sorted_values, prepend=np.nan) != 0)
        )
        runs = np.diff(starts, append=len(sorted_values))
        # Sorted by unit, then longest run, then value: the first run of each unit is its mode.
        best = np.lexsort((sorted_values[starts], -runs, sorted_units[starts]))
        unit_of_run = sorted_units[starts][best]
        leading = np.flatnonzero(np.diff(unit_of_run, prepend=-1))
        gold[unit_of_run[leading]] = sorted_values[starts][best][leading]
    return gold, number


def leave_one_rater_out(
    values: Floats, units: Integers, raters: Integers, n_units: int, aggregation: Aggregation
) -> tuple[Floats, Floats, Integers]:
    """Each rating beside the aggregate of the other raters of its unit: (pairs,) others, own, and unit.

    This is the human ceiling: the agreement figures of these pairs say how well one person predicts the rest, as the
    judge's figures say how well it predicts them all. Units with one rater give no pair.
    """
    others, own, unit = [], [], []
    for rater in np.unique(raters):
        mine = raters == rater
        gold, number = aggregate_ratings(values[~mine], units[~mine], n_units, aggregation)
        kept = number[units[mine]] > 0
        others.append(gold[units[mine]][kept])
        own.append(values[mine][kept])
        unit.append(units[mine][kept])
    if not others:
        return np.empty(0), np.empty(0), np.empty(0, dtype=np.int64)
    return np.concatenate(others), np.concatenate(own), np.concatenate(unit)


def _alphas(tables: Floats, levels: Floats, metric: Metric) -> Floats:
    """Alpha of each coincidence matrix in a stack (tables, levels, levels): (tables,)."""
    margins = tables.sum(axis=2)
    n = margins.sum(axis=1)
    if metric == "interval":
        distance = np.broadcast_to((levels[:, None] - levels[None, :]) ** 2, tables.shape)
    else:
        # The sum of frequencies from c to k less half of both ends is a difference of midranks.
        middle = np.cumsum(margins, axis=1) - margins / 2
        distance = (middle[:, :, None] - middle[:, None, :]) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = (tables * distance).sum(axis=(1, 2)) / n
        expected = np.einsum("ti,tij,tj->t", margins, distance, margins) / (n * (n - 1))
        alphas: Floats = 1 - observed / expected
    return alphas
