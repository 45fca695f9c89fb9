"""How narrow a calibrated interval becomes with more labels, by the design that draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import stats

from pollux_dagster.core.statistics.clusters import Booleans, Floats, Integers
from pollux_dagster.core.statistics.ppi import MINIMUM_LABELLED

Design = Literal["uniform", "stratified", "informative"]
DESIGNS: tuple[Design, ...] = get_args(Design)
BINS = 4
PRIOR_LABELS = 5
UNIFORM_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Residuals:
    """What people's scores say of the judge's errors, in units of the scale.

    gold_variance: of people's scores within models. square: (answers,) expected square of what the judge, trusted by
    the best lambda, leaves of an answer's score.
    """

    gold_variance: float
    square: Floats


def expected_residuals(judge: Floats, gold: Floats, models: Integers) -> Residuals:
    """Fit them to the labelled answers. judge, gold: (answers,), gold NaN without a label; models: (answers,) codes.

    lambda is the slope of gold on judge within models, in [0, 1]. The square of the residual is averaged within BINS
    quantiles of the judge's score, each drawn towards the mean of all as if PRIOR_LABELS more labels had it. Raises
    ValueError with fewer than two labelled answers in every model, or where all labels of each model are equal.
    """
    labelled = ~np.isnan(gold)
    count = np.bincount(models[labelled])
    free = int(labelled.sum()) - int((count > 0).sum())
    if free < 1:
        raise ValueError("no model has two answers that people scored: there is no spread to forecast with")

    def within(values: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            centre = np.bincount(models[labelled], weights=values) / count
        centred: Floats = values - centre[models[labelled]]
        return centred

    y, f = within(gold[labelled]), within(judge[labelled])
    if not (y**2).sum() > 1e-12:
        raise ValueError("people's scores never differ within a model: there is no spread to forecast with")
    slope = float(np.clip((y @ f) / (f @ f), 0, 1)) if (f**2).sum() > 1e-12 else 0.0
    squares = (y - slope * f) ** 2 * len(y) / free
    overall = float(squares.mean())
    edges = np.quantile(judge, np.arange(1, BINS) / BINS)
    code = np.searchsorted(edges, judge)
    total = np.bincount(code[labelled], weights=squares, minlength=BINS) + PRIOR_LABELS * overall
    mean = total / (np.bincount(code[labelled], minlength=BINS) + PRIOR_LABELS)
    return Residuals(gold_variance=float((y**2).sum() / free), square=mean[code])


def probabilities(design: Design, number: int, square: Floats, strata: Integers) -> Floats:
    """The probability with which each answer, (answers,), is one of `number` drawn; 1 at most.

    uniform: equal. stratified: the same number from each stratum, as far as it has answers. informative: half of the
    draws as the root of the expected squared residual, which has the least variance (Neyman 1934, JRSS 97:558; Zrnic &
    Candès 2024, arXiv:2403.03208), and half uniform, so that an error nobody expects cannot weigh without limit.
    """
    answers = len(square)
    if design == "uniform":
        return np.full(answers, min(number / answers, 1.0))
    if design == "stratified":
        return _capped(1 / np.bincount(strata)[strata].astype(np.float64), number)
    root = np.sqrt(square)
    if root.sum() == 0:
        return np.full(answers, min(number / answers, 1.0))
    return _capped((1 - UNIFORM_SHARE) * root / root.sum() + UNIFORM_SHARE / answers, number)


def _capped(sizes: Floats, number: int) -> Floats:
    """Probabilities in proportion to `sizes` that sum to `number`; those that would exceed 1 are 1."""
    if number >= len(sizes):
        return np.ones(len(sizes))
    sure = np.zeros(len(sizes), dtype=bool)
    while True:
        left = np.where(sure, 0.0, sizes)
        chance = np.where(sure, 1.0, (number - int(sure.sum())) * left / left.sum())
        above = chance > 1 + 1e-12
        if not above.any():
            capped: Floats = np.minimum(chance, 1.0)
            return capped
        sure |= above


def half_width(
    design: Design,
    more: int,
    residuals: Residuals,
    labelled: Booleans,
    strata: Integers,
    *,
    standard_error: float | None,
    stated: bool,
    level: float = 0.95,
) -> float:
    """Expected half-width of one model's calibrated interval after `more` labels drawn by `design`: 0 where all answers
    are labelled then, NaN where calibration would not give one for so few.

    labelled, strata, and the residuals' square: (answers,) of the model. standard_error: of its calibrated mean now,
    None without one. stated: whether the present labels have probabilities; without, they count for themselves only as
    soon as others have them.

    The variance is gold_variance / N for the sampling of the N instructions, and for the labels, with the answers that
    have none, sum(square (1/p - 1)) / N^2 over those (Zrnic & Candès 2024, the variance of their mean estimate; for one
    uniform draw it is that of sample_size.labels_needed). Present labels that state their probability are a round of
    their own: the two variances are averaged as label_weights.label_weights averages the rounds' means, which do not
    covary (Des Raj 1956). lambda stays as it is, so the forecast is a little too wide where it would grow. The
    quantile is t with as many degrees of freedom as there are such labels, less one.
    """
    total, before = len(labelled), int(labelled.sum())
    number = min(more, total - before)
    if number == total - before:
        return 0.0
    if before + number < MINIMUM_LABELLED or (number == 0 and standard_error is None):
        return float("nan")
    sampled = residuals.gold_variance / total
    if standard_error is not None:
        past = max(standard_error**2 - sampled, 0.0)
    else:
        past = float(residuals.square.mean()) * (1 / max(before, 1) - 1 / total)
    if number == 0:
        return _half_width(sampled + past, before, level)
    chance = probabilities(design, number, residuals.square[~labelled], strata[~labelled])
    new = float((residuals.square[~labelled] * (1 / chance - 1)).sum()) / total**2
    if not stated or not before:
        return _half_width(sampled + new, number, level)
    n = before + number
    share = number * total / (n * (total - before))
    return _half_width(sampled + share**2 * new + (1 - share) ** 2 * past, n, level)


def _half_width(variance: float, labels: int, level: float) -> float:
    return float(stats.t.ppf((1 + level) / 2, max(labels - 1, 1)) * np.sqrt(variance))
