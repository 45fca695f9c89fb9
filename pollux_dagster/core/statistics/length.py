"""How much a score depends on the length of the answer, and what it would be at equal length.

The effect of length is estimated within an instruction and within a model, so neither a question that needs a long
answer nor a model that is both verbose and good is mistaken for a length effect. Models are compared in `comparison`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

from pollux_dagster.core.statistics.clusters import Floats, Integers

ENOUGH = 1e-9


@dataclass(frozen=True, slots=True)
class LengthEffects:
    """One entry per criterion, except `adjusted`, which is (rows,): the scores without the effect of length.

    correlation: Spearman's, over all rows. slope: change of score per standard deviation of log length, between answers
    to the same instruction, given the model; with its clustered standard error and interval. NaN where the criterion's
    rows cannot separate length from model and instruction (one model, or all answers equally long).
    """

    correlation: Floats
    slope: Floats
    standard_error: Floats
    low: Floats
    high: Floats
    n: Integers
    clusters: Integers
    adjusted: Floats


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
    b[model] + slope_c z + e, by removing instruction and model means from z (Frisch-Waugh); the variance of the slope
    is CR1 by instruction. The length-controlled score of a row is score - slope_c (z - mean of z over the models'
    answers to that instruction). Holding length at the value shared by all is the idea of Dubois, Galambosi, Liang &
    Hashimoto 2024, "Length-Controlled AlpacaEval"; the model is linear here because scores are means of levels and not
    preferences. Raises ValueError on a negative or missing length.
    """
    if len(lengths) and not (lengths >= 0).all():
        raise ValueError("every row needs the length of its answer, 0 or more; some are missing or negative.")
    logs = np.log1p(lengths)
    spread = float(logs.std()) if len(logs) else 0.0
    z = (logs - logs.mean()) / spread if spread > ENOUGH else np.zeros_like(logs)
    items = _codes(criteria, instructions)
    within_items = z - _means(z, items)[items]
    residual = _two_way(z, items, _codes(criteria, models))
    moment = np.bincount(criteria, weights=residual**2, minlength=n_criteria)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.bincount(criteria, weights=residual * scores, minlength=n_criteria) / moment
        slope[moment <= ENOUGH * np.maximum(np.bincount(criteria, minlength=n_criteria), 1)] = np.nan
        error = _two_way(scores, items, _codes(criteria, models)) - slope[criteria] * residual
        influence = np.bincount(items, weights=np.nan_to_num(residual * error))
        owner = np.zeros(len(influence), dtype=np.int64)
        owner[items] = criteria
        clusters = np.bincount(owner, minlength=n_criteria).astype(np.int64)
        factor = clusters / (clusters - 1.0)
        variance = factor * np.bincount(owner, weights=influence**2, minlength=n_criteria) / moment**2
        known = ~np.isnan(slope) & (clusters > 1)
        standard_error = np.where(known, np.sqrt(variance), np.nan)
        reach = stats.t.ppf((1 + level) / 2, np.maximum(clusters - 1, 1)) * standard_error
    return LengthEffects(
        correlation=_spearman(scores, lengths, criteria, n_criteria),
        slope=slope,
        standard_error=standard_error,
        low=slope - reach,
        high=slope + reach,
        n=np.bincount(criteria, minlength=n_criteria).astype(np.int64),
        clusters=clusters,
        adjusted=scores - np.nan_to_num(slope)[criteria] * within_items,
    )


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
            correlation[criterion] = stats.spearmanr(scores[part], lengths[part]).statistic
    return correlation
