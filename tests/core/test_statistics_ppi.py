"""Calibrated means: equal to ppi-python where that applies, silent where labels are too few."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from pollux_dagster.core.statistics.clusters import Floats, Integers
from pollux_dagster.core.statistics.ppi import MINIMUM_LABELLED, CalibratedMeans, calibrated_means


def _world(seed: int, bias: float = 0.2, labelled: int = 60) -> tuple[Floats, Floats, Integers, Integers]:
    """Two models, 300 instructions of 4 rows; the judge is kind to the second and harsh to the first."""
    rng = np.random.default_rng(seed)
    model = np.repeat([0, 1], 1200)
    cluster = np.tile(np.repeat(np.arange(300), 4), 2)
    ease = rng.beta(3, 2, (2, 300))[model, cluster]
    gold = np.clip(ease + rng.normal(0, 0.1, 2400), 0, 1)
    judge = np.clip(gold + np.where(model == 0, -bias, bias) + rng.normal(0, 0.1, 2400), 0, 1)
    chosen = rng.permutation(300)[:labelled]
    return judge, np.where(np.isin(cluster, chosen), gold, np.nan), model, cluster


def _all(world: tuple[Floats, Floats, Integers, Integers], **kwargs: float) -> CalibratedMeans:
    return calibrated_means(*world, 2, **kwargs)  # type: ignore[arg-type]


def test_a_biased_judge_is_corrected_and_gains_labels() -> None:
    result = _all(_world(0))
    truth = 0.6
    assert (np.abs(result.judge_mean - truth) > 0.1).all()
    assert (result.low < truth).all()
    assert (truth < result.high).all()
    assert (result.high - result.low < result.labels_high - result.labels_low).all()
    assert (result.effective_labels > 1.5 * result.labelled_rows).all()


def test_with_one_row_an_instruction_it_is_ppi_python() -> None:
    ppi_py = pytest.importorskip("ppi_py", reason="ppi-python is not installed")
    rng = np.random.default_rng(1)
    gold = rng.random(400)
    judge = np.clip(gold + rng.normal(0.1, 0.1, 400), 0, 1)
    known = np.where(np.arange(400) < 80, gold, np.nan)
    zero = np.zeros(400, dtype=np.int64)
    for weight in (0.0, 0.5, 1.0):
        ours = calibrated_means(judge, known, zero, np.arange(400), 1, weight=weight)
        arrays = gold[:80], judge[:80], judge[80:]
        assert_allclose(ours.mean[0], ppi_py.ppi_mean_pointestimate(*arrays, lam=weight), atol=1e-12)
        low, high = ppi_py.ppi_mean_ci(*arrays, alpha=0.05, lam=weight)
        theirs = (high[0] - low[0]) / 2 / stats.norm.ppf(0.975)
        assert_allclose(ours.standard_error[0], theirs, rtol=0.02)  # theirs divides by n, ours by n - 1
    fitted = calibrated_means(judge, known, zero, np.arange(400), 1)
    free = ppi_py.ppi_mean_pointestimate(*arrays)[0]
    theirs = (free - gold[:80].mean()) / (judge[80:].mean() - judge[:80].mean())
    assert_allclose(fitted.weight[0], theirs, atol=0.1)  # they pool the variance of the judge, we do not


def test_a_judge_that_knows_nothing_is_not_trusted() -> None:
    _, gold, model, cluster = _world(2)
    noise = np.random.default_rng(3).random(len(gold))
    result = calibrated_means(noise, gold, model, cluster, 2)
    assert (result.weight < 0.15).all()
    assert_allclose(result.mean, result.labels_mean, atol=0.02)


def test_too_few_labels_give_none() -> None:
    result = _all(_world(4, labelled=MINIMUM_LABELLED - 1))
    assert not result.enough.any()
    assert np.isnan([result.mean, result.low, result.labels_low, result.effective_labels]).all()
    assert np.isfinite([result.judge_mean, result.labels_mean]).all()


def test_a_model_without_labels_does_not_spoil_the_others() -> None:
    judge, gold, model, cluster = _world(5)
    gold[model == 1] = np.nan
    result = calibrated_means(judge, gold, model, cluster, 2)
    assert result.enough.tolist() == [True, False]
    assert np.isnan(result.labels_mean[1])
    assert np.isfinite(result.low[0])


def test_scores_off_the_scale_are_refused() -> None:
    judge, gold, model, cluster = _world(6)
    with pytest.raises(ValueError, match="judge scores must lie within"):
        calibrated_means(judge * 2, gold, model, cluster, 2)


def test_rows_of_an_instruction_may_be_labelled_in_part() -> None:
    judge, gold, model, cluster = _world(7, labelled=300)
    partly = np.where(np.random.default_rng(8).random(len(gold)) < 0.2, gold, np.nan)
    result = calibrated_means(judge, partly, model, cluster, 2)
    assert (result.labelled_clusters > 150).all()
    assert (result.low < 0.6).all()
    assert (result.high > 0.6).all()


def _near_the_top(falls: float, labelled: int, seed: int) -> tuple[Floats, Floats, Integers, Integers, float]:
    """Three models, 300 instructions of one row, all at the top but a share that falls by a half."""
    rng = np.random.default_rng(seed)
    gold = np.where(rng.random(900) < falls, 0.5, 1.0)
    judge = np.where(rng.random(900) < 0.05, 0.5, gold)
    known = np.concatenate([rng.permutation(300) < labelled for _ in range(3)])
    model, cluster = np.repeat(np.arange(3), 300), np.tile(np.arange(300), 3)
    return judge, np.where(known, gold, np.nan), model, cluster, 1 - falls / 2


def test_labels_that_never_vary_give_their_exact_bound_and_no_calibrated_figure() -> None:
    rng = np.random.default_rng(0)
    judge = np.where(rng.random(200) < 0.1, 0.5, 1.0)
    gold = np.where(np.arange(200) < 20, 1.0, np.nan)
    result = calibrated_means(judge, gold, np.zeros(200, dtype=np.int64), np.arange(200), 1)
    assert not result.varied.any()
    assert np.isnan([result.mean, result.low, result.high]).all()
    assert_allclose([result.labels_low[0], result.labels_high[0]], [0.025 ** (1 / 20), 1.0])


def test_the_mean_stays_on_the_scale_and_in_its_interval() -> None:
    # People are a little less kind on a quarter of the labelled; the judge is much kinder to the rest.
    rng = np.random.default_rng(1)
    judge = np.clip(np.r_[np.full(20, 0.6), np.full(180, 0.9)] + rng.normal(0, 0.05, 200), 0, 1)
    gold = np.r_[np.where(np.arange(20) < 5, 0.9, 1.0), np.full(180, np.nan)]
    for weight in (None, 1.0):
        result = calibrated_means(judge, gold, np.zeros(200, dtype=np.int64), np.arange(200), 1, weight=weight)
        assert 0 <= result.low[0] < result.mean[0] <= result.high[0] <= 1
        assert result.high[0] - result.low[0] < 0.5


def test_a_judge_that_labels_never_saw_err_is_not_used() -> None:
    """It errs on one in thirty; twenty labels may show none of that, and then no variance of it either."""
    rng = np.random.default_rng(2)
    gold = np.where(rng.random(300) < 0.5, 0.5, 1.0)
    judge = np.where((rng.random(300) < 0.03) & (np.arange(300) >= 20), 0.0, gold)
    known = np.where(np.arange(300) < 20, gold, np.nan)
    result = calibrated_means(judge, known, np.zeros(300, dtype=np.int64), np.arange(300), 1)
    assert result.weight[0] == 0
    assert result.enough[0]
    assert (result.mean[0], result.low[0], result.high[0]) == (
        result.labels_mean[0], result.labels_low[0], result.labels_high[0]
    )  # fmt: skip
    assert result.effective_labels[0] == 20


def test_near_the_end_of_the_scale_intervals_miss_no_more_than_they_may() -> None:
    for falls, labelled in ((0.02, 20), (0.05, 20), (0.1, 30), (0.2, 30)):
        missed, missed_by_labels, evaluations = 0, 0, 150
        for seed in range(evaluations):
            judge, gold, models, clusters, truth = _near_the_top(falls, labelled, seed)
            result = calibrated_means(judge, gold, models, clusters, 3)
            missed += int((result.enough & ~((result.low <= truth) & (truth <= result.high))).sum())
            missed_by_labels += int((~((result.labels_low <= truth) & (truth <= result.labels_high))).sum())
        # 5 % and three standard errors of 450.
        assert missed / evaluations / 3 < 0.08, falls
        assert missed_by_labels / evaluations / 3 < 0.08, falls
