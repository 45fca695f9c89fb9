"""Intervals of mean scores: what they equal in other libraries, and what they say where those fall silent."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import stats

from pollux_dagster.core.statistics.clusters import pooled_means, sum_cells
from pollux_dagster.core.statistics.intervals import CONSTANT, GATED, clustered_means


def _rows(clusters: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), rng.integers(3, 9, clusters))
    ease = rng.random(clusters)[cluster]
    return np.clip(np.round(2 * ease + rng.normal(0, 0.4, len(cluster))), 0, 2) / 2, cluster


def _one(values: np.ndarray, cluster: np.ndarray, **kwargs: object) -> tuple[float, float, float, str]:
    result = clustered_means(values, np.zeros(len(values), dtype=np.int64), cluster, 1, **kwargs)  # type: ignore[arg-type]
    return float(result.mean[0]), float(result.low[0]), float(result.high[0]), str(result.method[0])


@pytest.mark.parametrize(("clusters", "covariance"), [(12, "cluster-crv3"), (29, "cluster-crv3"), (30, "cluster")])
def test_the_standard_error_is_that_of_a_clustered_regression_on_a_constant(clusters: int, covariance: str) -> None:
    values, cluster = _rows(clusters)
    ours = clustered_means(values, np.zeros(len(values), dtype=np.int64), cluster, 1)
    theirs = sm.OLS(values, np.ones(len(values))).fit(cov_type=covariance, cov_kwds={"groups": cluster})
    assert_allclose(ours.mean, theirs.params, atol=1e-12)
    assert_allclose(ours.standard_error, theirs.bse, rtol=1e-12)


def test_with_one_row_an_instruction_the_standard_error_is_the_textbook_one() -> None:
    values = np.random.default_rng(1).random(200)
    ours = clustered_means(values, np.zeros(200, dtype=np.int64), np.arange(200), 1)
    assert_allclose(ours.standard_error[0], stats.sem(values), rtol=1e-12)


def test_rows_of_one_instruction_are_not_independent_evidence() -> None:
    values = np.repeat(np.random.default_rng(2).integers(0, 3, 40) / 2, 10)
    clustered = clustered_means(values, np.zeros(400, dtype=np.int64), np.repeat(np.arange(40), 10), 1)
    independent = clustered_means(values, np.zeros(400, dtype=np.int64), np.arange(400), 1)
    assert_allclose(clustered.standard_error / independent.standard_error, np.sqrt(10), rtol=0.05)


def test_many_groups_at_once_equal_each_alone() -> None:
    rng = np.random.default_rng(3)
    group, cluster = rng.integers(0, 7, 3000), rng.integers(0, 60, 3000)
    values, tripped = rng.integers(0, 3, 3000) / 2, rng.random(3000) < 0.1
    values[tripped] = 0
    gated = group < 4
    together = clustered_means(values, group, cluster, 7, gated=gated, tripped=tripped & gated)
    for g in range(7):
        rows = group == g
        alone = clustered_means(
            values[rows], np.zeros(rows.sum(), dtype=np.int64), cluster[rows], 1, gated=gated[rows],
            tripped=(tripped & gated)[rows],
        )  # fmt: skip
        for field in ("mean", "standard_error", "low", "high", "n", "clusters"):
            assert_allclose(getattr(together, field)[g], getattr(alone, field)[0], rtol=1e-12)
        assert together.method[g] == alone.method[0]


def test_an_interval_never_leaves_the_scale() -> None:
    values = np.array([1.0] * 19 + [0.5])
    mean, low, high, _ = _one(values, np.arange(20))
    assert 0 < low < mean < high <= 1
    assert mean + 2 * stats.sem(values) > 1  # where the symmetric interval would have gone


def test_scores_that_never_vary_still_leave_doubt() -> None:
    mean, low, high, method = _one(np.ones(60), np.repeat(np.arange(15), 4))
    assert (mean, high, method) == (1.0, 1.0, CONSTANT)
    assert_allclose(low, stats.binomtest(15, 15).proportion_ci(method="exact").low, rtol=1e-12)


def test_one_instruction_gives_a_mean_and_no_interval() -> None:
    result = clustered_means(np.array([0.5, 1.0]), np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64), 1)
    assert result.mean[0] == 0.75
    assert np.isnan([result.low[0], result.high[0], result.standard_error[0]]).all()
    assert result.method[0].startswith("none")


def test_a_group_without_rows_has_no_mean() -> None:
    result = clustered_means(np.ones(3), np.zeros(3, dtype=np.int64), np.arange(3), 2)
    assert np.isnan(result.mean[1])
    assert result.n[1] == result.clusters[1] == 0


def test_gates_that_did_not_trip_in_few_instructions_might_trip_in_the_next() -> None:
    values, cluster = _rows(15)
    never = np.zeros(len(values), dtype=bool)
    _, low, high, _ = _one(values, cluster)
    _, gated_low, gated_high, method = _one(values, cluster, gated=~never, tripped=never)
    assert gated_low < low
    assert_allclose(gated_high, high)
    assert method.startswith(GATED)


def test_an_evaluation_whose_every_answer_tripped_can_only_be_bad() -> None:
    everything = np.ones(20, dtype=bool)
    mean, low, high, _ = _one(np.zeros(20), np.arange(20), gated=everything, tripped=everything)
    assert mean == low == 0
    assert 0 < high < 0.25


def test_other_scales_are_only_another_unit() -> None:
    values, cluster = _rows(40)
    mean, low, high, _ = _one(values, cluster)
    scaled = _one(1 + 4 * values, cluster, bounds=(1.0, 5.0))
    assert_allclose(scaled[:3], [1 + 4 * mean, 1 + 4 * low, 1 + 4 * high], rtol=1e-12)


@pytest.mark.parametrize(
    ("values", "message"),
    [([0.5, np.nan], "not finite"), ([0.5, 1.5], "within the scale"), ([0.5], "one entry per row")],
)
def test_rows_that_cannot_be_averaged_are_refused(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clustered_means(np.array(values), np.zeros(2, dtype=np.int64), np.arange(2), 1)


def test_the_logit_interval_of_one_row_an_instruction_is_that_of_evalstats() -> None:
    resampling = pytest.importorskip("evalstats.core.resampling", reason="evalstats is not installed")
    for values in (np.random.default_rng(5).integers(0, 3, 80) / 2, np.ones(12)):
        _, low, high, _ = _one(values, np.arange(len(values)))
        assert_allclose((low, high), resampling.logit_t_ci_1d(values, 0.05), rtol=1e-9)


def test_fewer_than_thirty_instructions_use_the_jackknife() -> None:
    values, cluster = _rows(12)
    pooled = pooled_means(sum_cells(values, np.zeros(len(values), dtype=np.int64), cluster, 1))
    left_out = np.array([values[cluster != g].mean() for g in range(12)])
    assert_allclose(pooled.variance[0], 11 / 12 * ((left_out - values.mean()) ** 2).sum(), rtol=1e-12)


def test_one_odd_instruction_makes_the_variance_less_sure_of_itself() -> None:
    level = np.zeros(40, dtype=np.int64)
    even = pooled_means(sum_cells(np.tile([0.4, 0.6], 20), level, np.arange(40), 1))
    odd = pooled_means(sum_cells(np.append(np.full(39, 1.0), 0.0), level, np.arange(40), 1))
    assert even.degrees[0] == 39
    assert odd.degrees[0] < 3
