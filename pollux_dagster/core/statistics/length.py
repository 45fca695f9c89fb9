"""How much a score depends on the length of the answer.

The effect of length is estimated within an instruction and within a model, so neither a question that needs a long
answer nor a model that is both verbose and good is mistaken for a length effect. What the models' means would be at
equal length is in `length_controlled`; models are compared in `comparison`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pollux_dagster.core.statistics import student
from pollux_dagster.core.statistics.clusters import SMALL, Floats, Integers, matched_degrees
from pollux_dagster.core.statistics.multiplicity import holm
from pollux_dagster.core.statistics.student import midranks

ENOUGH = 1e-9


@dataclass(frozen=True, slots=True)
class LengthEffects:
    """One entry per criterion, except `beyond` and `item_*`.

    correlation: Spearman's, over all rows. slope: change of score per standard deviation of log length, between answers
    to the same instruction, given the model; with its clustered standard error, interval and p-value of no effect,
    adjusted for the number of criteria. NaN where the criterion's rows cannot separate length from model and
    instruction (one model, or all answers equally long).

    beyond: (rows,), by how many standard deviations an answer is longer than the models' usual one to its instruction.
    item_criterion, item_instruction, item_influence: (items,), how far each instruction of a criterion moves its slope.
    """

    correlation: Floats
    slope: Floats
    standard_error: Floats
    low: Floats
    high: Floats
    adjusted_p_value: Floats
    n: Integers
    clusters: Integers
    beyond: Floats
    item_criterion: Integers
    item_instruction: Integers
    item_influence: Floats


def length_effects(
    scores: Floats,
    lengths: Floats,
    criteria: Integers,
    models: Integers,
    instructions: Integers,
    n_criteria: int,
    *,
    level: float = 0.95,
) -> LengthEffects:
    """Effect of answer length on scores, by criterion. All inputs are (rows,), the last three integer codes.

    Let z = log(1 + length), standardised over all rows. For each criterion c, least squares of score = a[instruction] +
    b[model] + slope_c z + e, by removing instruction and model means from z (Frisch-Waugh). The variance of the slope
    is clustered by instruction, as in `clusters.pooled_means`: CR1, below 30 instructions the jackknife's, with no more
    degrees of freedom than match the kurtosis of the influences. `holm` adjusts the p-values over the criteria. Raises
    ValueError on a negative or missing length.
    """
    if len(lengths) and not (lengths >= 0).all():
        raise ValueError("every row needs the length of its answer, 0 or more; some are missing or negative.")
    logs = np.log1p(lengths)
    spread = float(logs.std()) if len(logs) else 0.0
    z = (logs - logs.mean()) / spread if spread > ENOUGH else np.zeros_like(logs)
    items = _codes(criteria, instructions)
    residual = _two_way(z, items, _codes(criteria, models))
    moment = np.bincount(criteria, weights=residual**2, minlength=n_criteria).astype(np.float64)
    item_criterion, item_instruction = _of_items(items, criteria), _of_items(items, instructions)
    clusters = np.bincount(item_criterion, minlength=n_criteria).astype(np.int64)
    rest = _two_way(scores, items, _codes(criteria, models))
    varied = np.bincount(criteria, weights=rest**2, minlength=n_criteria)
    rows = np.maximum(np.bincount(criteria, minlength=n_criteria), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.bincount(criteria, weights=residual * rest, minlength=n_criteria) / moment
        slope[varied <= ENOUGH**2 * rows] = 0.0
        slope[moment <= ENOUGH * rows] = np.nan
        error = rest - slope[criteria] * residual
        unexplained = np.bincount(criteria, weights=error**2, minlength=n_criteria)
        influence = _influences(residual, error, items, item_criterion, moment, clusters)
        squares, fourths = (
            np.bincount(item_criterion, influence**power, n_criteria).astype(np.float64) for power in (2, 4)
        )
        g = clusters.astype(np.float64)
        variance = np.where(clusters < SMALL, (g - 1) / g, g / (g - 1)) * squares
        degrees = np.maximum(np.fmin(g - 1, matched_degrees(squares, fourths, g)), 0.5)
        # As many effects as rows fit any score without an error, and nothing is known of the next one.
        known = (clusters > 1) & np.isfinite(slope + variance) & (unexplained > ENOUGH**2 * rows)
        standard_error = np.where(known, np.sqrt(variance), np.nan)
        reach = student.quantile((1 + level) / 2, degrees) * standard_error
        p_value = 2 * student.exceedance(np.abs(slope) / standard_error, degrees)
    moves = np.where(known[item_criterion], influence, np.where(slope[item_criterion] == 0, 0.0, np.nan))
    return LengthEffects(
        correlation=_spearman(scores, lengths, criteria, n_criteria),
        slope=slope,
        standard_error=standard_error,
        low=slope - reach,
        high=slope + reach,
        adjusted_p_value=holm(p_value),
        n=np.bincount(criteria, minlength=n_criteria).astype(np.int64),
        clusters=clusters,
        beyond=z - _means(z, items)[items],
        item_criterion=item_criterion,
        item_instruction=item_instruction,
        item_influence=moves,
    )


def _influences(
    residual: Floats, error: Floats, items: Integers, item_criterion: Integers, moment: Floats, clusters: Integers
) -> Floats:
    """How far each item moves the slope of its criterion: (items,); below 30 instructions, by leaving it out.

    Without it there are also fewer instructions to estimate the models' effects from, hence G / (G - 1).
    """
    moved = np.bincount(items, weights=np.nan_to_num(residual * error))
    own = np.bincount(items, weights=residual**2)
    of = item_criterion
    left_out = clusters[of] / (clusters[of] - 1) / (moment[of] - own)
    influence: Floats = moved * np.where(clusters[of] < SMALL, left_out, 1 / moment[of])
    return influence


def _of_items(items: Integers, codes: Integers) -> Integers:
    """The code that all rows of an item share: (items,)."""
    owner = np.zeros(int(items.max()) + 1 if len(items) else 0, dtype=np.int64)
    owner[items] = codes
    return owner


def _codes(first: Integers, second: Integers) -> Integers:
    width = int(second.max()) + 1 if len(second) else 1
    codes: Integers = np.unique(first.astype(np.int64) * width + second, return_inverse=True)[1].astype(np.int64)
    return codes


def _means(values: Floats, codes: Integers) -> Floats:
    means: Floats = np.bincount(codes, weights=values) / np.bincount(codes)
    return means


def _two_way(values: Floats, first: Integers, second: Integers) -> Floats:
    """Residual of `values` on two sets of indicator variables: exact up to rounding, however sparse they are.

    The effects of `first` are eliminated as its means, which leaves normal equations for those of `second`, which are
    few: D2 - N' D1^-1 N, where N holds the counts of both together and D1 and D2 those of each. In each connected
    component one effect is free and is set to 0. Alternating projections give the same result, but need thousands of
    sweeps where a component is connected by only a few rows.
    """
    if not len(values):
        return values.astype(np.float64)
    within = values - _means(values, first)[first]
    groups, codes = int(first.max()) + 1, int(second.max()) + 1
    counts = sparse.csr_array((np.ones(len(values)), (first, second)), shape=(groups, codes))
    sizes = 1.0 / np.bincount(first, minlength=groups)
    laplacian = sparse.diags_array(np.bincount(second, minlength=codes).astype(np.float64)) - (
        counts.T @ (sparse.diags_array(sizes) @ counts)
    )
    _, part = sparse.csgraph.connected_components(laplacian, directed=False)
    _, fixed = np.unique(part, return_index=True)
    pinned = np.zeros(codes)
    pinned[fixed] = 1.0
    right = np.bincount(second, weights=within, minlength=codes)
    effect = sparse.linalg.spsolve(sparse.csc_array(laplacian + sparse.diags_array(pinned)), right)
    residual: Floats = within - effect[second] + _means(effect[second], first)[first]
    return residual


def _spearman(scores: Floats, lengths: Floats, criteria: Integers, n_criteria: int) -> Floats:
    correlation = np.full(n_criteria, np.nan)
    order = np.argsort(criteria, kind="stable")
    starts = np.searchsorted(criteria[order], np.arange(n_criteria + 1))
    for criterion in range(n_criteria):
        part = order[starts[criterion] : starts[criterion + 1]]
        if len(part) > 1 and np.ptp(scores[part]) > 0 and np.ptp(lengths[part]) > 0:
            ranks = np.column_stack((midranks(scores[part]), midranks(lengths[part])))
            correlation[criterion] = np.corrcoef(ranks, rowvar=False)[1, 0]
    return correlation
