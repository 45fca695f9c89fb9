"""How steady a judge is: repeated verdicts of one request, and a golden set judged again.

Repeats measure chance and drift measures change. Both compare a request with itself, so models and instructions do not
matter, and neither does the right score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pollux_dagster.core.statistics import student
from pollux_dagster.core.statistics.clusters import Booleans, Floats, Integers, pooled_means, sum_cells
from pollux_dagster.core.statistics.multiplicity import holm


@dataclass(frozen=True, slots=True)
class Steadiness:
    """One entry per group; NaN where no request was repeated.

    flip_rate: probability that two verdicts of one request differ. within_variance: variance between verdicts of one
    request. within_share: that variance as a share of the total variance of single verdicts.
    """

    flip_rate: Floats
    within_variance: Floats
    within_share: Floats
    repeated: Integers
    verdicts: Integers


@dataclass(frozen=True, slots=True)
class Drift:
    """One entry per criterion: `shift` is the mean of later - earlier, `shifted` whether it is beyond chance.

    adjusted_p_value: Holm's, over the criteria. changed: share of items whose score changed.
    """

    shift: Floats
    standard_error: Floats
    low: Floats
    high: Floats
    adjusted_p_value: Floats
    items: Integers
    clusters: Integers
    changed: Floats
    shifted: Booleans


def steadiness(scores: Floats, requests: Integers, groups: Integers, n_groups: int) -> Steadiness:
    """Flip rate and within-request variance by group, from (verdicts,) scores and codes of request and group.

    flip_rate: over requests with k >= 2 verdicts, the mean share of the k(k-1)/2 pairs with unequal scores.
    within_variance: sum of squares about the requests' means over sum(k - 1) (one-way analysis of variance). Repeats
    need no correction in the intervals of means: they are rows of the same instruction, and clustering by it accounts
    for their dependence.
    """
    levels, code = np.unique(scores, return_inverse=True)
    names, request = np.unique(requests, return_inverse=True)
    group = np.zeros(len(names), dtype=np.int64)
    group[request] = groups
    k = np.bincount(request, minlength=len(names)).astype(np.float64)
    mean = np.bincount(request, weights=scores, minlength=len(names)) / k
    cell, cell_count = np.unique(request * len(levels) + code, return_counts=True)
    alike = np.bincount(cell // len(levels), weights=cell_count * (cell_count - 1.0), minlength=len(names))
    repeated = k >= 2

    def by_group(values: Floats, rows: Booleans | slice = slice(None)) -> Floats:
        return np.bincount(group[rows], weights=values[rows], minlength=n_groups).astype(np.float64)

    with np.errstate(divide="ignore", invalid="ignore"):
        flips = by_group(1 - alike / (k * (k - 1)), repeated) / by_group(np.ones(len(names)), repeated)
        squares = np.bincount(groups, weights=(scores - mean[request]) ** 2, minlength=n_groups)
        within = squares / by_group(k - 1)
        n = by_group(k)
        overall = np.bincount(groups, weights=scores, minlength=n_groups) / n
        whole = np.bincount(groups, weights=(scores - overall[groups]) ** 2, minlength=n_groups) / (n - 1)
        share = within / whole
    return Steadiness(
        flip_rate=flips,
        within_variance=within,
        within_share=share,
        repeated=by_group(repeated.astype(np.float64)).astype(np.int64),
        verdicts=n.astype(np.int64),
    )


def drift(
    earlier: Floats,
    later: Floats,
    criteria: Integers,
    clusters: Integers,
    n_criteria: int,
    *,
    tolerance: float = 0.0,
    level: float = 0.95,
) -> Drift:
    """Shift of each criterion between two rounds of verdicts on the same golden items.

    earlier, later: (items,) scores of the same requests. criteria, clusters: (items,) codes; cluster by instruction. A
    criterion has shifted when its mean difference is beyond `tolerance` with a Holm-adjusted p-value below 1 - level: t
    test on the clustered mean (clusters.pooled_means). Items that all moved by the same amount have no variance to test
    with, and need none: two or more that all moved the same way, further than the tolerance, are a shift whatever their
    number; their p-value is 0. Raises ValueError on unequal lengths.
    """
    if not len(earlier) == len(later):
        raise ValueError(
            "both rounds must hold the same items in the same order; "
            f"got {len(earlier)} earlier and {len(later)} later."
        )
    cells = sum_cells(later - earlier, criteria, clusters, n_criteria)
    pooled = pooled_means(cells)
    error = np.sqrt(pooled.variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = student.quantile((1 + level) / 2, pooled.degrees) * error
        beyond = np.maximum(np.abs(pooled.mean) - tolerance, 0.0)
        p_value = 2 * student.exceedance(beyond / error, pooled.degrees)
        unmoved = (error <= 1e-12) & (pooled.clusters >= 2)
        p_value = np.where(unmoved, np.where(beyond <= 1e-12, 1.0, 0.0), p_value)
        changed = np.bincount(criteria, weights=np.abs(later - earlier) > 1e-12, minlength=n_criteria) / pooled.rows
    adjusted = holm(p_value)
    return Drift(
        shift=pooled.mean,
        standard_error=error,
        low=pooled.mean - reach,
        high=pooled.mean + reach,
        adjusted_p_value=adjusted,
        items=pooled.rows.astype(np.int64),
        clusters=pooled.clusters,
        changed=changed,
        shifted=np.nan_to_num(adjusted, nan=1.0) < 1 - level,
    )
