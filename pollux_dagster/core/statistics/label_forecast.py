"""How narrow a calibrated interval becomes with more labels, by the design that draws them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pollux_dagster.core.statistics import student
from pollux_dagster.core.statistics.clusters import Booleans, Floats, Integers
from pollux_dagster.core.statistics.ppi import MINIMUM_LABELLED

BINS = 4
PRIOR_LABELS = 5


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


def half_width(
    chance: Floats,
    residuals: Residuals,
    labelled: Booleans,
    *,
    standard_error: float | None,
    stated: bool,
    level: float = 0.95,
) -> float:
    """Expected half-width of one model's calibrated interval after one more draw: 0 where all answers are labelled
    then, NaN where calibration would not give one for so few.

    chance: (answers without a label,) the probability with which each is drawn, which sum to the model's expected
    number. labelled, and the residuals' square: (answers,) of the model. standard_error: of its calibrated mean now,
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
    number = float(chance.sum())
    if (chance >= 1).all():
        return 0.0
    if before + number < MINIMUM_LABELLED:
        return float("nan")
    sampled = residuals.gold_variance / total
    if standard_error is not None:
        past = max(standard_error**2 - sampled, 0.0)
    else:
        past = float(residuals.square.mean()) * (1 / max(before, 1) - 1 / total)
    new = float((residuals.square[~labelled] * (1 / chance - 1)).sum()) / total**2
    if not stated or not before:
        return _half_width(sampled + new, number, level)
    n = before + number
    share = number * total / (n * (total - before))
    return _half_width(sampled + share**2 * new + (1 - share) ** 2 * past, n, level)


def _half_width(variance: float, labels: float, level: float) -> float:
    return float(student.quantile((1 + level) / 2, max(labels - 1, 1)) * np.sqrt(variance))
