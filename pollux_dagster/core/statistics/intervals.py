"""Confidence intervals of mean scores on a bounded scale, clustered by instruction, for many groups at once.

Scores on a 0-2 scale pile up at the top and a tripped gate zeroes a whole answer, so mean plus or minus two standard
errors fails for the best models, where it matters most. The interval is therefore computed on the logit scale, and the
share of gated answers gets an interval of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from pollux_dagster.core.statistics import student
from pollux_dagster.core.statistics.clusters import (
    SMALL,
    Booleans,
    Cells,
    Floats,
    Integers,
    PooledMeans,
    pooled_means,
    sum_cells,
)

LARGE_SAMPLE = "logit-t, CR1"
SMALL_SAMPLE = "logit-t, CR3 jackknife"
CONSTANT = "exact binomial over clusters"
GATED = "Wilson x "
UNDEFINED = "none: one cluster"


@dataclass(frozen=True, slots=True)
class MeanIntervals:
    """One entry per group. `method` names how the interval was computed; bounds are NaN where there is none.

    `n` counts rows, `clusters` instructions; means, standard errors and bounds are in the units of the values.
    """

    mean: Floats
    standard_error: Floats
    low: Floats
    high: Floats
    n: Integers
    clusters: Integers
    method: npt.NDArray[np.str_]


def clustered_means(
    values: Floats,
    groups: Integers,
    clusters: Integers,
    n_groups: int,
    *,
    weights: Floats | None = None,
    gated: Booleans | None = None,
    tripped: Booleans | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = 0.95,
) -> MeanIntervals:
    """Mean of the rows of each group with an interval that treats a cluster (an instruction) as one draw.

    values, groups, clusters: (rows,), the last two integer codes; groups are below n_groups. weights: (rows,), of the
    rows in the mean, 1 on average over a group; not with gates. gated: (rows,), whether a gate could have zeroed the
    row; tripped: (rows,), whether one did. Pass both or neither. bounds: least and greatest possible value. level: of
    confidence.

    A group without gates: a t interval for logit(mean), variance by the delta method, transformed back. When all
    clusters of a group agree on one value, the share of clusters with that value is at least (alpha/2)^(1/G) (Clopper &
    Pearson 1934 for G successes of G), and the rest may lie anywhere within the bounds.

    A group with gates: mean = (share of rows not tripped) x (mean of those rows). The share gets Wilson's interval over
    the effective number of clusters with a t quantile, the mean the logit interval; they are combined by MOVER (Zou &
    Donner 2008, Statistics in Medicine 27:1693). Without that, 15 instructions none of which tripped a gate would imply
    that none ever will.

    Raises ValueError on unequal lengths, non-finite or out-of-bounds values, one of gated/tripped alone, or both beside
    weights.
    """
    low, high = bounds
    if (gated is None) != (tripped is None):
        raise ValueError("gated and tripped describe the same gate: give both, or neither.")
    if weights is not None and gated is not None:
        raise ValueError("no interval is defined for weighted rows with gates: leave out one of the two.")
    if len(values) and (values.min() < low - 1e-9 or values.max() > high + 1e-9):
        raise ValueError(
            f"values must lie within the scale {bounds}; they span [{values.min():g}, {values.max():g}]. "
            "Normalise the scores, or give the bounds of their scale."
        )
    scaled = np.clip((values - low) / (high - low), 0.0, 1.0)
    cells = sum_cells(scaled, groups, clusters, n_groups, weights)
    pooled = pooled_means(cells)
    lower, upper = _logit_interval(pooled, _is_constant(cells, pooled), level)
    method = np.where(pooled.draws < SMALL, SMALL_SAMPLE, LARGE_SAMPLE).astype("U64")
    method[_is_constant(cells, pooled)] = CONSTANT
    if gated is not None and tripped is not None:
        with_gates = np.bincount(groups[gated], minlength=n_groups) > 0
        passed = sum_cells(scaled[~tripped], groups[~tripped], clusters[~tripped], n_groups)
        gated_lower, gated_upper = _gated_interval(pooled, passed, level)
        lower, upper = np.where(with_gates, gated_lower, lower), np.where(with_gates, gated_upper, upper)
        method[with_gates] = np.char.add(GATED, method[with_gates])
    undefined = pooled.clusters < 2
    method[undefined] = UNDEFINED
    span = high - low
    # Rounding must not put a mean outside its own interval.
    mean = np.clip(pooled.mean, 0.0, 1.0)
    lower, upper = np.minimum(lower, mean), np.clip(np.maximum(upper, mean), 0.0, 1.0)
    return MeanIntervals(
        mean=low + span * mean,
        standard_error=span * np.sqrt(pooled.variance),
        low=np.where(undefined, np.nan, low + span * lower),
        high=np.where(undefined, np.nan, low + span * upper),
        n=np.bincount(groups, minlength=n_groups).astype(np.int64),
        clusters=pooled.clusters,
        method=method,
    )


def _is_constant(cells: Cells, pooled: PooledMeans) -> Booleans:
    """Whether all clusters of a group have the same mean, up to rounding: (n_groups,)."""
    gap = np.abs(cells.total - pooled.mean[cells.group] * cells.count) / cells.count
    widest = np.zeros(cells.n_groups)
    np.maximum.at(widest, cells.group, gap)
    constant: Booleans = (widest < 1e-12) & (pooled.clusters > 0)
    return constant


def _logit_interval(pooled: PooledMeans, constant: Booleans, level: float) -> tuple[Floats, Floats]:
    tail = (1 - level) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        # Rounding can leave a mean of ones at 1 - 1e-16, and a mean at the exact edge has no logit.
        mean = np.clip(pooled.mean, 1e-12, 1 - 1e-12)
        centre = special.logit(mean)
        reach = student.quantile(1 - tail, pooled.degrees) * np.sqrt(pooled.variance) / (mean * (1 - mean))
        share = tail ** (1.0 / pooled.draws)
        low = np.where(constant, share * pooled.mean, special.expit(centre - reach))
        high = np.where(constant, share * pooled.mean + 1 - share, special.expit(centre + reach))
    return low, high


def _gated_interval(pooled: PooledMeans, passed_cells: Cells, level: float) -> tuple[Floats, Floats]:
    passed = pooled_means(passed_cells)
    unknown = passed.clusters < 2
    mean = np.where(passed.clusters == 0, 1.0, passed.mean)
    low, high = _logit_interval(passed, _is_constant(passed_cells, passed), level)
    low, high = np.where(unknown, 0.0, low), np.where(unknown, 1.0, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = passed.rows / pooled.rows
        n = pooled.effective_clusters
        z = student.quantile(1 - (1 - level) / 2, np.maximum(n - 1, 0.5))
        centre = (share * n + z**2 / 2) / (n + z**2)
        reach = z / (n + z**2) * np.sqrt(share * (1 - share) * n + z**2 / 4)
        lower = share * mean - np.hypot(mean * (share - (centre - reach)), share * (mean - low))
        upper = share * mean + np.hypot(mean * (centre + reach - share), share * (high - mean))
    return np.clip(lower, 0.0, 1.0), np.clip(upper, 0.0, 1.0)
