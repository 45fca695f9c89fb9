"""The mean score that people would give if they rated everything: clustered prediction-powered inference.

Human labels on part of the answers correct the judge on all of them. The judge's error is measured where there are
labels and subtracted where there are none, so a biased judge widens the interval but does not bias the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from pollux_dagster.core.statistics import Proxy
from pollux_dagster.core.statistics.clusters import Booleans, Floats, Integers, matched_degrees, sum_cells
from pollux_dagster.core.statistics.intervals import clustered_means

MINIMUM_LABELLED = 15
"""Labelled instructions that a model needs for an interval; docs/statistics.md shows the coverage down to 10."""
MINIMUM_VARIED = 5
"""Labelled instructions whose gold must differ from the commonest one; docs/statistics.md shows what happens below."""
MINIMUM_ERRORS = 3
"""Labelled instructions on which the judge's error must differ from its commonest error for the errors to be
subtracted. Where labels show next to no such errors, the variance does not reflect them either, and the judge is not
used.
"""


@dataclass(frozen=True, slots=True)
class CalibratedMeans:
    """One entry per model, in the units of the scale; NaN where `enough` is false, except labels_* and judge_mean.

    mean, standard_error, low, high: prediction-powered. labels_*: from the labelled rows alone, as
    intervals.clustered_means computes them; the interval is NaN below minimum_labelled. judge_mean: of all rows,
    uncorrected. effective_labels: the number of labelled rows that would be as precise without the judge. weight:
    lambda, the trust in the judge; it is shared by all models, but 0 (labels only) for one whose labels show too few of
    the judge's errors. expected_weight: the part of it that the judge's expectation has, the rest being its number's.
    varied: whether gold differs enough among the labelled instructions to estimate a variance from
    them.
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
    weight: Floats
    expected_weight: Floats
    varied: Booleans
    enough: Booleans


def calibrated_means(
    judge: Floats,
    gold: Floats,
    models: Integers,
    clusters: Integers,
    n_models: int,
    *,
    expected: Floats | None = None,
    proxy: Proxy = "number",
    bounds: tuple[float, float] = (0.0, 1.0),
    weight: float | None = None,
    minimum_labelled: int = MINIMUM_LABELLED,
    minimum_varied: int = MINIMUM_VARIED,
    level: float = 0.95,
) -> CalibratedMeans:
    """Mean human score of each model over all its rows, from a judge on all rows and people on some.

    judge, gold: (rows,) on the same scale, gold NaN where nobody rated the row. models, clusters: (rows,) codes.
    expected: (rows,), the judge's expectation on that scale, which every proxy but its number needs. weight: lambda,
    estimated when None, shared equally where there are two proxies. bounds: of the scale.

    mean = mean(gold, labelled) + lambda (mean(proxy, unlabelled) - mean(proxy, labelled)), PPI++ of Angelopoulos, Duchi
    & Zrnic 2023 (arXiv:2311.01453, section 2 and, for the choice of lambda, 6); with two proxies one such term each, as
    with several control variates (Lavenberg & Welch 1981, Management Science 27:322). The variance is that of the sum
    of the clusters' influences, so labelled and unlabelled rows of one instruction may depend on each other; parts with
    few clusters are enlarged as CR3 does. lambda minimises that variance summed over the models; no lambda is below 0
    and they sum to 1 at most. They are shared, because the few labels of one model would overfit them.

    Interval: t, with the degrees of freedom that match the kurtosis of the influences of the labelled and the other
    clusters (clusters.matched_degrees, the two variances combined as in Welch 1947). It is computed on the logit scale
    where mean +- reach stays inside the bounds, and otherwise on the plain scale and cut off at the bounds, because
    near an end the logit of the mean is mostly noise. The mean is cut off at the bounds too.

    The labelled rows must be a random part of each model's rows; labels chosen by their score break the correction. A
    model gets no estimate with fewer than minimum_labelled labelled instructions, fewer than minimum_varied of them
    with a gold other than the commonest, or fewer than two unlabelled ones. With fewer than MINIMUM_ERRORS labelled
    instructions on which the judge's number errs, it gets the estimate from the labels alone; an expectation is never
    quite right, so its errors do not show whether the large ones were seen. Raises ValueError when lengths differ, a
    value is out of bounds or `expected` is missing.
    """
    low, high = bounds
    labelled = ~np.isnan(gold)
    if expected is None and proxy != "number":
        raise ValueError(f"the proxy {proxy!r} needs the judge's expectations: pass `expected`, one for each row")
    given = {"judge": judge, "gold": gold[labelled]} | ({} if expected is None else {"expected": expected})
    for name, values in given.items():
        if len(values) and not (values.min() >= low - 1e-9 and values.max() <= high + 1e-9):
            raise ValueError(f"{name} scores must lie within the scale {bounds}; bring both to it first.")
    span = high - low
    f, y = (judge - low) / span, (gold - low) / span
    proxies = [f] if proxy != "expectation" else []
    if expected is not None and proxy != "number":
        proxies.append((expected - low) / span)
    rows = np.bincount(models, minlength=n_models).astype(np.int64)
    gold_part = _influences(y[labelled], models[labelled], clusters[labelled], n_models)
    judge_parts = [_influences(x[labelled], models[labelled], clusters[labelled], n_models) for x in proxies]
    rest_parts = [_influences(x[~labelled], models[~labelled], clusters[~labelled], n_models) for x in proxies]
    many = gold_part.clusters >= max(minimum_labelled, 2)
    varied = _varied(y[labelled], models[labelled], clusters[labelled], n_models) >= minimum_varied
    enough = many & varied & (rest_parts[0].clusters >= 2)
    errors = _varied((y - f)[labelled], models[labelled], clusters[labelled], n_models)
    trusted = enough & (errors >= MINIMUM_ERRORS)
    # One row per (model, cluster) pair that has rows in either part.
    width = int(clusters.max()) + 1 if len(clusters) else 1
    pairs = np.unique(models * width + clusters)
    a = gold_part.on(pairs, width)
    b = np.stack([r.on(pairs, width) - j.on(pairs, width) for r, j in zip(rest_parts, judge_parts, strict=True)])
    model_of_pair = pairs // width
    used = trusted[model_of_pair]
    if weight is None:
        weights = _weights(a[used], b[:, used])
        fitted = len(proxies) / max(int(trusted.sum()), 1)
    else:
        weights = np.full(len(proxies), weight / len(proxies))
        fitted = 0.0
    trust = np.where(trusted, weights[:, None], 0.0)
    alone = clustered_means(y[labelled], models[labelled], clusters[labelled], n_models, level=level)
    with np.errstate(divide="ignore", invalid="ignore"):
        labels_degrees = gold_part.clusters.astype(np.float64) - 1
        gaps = np.stack([r.mean - j.mean for r, j in zip(rest_parts, judge_parts, strict=True)])
        mean = gold_part.mean + (trust * gaps).sum(axis=0)
        has_labels = np.isin(pairs, gold_part.model * width + gold_part.cluster)
        variance, matched = _spread(a + (trust[:, model_of_pair] * b).sum(axis=0), model_of_pair, has_labels, n_models)
        # Each lambda was chosen to minimise this variance, which costs its share of the degrees of freedom.
        error = np.sqrt(variance * labels_degrees / (labels_degrees - fitted))
        low_end, high_end = _interval(mean, error, np.fmin(labels_degrees - fitted, matched), level)
        # The labels-only interval is exact for few clusters and near the ends.
        error = np.where(trusted, error, alone.standard_error)
        low_end, high_end = np.where(trusted, low_end, alone.low), np.where(trusted, high_end, alone.high)
        labels_variance = np.bincount(model_of_pair, weights=a**2, minlength=n_models)
        gained = np.where(trusted, labels_variance / error**2, 1.0)
        effective = np.bincount(models[labelled], minlength=n_models) * gained
        judge_mean = np.bincount(models, weights=f, minlength=n_models) / rows

    def scaled(values: Floats, shift: float = low, where: Booleans = enough) -> Floats:
        return np.where(where, shift + span * values, np.nan)

    return CalibratedMeans(
        mean=scaled(np.clip(mean, 0.0, 1.0)),
        standard_error=scaled(error, 0.0),
        low=scaled(low_end),
        high=scaled(high_end),
        labels_mean=low + span * alone.mean,
        labels_standard_error=scaled(alone.standard_error, 0.0, many),
        labels_low=scaled(alone.low, where=many),
        labels_high=scaled(alone.high, where=many),
        judge_mean=low + span * judge_mean,
        labelled_rows=np.bincount(models[labelled], minlength=n_models).astype(np.int64),
        labelled_clusters=gold_part.clusters,
        rows=rows,
        effective_labels=np.where(enough, effective, np.nan),
        weight=np.where(enough, trust.sum(axis=0), np.nan),
        expected_weight=np.where(enough, 0.0 if proxy == "number" else trust[-1], np.nan),
        varied=varied,
        enough=enough,
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """Means of one part of the rows by model, and the influence of each of its (model, cluster) cells on them."""

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


def _weights(labels: Floats, proxies: Floats) -> Floats:
    """The weights w, none below 0 and summing to 1 at most, for which the influences labels + w proxies have the least
    sum of squares. labels: (cells,), proxies: (proxies, cells). One proxy has clip(-labels proxies / proxies^2, 0, 1).

    What the weights leave of 1 is the labels' alone, so the result is the point nearest to 0 among the weighted means
    of the influences without any proxy and with each of them fully trusted. Least squares without negative
    coefficients (Lawson & Hanson 1974, chapter 23) find it: with one more equation, sum = 1, the solution is that point
    but for its sum.
    """
    corners = np.stack([labels, *(labels + proxies)], axis=1)
    size = float(np.sqrt((corners**2).sum(axis=0).max(initial=0.0)))
    if size == 0:
        return np.zeros(len(proxies))
    triangle = np.linalg.qr(corners / size, mode="r")
    solution, _ = optimize.nnls(np.vstack([triangle, np.ones(len(proxies) + 1)]), np.r_[np.zeros(len(triangle)), 1.0])
    weights: Floats = solution[1:] / solution.sum()
    return weights


def _varied(values: Floats, models: Integers, clusters: Integers, n_models: int) -> Integers:
    """Number of clusters of each model whose mean differs from its commonest cluster mean: (n_models,)."""
    cells = sum_cells(values, models, clusters, n_models)
    _, value = np.unique(np.round(cells.total / cells.count, 9), return_inverse=True)
    width = int(value.max(initial=0)) + 1
    alike, number = np.unique(cells.group * width + value, return_counts=True)
    commonest = np.zeros(n_models, dtype=np.int64)
    np.maximum.at(commonest, alike // width, number)
    counted: Integers = np.bincount(cells.group, minlength=n_models) - commonest
    return counted


def _spread(influence: Floats, models: Integers, has_labels: Booleans, n_models: int) -> tuple[Floats, Floats]:
    """Variance of each model's mean from its clusters' influences, and the degrees of freedom of that variance.

    The clusters with labels and those without are two samples of different spread: their variances are added, with the
    degrees of freedom of Welch 1947 (Biometrika 34:28).
    """
    total, unsure = np.zeros(n_models), np.zeros(n_models)
    for part in (has_labels, ~has_labels):
        of, size = models[part], influence[part]
        variance = np.bincount(of, weights=size**2, minlength=n_models).astype(np.float64)
        fourth = np.bincount(of, weights=size**4, minlength=n_models).astype(np.float64)
        degrees = matched_degrees(variance, fourth, np.bincount(of, minlength=n_models).astype(np.float64))
        total += variance
        unsure += np.nan_to_num(variance**2 / degrees)
    return total, total**2 / unsure


def _interval(mean: Floats, error: Floats, degrees: Floats, level: float) -> tuple[Floats, Floats]:
    reach = stats.t.ppf((1 + level) / 2, np.maximum(degrees, 0.5)) * error
    inside = (mean - reach > 0) & (mean + reach < 1)
    safe = np.where(inside, mean, 0.5)
    stretched = reach / (safe * (1 - safe))
    centre, cut = special.logit(safe), np.clip(mean, 0.0, 1.0)
    low = np.where(inside, special.expit(centre - stretched), np.maximum(cut - reach, 0.0))
    high = np.where(inside, special.expit(centre + stretched), np.minimum(cut + reach, 1.0))
    return low, high
