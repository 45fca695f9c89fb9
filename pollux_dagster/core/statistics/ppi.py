"""What the mean score would be had people judged everything: prediction-powered inference, clustered.

Human labels on a part of the answers correct the judge on all of them. The one idea: the judge's error is
measured where there are labels and taken off where there are none, so a biased judge costs width, never
truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from pollux_dagster.core.statistics.clusters import Booleans, Floats, Integers, sum_cells

MINIMUM_LABELLED = 15
"""Labelled instructions a model needs for an interval; docs/statistics.md shows the coverage down to 10."""


@dataclass(frozen=True, slots=True)
class CalibratedMeans:
    """One entry a model, in the units of the scale; NaN where `enough` is false, except the two raw means.

    mean, standard_error, low, high: prediction-powered. labels_*: from the labelled rows alone. judge_mean:
    of all rows, uncorrected. effective_labels: how many labelled rows would be as precise without the judge.
    weight: lambda, the trust in the judge (0 is labels only), the same for all models.
    """

    mean: Floats
    standard_error: Floats
    low: Floats
    high: Floats
    labels_mean: Floats
    labels_standard_error: Floats
    labels_low: Floats
    labels_high: Floats
    judge_mean: Floats
    labelled_rows: Integers
    labelled_clusters: Integers
    rows: Integers
    effective_labels: Floats
    weight: float
    enough: Booleans


def calibrated_means(
    judge: Floats,
    gold: Floats,
    models: Integers,
    clusters: Integers,
    n_models: int,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    weight: float | None = None,
    minimum_labelled: int = MINIMUM_LABELLED,
    level: float = 0.95,
) -> CalibratedMeans:
    """Mean human score of each model over all its rows, from a judge on all rows and people on some.

    judge, gold: (rows,) on the same scale, gold NaN where nobody rated the row. models, clusters: (rows,)
    codes.
    weight: lambda, estimated when None. bounds: of the scale.

    mean = mean(gold, labelled) + lambda (mean(judge, unlabelled) - mean(judge, labelled)), PPI++ of
    Angelopoulos, Duchi & Zrnic 2023 (arXiv:2311.01453, section 2 and, for the choice of lambda, 6). Its
    variance is that of the sum of the clusters' influences, so labelled and unlabelled rows of one
    instruction may depend on each other; parts with few clusters are enlarged as CR3 does. lambda minimises
    that variance summed over the models and is clipped to [0, 1]: shared, because one model's few labels
    would overfit it. Intervals: t on the logit scale. The labelled rows must be a random part of each model's
    rows; labels chosen by their score break the correction. A model with fewer than minimum_labelled labelled
    instructions, or fewer than two unlabelled ones, gets none. Raises ValueError when lengths differ or a
    value is out of bounds."""
    low, high = bounds
    labelled = ~np.isnan(gold)
    for name, values in (("judge", judge), ("gold", gold[labelled])):
        if len(values) and not (values.min() >= low - 1e-9 and values.max() <= high + 1e-9):
            raise ValueError(f"{name} scores must lie within the scale {bounds}; bring both to it first.")
    span = high - low
    f, y = (judge - low) / span, (gold - low) / span
    rows = np.bincount(models, minlength=n_models).astype(np.int64)
    gold_part = _influences(y[labelled], models[labelled], clusters[labelled], n_models)
    judge_part = _influences(f[labelled], models[labelled], clusters[labelled], n_models)
    rest_part = _influences(f[~labelled], models[~labelled], clusters[~labelled], n_models)
    enough = (gold_part.clusters >= max(minimum_labelled, 2)) & (rest_part.clusters >= 2)
    # One row a (model, cluster) pair, whichever of the two parts it has rows in.
    width = int(clusters.max()) + 1 if len(clusters) else 1
    pairs = np.unique(models * width + clusters)
    a = gold_part.on(pairs, width)
    b = rest_part.on(pairs, width) - judge_part.on(pairs, width)
    model_of_pair = pairs // width
    used = enough[model_of_pair]
    if weight is None:
        moment = float((b[used] ** 2).sum())
        weight = float(np.clip(-(a[used] * b[used]).sum() / moment, 0.0, 1.0)) if moment > 0 else 0.0
        fitted = 1.0 / max(int(enough.sum()), 1)
    else:
        fitted = 0.0
    clusters_labelled = gold_part.clusters
    with np.errstate(divide="ignore", invalid="ignore"):
        labels_degrees = clusters_labelled.astype(np.float64) - 1
        degrees = labels_degrees - fitted
        mean = gold_part.mean + weight * (rest_part.mean - judge_part.mean)
        # lambda was chosen to make this variance small: it takes its share of the degrees of freedom.
        variance = np.bincount(model_of_pair, weights=(a + weight * b) ** 2, minlength=n_models)
        error = np.sqrt(variance * labels_degrees / degrees)
        labels_error = np.sqrt(np.bincount(model_of_pair, weights=a**2, minlength=n_models))
        interval = _interval(mean, error, degrees, level)
        labels_interval = _interval(gold_part.mean, labels_error, labels_degrees, level)
        effective = np.bincount(models[labelled], minlength=n_models) * (labels_error / error) ** 2
        judge_mean = np.bincount(models, weights=f, minlength=n_models) / rows

    def scaled(values: Floats, shift: float = low) -> Floats:
        return np.where(enough, shift + span * values, np.nan)

    return CalibratedMeans(
        mean=scaled(mean),
        standard_error=scaled(error, 0.0),
        low=scaled(interval[0]),
        high=scaled(interval[1]),
        labels_mean=low + span * gold_part.mean,
        labels_standard_error=scaled(labels_error, 0.0),
        labels_low=scaled(labels_interval[0]),
        labels_high=scaled(labels_interval[1]),
        judge_mean=low + span * judge_mean,
        labelled_rows=np.bincount(models[labelled], minlength=n_models).astype(np.int64),
        labelled_clusters=clusters_labelled,
        rows=rows,
        effective_labels=np.where(enough, effective, np.nan),
        weight=weight,
        enough=enough,
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """Means of one part of the rows by model, and the influence of each of its (model, cluster) cells on
    them."""

    mean: Floats
    clusters: Integers
    model: Integers
    cluster: Integers
    influence: Floats

    def on(self, pairs: Integers, width: int) -> Floats:
        spread = np.zeros(len(pairs))
        spread[np.searchsorted(pairs, self.model * width + self.cluster)] = self.influence
        return spread


def _influences(values: Floats, models: Integers, clusters: Integers, n_models: int) -> _Part:
    cells = sum_cells(values, models, clusters, n_models)
    rows = cells.by_group(cells.count)
    n = np.bincount(cells.group, minlength=n_models).astype(np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = cells.by_group(cells.total) / rows
        rest = rows[cells.group] - cells.count
        factor = np.sqrt((n - 1) / n)[cells.group]
        influence = factor * (cells.total - mean[cells.group] * cells.count) / rest
    influence = np.where(rest > 0, influence, 0.0)
    return _Part(mean=mean, clusters=n, model=cells.group, cluster=cells.cluster, influence=influence)


def _interval(mean: Floats, error: Floats, degrees: Floats, level: float) -> tuple[Floats, Floats]:
    inside = np.clip(mean, 1e-6, 1 - 1e-6)
    reach = stats.t.ppf((1 + level) / 2, degrees) * error / (inside * (1 - inside))
    centre = special.logit(inside)
    return special.expit(centre - reach), special.expit(centre + reach)
