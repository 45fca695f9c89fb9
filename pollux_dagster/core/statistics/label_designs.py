"""With what probability a design chooses each answer for people to score: for the draws and for their forecast."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from pollux_dagster.core.statistics.clusters import Floats, Integers

Design = Literal["uniform", "stratified", "informative"]
DESIGNS: tuple[Design, ...] = get_args(Design)
UNIFORM_SHARE = 0.5
"""Share of an informative draw that is uniform, so that no answer's weight is above 1 / UNIFORM_SHARE times the mean's.
"""
SCORE_VARIANCE = """
    CASE
        WHEN level_probabilities IS NOT NULL THEN greatest(0, (
            list_dot_product(level_probabilities, [x * x FOR x IN criteria.levels]) - expected_score ** 2
        ) / (scores.max_score - scores.min_score) ** 2)
        ELSE coalesce(normalized_score * (1 - normalized_score), 0.25)
    END
"""
"""SQL over staging.scores AS scores and raw.criteria AS criteria: the variance of the judge's score x in [0, 1], under
its own probabilities of the levels, else the most that it can be, x (1 - x) (Bhatia & Davis 2000, American Mathematical
Monthly 107:353). An answer's spread is the root of the mean over its criteria.
"""


def inclusion_probabilities(design: Design, wanted: int, models: Integers, spread: Floats) -> Floats:
    """The probability, (answers,), above 0 and at most 1, with which each answer is one of `wanted`; they sum to that.

    models: (answers,) codes. spread: (answers,), at least 0. `uniform`: equal. `stratified`: as many answers of each
    model (all of one that has fewer), equal within a model. `informative`: half of the draw uniform, half in proportion
    to the spread, because people may be furthest from the judge there, which is where labels narrow the interval of a
    calibrated mean most (Zrnic & Candès 2024, Active Statistical Inference, arXiv:2403.03208).
    """
    answers = len(models)
    if wanted >= answers:
        return np.ones(answers)
    if design == "stratified":
        sizes = np.bincount(models).astype(np.float64)
        shares = _shared_out(wanted, np.ones(len(sizes)), sizes)
        return np.minimum(shares[models] / sizes[models], 1.0)
    if design == "informative" and spread.sum() > 0:
        sizes = UNIFORM_SHARE / answers + (1 - UNIFORM_SHARE) * spread / spread.sum()
        return _shared_out(wanted, sizes, np.ones(answers))
    return np.full(answers, wanted / answers)


def _shared_out(wanted: float, sizes: Floats, limits: Floats) -> Floats:
    """`wanted` shared out in proportion to `sizes`, none above its limit; the limits sum to at least it."""
    shares, is_open = limits.copy(), np.ones(len(sizes), dtype=bool)
    while is_open.any():
        offered = (wanted - limits[~is_open].sum()) * sizes / sizes[is_open].sum()
        full = is_open & (offered >= limits)
        if not full.any():
            shares[is_open] = offered[is_open]
            break
        is_open &= ~full
    return shares
