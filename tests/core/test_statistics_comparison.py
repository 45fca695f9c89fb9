"""Paired comparisons, ranks and the effect of length, against libraries and data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import stats
from statsmodels.stats.multitest import multipletests

from pollux_dagster.core.statistics.clusters import pooled_means, sum_cells
from pollux_dagster.core.statistics.comparison import compare_all, rank_models
from pollux_dagster.core.statistics.length import length_effects


def test_with_one_item_an_instruction_a_pair_is_a_paired_t_test() -> None:
    scores = np.random.default_rng(0).random((3, 50))
    pairs = compare_all(scores, np.arange(50))
    theirs = stats.ttest_rel(scores[0], scores[1])
    interval = theirs.confidence_interval(0.95)
    assert_allclose(pairs.p_value[0, 1], theirs.pvalue, rtol=1e-10)
    assert_allclose((pairs.low[0, 1], pairs.high[0, 1]), (interval.low, interval.high), rtol=1e-10)


@pytest.mark.parametrize(("instructions", "covariance"), [(14, "cluster-crv3"), (60, "cluster")])
def test_the_standard_error_is_clustered_by_instruction(instructions: int, covariance: str) -> None:
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(instructions), rng.integers(2, 8, instructions))
    scores = rng.integers(0, 3, (2, len(cluster))) / 2
    pairs = compare_all(scores, cluster)
    difference = scores[0] - scores[1]
    fit = sm.OLS(difference, np.ones(len(difference))).fit(cov_type=covariance, cov_kwds={"groups": cluster})
    assert_allclose(pairs.difference[0, 1], difference.mean(), atol=1e-12)
    assert_allclose(pairs.standard_error[0, 1], fit.bse[0], rtol=1e-10)


def test_a_pair_is_compared_on_shared_rows_only() -> None:
    scores = np.array([[1.0, 1.0, 0.0, 0.0], [0.5, np.nan, 0.5, np.nan], [np.nan, 0.0, np.nan, np.nan]])
    pairs = compare_all(scores, np.array([0, 0, 1, 1]))
    assert pairs.rows[0, 1] == 2
    assert pairs.clusters[0, 1] == 2
    assert_allclose(pairs.difference[0, 1], 0.0, atol=1e-12)
    assert pairs.rows[1, 2] == 0
    assert np.isnan(pairs.difference[1, 2])
    assert np.isnan(pairs.adjusted_p_value[1, 2])


def test_swapping_a_pair_swaps_its_sign_and_nothing_else() -> None:
    scores = np.random.default_rng(2).random((4, 40))
    pairs = compare_all(scores, np.repeat(np.arange(20), 2))
    assert_allclose(pairs.difference, -pairs.difference.T, atol=1e-12)
    assert_allclose(pairs.low, -pairs.high.T, atol=1e-12)
    assert_allclose(pairs.p_value, pairs.p_value.T, atol=1e-12)
    off = ~np.eye(4, dtype=bool)
    assert_allclose((pairs.superiority + pairs.superiority.T)[off], 1.0)


def test_p_values_are_adjusted_for_all_pairs_by_holm() -> None:
    scores = np.random.default_rng(3).random((5, 60)) + np.arange(5)[:, None] / 15
    pairs = compare_all(scores, np.arange(60), bounds=(0, 2))
    first, second = np.triu_indices(5, 1)
    theirs = multipletests(pairs.p_value[first, second], method="holm")[1]
    assert_allclose(pairs.adjusted_p_value[first, second], theirs)


def test_superiority_counts_a_tie_as_half() -> None:
    scores = np.array([[1.0, 1.0, 0.0, 0.5], [0.0, 1.0, 0.0, 1.0]])
    assert_allclose(compare_all(scores, np.arange(4)).superiority[0, 1], (1 + 0.5 + 0.5 + 0) / 4)


def test_models_that_never_differ_are_tied_and_not_certainly_equal() -> None:
    same = np.tile(np.random.default_rng(4).random(20), (2, 1))
    pairs = compare_all(same, np.arange(20))
    assert pairs.p_value[0, 1] == 1.0
    assert pairs.low[0, 1] < 0 < pairs.high[0, 1]
    assert rank_models(pairs).tied[0, 1]


def test_ranks_follow_the_means_when_all_saw_the_same_items() -> None:
    scores = np.random.default_rng(5).random((6, 300))
    ranks = rank_models(compare_all(scores, np.repeat(np.arange(100), 3)))
    assert_allclose(ranks.rank, stats.rankdata(-scores.mean(axis=1)))
    assert (ranks.low <= ranks.rank).all()
    assert (ranks.rank <= ranks.high).all()


def test_models_far_apart_have_ranks_without_doubt() -> None:
    rng = np.random.default_rng(6)
    ranks = rank_models(compare_all(rng.normal(0, 0.01, (3, 50)) + np.array([[0.2], [0.8], [0.5]]), np.arange(50)))
    assert ranks.rank.tolist() == ranks.low.tolist() == ranks.high.tolist() == [3, 1, 2]
    assert not ranks.tied.any()


def test_an_easy_exam_does_not_lift_a_model() -> None:
    rng = np.random.default_rng(7)
    ease = np.repeat([0.2, 0.7], 60)
    scores = ease + np.array([[0.1], [0.0], [0.0]]) + rng.normal(0, 0.02, (3, 120))
    scores[0, 60:] = np.nan  # the best model saw the hard half only
    assert np.nanmean(scores[0]) < np.nanmean(scores[1])
    assert rank_models(compare_all(scores, np.arange(120))).rank[0] == 1


def test_a_difference_of_evalstats_is_ours() -> None:
    paired = pytest.importorskip("evalstats.core.paired", reason="evalstats is not installed")
    # Light tails: theirs has the degrees of freedom of a normal sample, which ours never exceed.
    scores = np.vstack([np.random.default_rng(8).random(60), np.full(60, 0.5)])
    theirs = paired.pairwise_differences(scores, 0, 1, "a", "b", method="t_interval")
    ours = compare_all(scores, np.arange(60))
    assert_allclose(ours.difference[0, 1], theirs.point_diff, rtol=1e-9)
    assert_allclose((ours.low[0, 1], ours.high[0, 1]), (theirs.ci_low, theirs.ci_high), rtol=1e-9)


def _verbose_world(slope: float) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(9)
    model, instruction = (a.ravel() for a in np.meshgrid(np.arange(6), np.arange(80), indexing="ij"))
    length = np.exp(rng.normal(5, 1, 80)[instruction] + 0.5 * model + rng.normal(0, 0.5, len(model)))
    logs = np.log1p(length)
    quality = 0.3 + 0.02 * model + rng.normal(0, 0.1, 80)[instruction]
    scores = quality + slope * (logs - logs.mean()) / logs.std() + rng.normal(0, 0.02, len(model))
    return scores, length, np.zeros(len(model), dtype=np.int64), model, instruction


def test_the_effect_of_length_is_that_of_a_regression_with_model_and_instruction_effects() -> None:
    scores, length, criterion, model, instruction = _verbose_world(0.05)
    kept = np.random.default_rng(10).random(len(scores)) < 0.8  # unbalanced
    scores, length, criterion, model, instruction = (a[kept] for a in (scores, length, criterion, model, instruction))
    logs = np.log1p(length)
    z = (logs - logs.mean()) / logs.std()
    design = np.column_stack([z, np.eye(6)[model], np.eye(80)[instruction][:, 1:]])
    theirs = np.linalg.lstsq(design, scores, rcond=None)[0][0]
    ours = length_effects(scores, length, criterion, model, instruction, 1)
    assert_allclose(ours.slope[0], theirs, rtol=1e-8)
    assert ours.low[0] < 0.05 < ours.high[0]
    assert_allclose(ours.correlation[0], stats.spearmanr(scores, length).statistic)


def test_a_pair_has_the_degrees_of_freedom_of_a_mean() -> None:
    # Two instructions of forty make all of the difference.
    difference = np.zeros(40)
    difference[[3, 7]] = 1.0, 0.5
    pair = compare_all(np.vstack([difference, np.zeros(40)]), np.arange(40))
    mean = pooled_means(sum_cells(difference, np.zeros(40, dtype=np.int64), np.arange(40), 1))
    reach = stats.t.ppf(0.975, mean.degrees[0]) * np.sqrt(mean.variance[0])
    assert mean.degrees[0] < 5
    assert pair.high[0, 1] - pair.difference[0, 1] == pytest.approx(reach, rel=1e-9)


def test_a_model_that_fails_few_instructions_whole_is_compared_with_care() -> None:
    covered, evaluations, instructions = 0, 400, 100
    for seed in range(evaluations):
        fails = np.random.default_rng(seed).random(instructions) < 0.05
        scores = np.vstack([np.ones(instructions), np.where(fails, 0.0, 1.0)])
        pair = compare_all(np.repeat(scores, 4, axis=1), np.repeat(np.arange(instructions), 4))
        covered += bool(pair.low[0, 1] <= 0.05 <= pair.high[0, 1])
    assert covered / evaluations > 0.92


@pytest.mark.parametrize(("models", "shared"), [pytest.param(30, 5, marks=pytest.mark.slow), (5, 2)])
def test_the_length_slope_is_exact_where_models_share_few_instructions(models: int, shared: int) -> None:
    """A chain: each model shares a few instructions with its neighbours and none with the others."""
    rng = np.random.default_rng(1)
    model = np.repeat(np.arange(models), 60)
    instruction = np.tile(np.arange(60), models) + model * (60 - shared)
    lengths = np.exp(rng.normal(5 + 0.2 * (model % 7), 1)).round()
    scores = np.clip(0.3 + 0.05 * np.log1p(lengths) + rng.normal(0, 0.2, len(model)), 0, 1)
    found = length_effects(scores, lengths, np.zeros(len(model), dtype=np.int64), model, instruction, 1)
    z = np.log1p(lengths)
    columns = [(z - z.mean()) / z.std(), *np.eye(models)[model].T, *np.eye(instruction.max() + 1)[instruction].T]
    exact = np.linalg.lstsq(np.stack(columns, axis=1), scores, rcond=None)[0][0]
    assert found.slope[0] == pytest.approx(exact, rel=1e-8)
