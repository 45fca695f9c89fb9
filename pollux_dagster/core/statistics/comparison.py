"""Which models differ: paired differences of every two models on the rows both were scored on, and ranks from them.

A pair is compared row by row (same instruction, same criterion), so an item that one of the two was never asked, or has
no verdict for, cannot make them differ. Means of single models are in `intervals`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pollux_dagster.core.statistics import student
from pollux_dagster.core.statistics.clusters import SMALL, Booleans, Floats, Integers, matched_degrees
from pollux_dagster.core.statistics.multiplicity import holm

LARGE_SAMPLE = "paired t, CR1"
SMALL_SAMPLE = "paired t, CR3 jackknife"
CONSTANT = "exact binomial over clusters"
UNDEFINED = "none: fewer than two shared instructions"
_Blocks = list[tuple[Floats, Floats]]


@dataclass(frozen=True, slots=True)
class PairwiseComparisons:
    """All ordered pairs: every field is (models, models), and [a, b] compares a with b, positive when a is better.

    difference, standard_error, low, high: in the units of the scores, over the shared rows, with equal weight for each
    row. p_value: two-sided, of no difference. adjusted_p_value: Holm's, over the pairs a < b that could be tested.
    superiority: share of shared instructions on which a's mean is above b's, a tie counting as half. rows, clusters:
    numbers of shared rows and shared instructions. method: how the interval was computed.
    """

    difference: Floats
    standard_error: Floats
    low: Floats
    high: Floats
    p_value: Floats
    adjusted_p_value: Floats
    superiority: Floats
    rows: Integers
    clusters: Integers
    method: npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Ranks:
    """Rank of each model (1 is best) with simultaneous bounds, and the models it cannot be told apart from.

    rank, low, high: (models,). tied: (models, models), symmetric, false on the diagonal.
    """

    rank: Integers
    low: Integers
    high: Integers
    tied: Booleans


def compare_all(
    scores: Floats, clusters: Integers, *, bounds: tuple[float, float] = (0.0, 1.0), level: float = 0.95
) -> PairwiseComparisons:
    """Compare every two models.

    scores: (models, items), NaN where a model has no score on an item; an item is one criterion of one instruction (and
    sample). clusters: (items,) integer codes of the instructions. bounds: least and greatest possible score.

    For pair (a, b) and shared items i of cluster g: d_g = sum(a_i - b_i), n_g their number, m = sum(d_g) / sum(n_g);
    `_error` has the variance of m. t interval and test as in Miller 2024, "Adding Error Bars to Evals", section 4.2. A
    pair that differs by the same amount everywhere gets the exact binomial bound on how often it could differ
    otherwise, and the sign test's p-value. Holm 1979 controls the probability of any false difference among all pairs.
    Raises ValueError when scores and clusters disagree in length.
    """
    if scores.ndim != 2 or scores.shape[1] != len(clusters):
        raise ValueError(
            f"scores must be (models, items) with one cluster code per item; got {scores.shape} scores and "
            f"{len(clusters)} codes."
        )
    tail, span = (1 - level) / 2, bounds[1] - bounds[0]
    blocks = _blocks(scores, clusters)
    sums = _sums(blocks, len(scores))
    error, degrees, widest = _error(blocks, sums)
    rows, groups, mean = sums.rows, sums.groups, sums.mean
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = student.quantile(1 - tail, degrees) * error
        p_value = 2 * student.exceedance(np.abs(mean) / error, degrees)
        superiority = (sums.wins + sums.ties / 2) / groups
    # Differences that never vary have no variance to build a t interval from.
    constant = (widest <= 1e-12) & (groups >= 1)
    share = tail ** (1 / np.maximum(groups, 1))
    low = np.where(constant, share * mean - (1 - share) * span, np.maximum(mean - reach, -span))
    high = np.where(constant, share * mean + (1 - share) * span, np.minimum(mean + reach, span))
    p_value = np.where(constant, np.where(np.abs(mean) <= 1e-12, 1.0, 2.0 ** (1 - groups)), p_value)
    undefined = (groups < 2) | np.eye(len(scores), dtype=bool)
    method = np.where(groups < SMALL, SMALL_SAMPLE, LARGE_SAMPLE).astype("U64")
    method[constant] = CONSTANT
    method[undefined] = UNDEFINED
    nothing = np.nan
    p_value = np.where(undefined, nothing, p_value)
    return PairwiseComparisons(
        difference=np.where(rows > 0, mean, nothing),
        standard_error=np.where(undefined, nothing, error),
        low=np.where(undefined, nothing, low),
        high=np.where(undefined, nothing, high),
        p_value=p_value,
        adjusted_p_value=adjusted_over_pairs(p_value),
        superiority=np.where(groups > 0, superiority, nothing),
        rows=rows.astype(np.int64),
        clusters=groups.astype(np.int64),
        method=method,
    )


def rank_models(pairs: PairwiseComparisons, *, level: float = 0.95) -> Ranks:
    """Rank by paired differences, with bounds that hold for all models simultaneously.

    rank = 1 + number of models with a higher score on the shared rows. The bounds are 1 + the number of models surely
    better, and the number of models less those surely worse, where "surely" means an adjusted p-value below 1 - level.
    Whenever no pair is falsely told apart, which Holm guarantees with probability `level`, all true ranks lie within
    their bounds (Mogstad, Romano, Shaikh & Wilhelm 2024, Review of Economic Studies 91:476, section 3). With complete
    data this orders models by their mean; where models have different items, only the shared ones count. A pair without
    shared rows has no effect.
    """
    known = np.nan_to_num(pairs.difference)
    surely = np.nan_to_num(pairs.adjusted_p_value, nan=1.0) < 1 - level
    better = surely & (known > 0)  # [a, b]: a is surely better than b
    models = len(known)
    tied = ~surely
    np.fill_diagonal(tied, False)
    return Ranks(
        rank=1 + (known > 1e-12).sum(axis=0).astype(np.int64),
        low=1 + better.sum(axis=0).astype(np.int64),
        high=models - better.sum(axis=1).astype(np.int64),
        tied=tied,
    )


def adjusted_over_pairs(p_values: Floats) -> Floats:
    """Holm's adjustment of (models, models) p-values over the pairs a < b, mirrored to b < a."""
    adjusted = np.full_like(p_values, np.nan)
    pairs = np.triu_indices(len(p_values), k=1)
    adjusted[pairs] = holm(p_values[pairs])
    return np.fmax(adjusted, adjusted.T)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Over the shared items of each pair: their number, the mean difference m = sum(d_g) / sum(n_g), and in how many
    clusters (`groups`) the first model is ahead or level.
    """

    rows: Floats
    mean: Floats
    groups: Floats
    wins: Floats
    ties: Floats


def _sums(blocks: _Blocks, models: int) -> _Sums:
    rows, total, groups, wins, ties = (np.zeros((models, models)) for _ in range(5))
    for values, known in blocks:
        count, difference = _pair_sums(values, known)
        shared = count > 0
        rows += count.sum(axis=0)
        total += difference.sum(axis=0)
        groups += shared.sum(axis=0)
        wins += (difference > 1e-12).sum(axis=0)
        ties += (shared & (np.abs(difference) <= 1e-12)).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _Sums(rows, total / rows, groups, wins, ties)


def _error(blocks: _Blocks, sums: _Sums) -> tuple[Floats, Floats, Floats]:
    """Standard error of each pair's mean difference, its degrees of freedom, and the largest residual.

    Of the residuals r_g = d_g - m n_g over N = sum(n_g) items, as in `clusters.pooled_means`: CR1 sum(r_g^2) / N^2 with
    G-1 degrees; below 30 clusters CR3 sum((r_g / (N - n_g))^2) with N^2 / sum(n_g^2) - 1; in both no more degrees than
    match the kurtosis of the r_g, because a few clusters may make most of the variance.
    """
    rows, groups, small = sums.rows, sums.groups, sums.groups < SMALL
    squares, count_squares, widest, second, fourth = (np.zeros_like(rows) for _ in range(5))
    with np.errstate(divide="ignore", invalid="ignore"):
        for values, known in blocks:
            count, difference = _pair_sums(values, known)
            residual = np.where(count > 0, difference - sums.mean * count, 0.0)
            rest = rows - np.where(small, count, 0.0)
            squares += np.where(count > 0, (residual / rest) ** 2, 0.0).sum(axis=0)
            count_squares += (count**2).sum(axis=0)
            widest = np.maximum(widest, np.abs(residual).max(axis=0))
            np.square(residual, out=residual)
            second += residual.sum(axis=0)
            fourth += np.einsum("gab,gab->ab", residual, residual)
        variance = np.where(small, (groups - 1) / groups, groups / (groups - 1)) * squares
        plain = np.where(small, rows**2 / count_squares - 1, groups - 1)
        degrees = np.maximum(np.fmin(plain, matched_degrees(second, fourth, groups)), 0.5)
        return np.sqrt(variance), degrees, widest


def _blocks(scores: Floats, clusters: Integers) -> _Blocks:
    """Arrange the items by cluster: padded (clusters, models, items) values and 1/0 of known, in blocks of even size.

    The number of clusters in a block keeps a (clusters, models, models) array near 32 MB.
    """
    order = np.argsort(clusters, kind="stable")
    names, first, number = np.unique(clusters[order], return_index=True, return_counts=True)
    position = np.arange(len(order)) - np.repeat(first, number)
    shape = (len(names), int(number.max(initial=0)), len(scores))
    values, known = np.zeros(shape), np.zeros(shape)
    at = np.repeat(np.arange(len(names)), number), position
    by_item = scores[:, order].T
    known[at] = ~np.isnan(by_item)
    values[at] = np.nan_to_num(by_item)
    step = max(1, 4_000_000 // max(len(scores), 1) ** 2)
    turned = (0, 2, 1)
    return [
        (values[start : start + step].transpose(turned), known[start : start + step].transpose(turned))
        for start in range(0, len(names), step)
    ]


def _pair_sums(values: Floats, known: Floats) -> tuple[Floats, Floats]:
    """Number of shared items and sum of a - b over them, by cluster: two (clusters, models, models) arrays."""
    other = known.transpose(0, 2, 1)
    product = values @ other
    return known @ other, product - product.transpose(0, 2, 1)
