"""Calibrated means: equal to ppi-python where that applies, silent where labels are too few."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, special, stats

from pollux_dagster.core.statistics import Proxy
from pollux_dagster.core.statistics.clusters import Floats, Integers
from pollux_dagster.core.statistics.ppi import (
    MINIMUM_LABELLED,
    CalibratedMeans,
    _weights,
    calibrated_means,
    doubtful_labels,
)


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


@pytest.mark.slow
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


Believed = tuple[Floats, Floats, Floats, Integers, Integers, float]


def _believed(seed: int, *, labelled: int, doubt: float = 0.5, noise: float = 0.4) -> Believed:
    """Two models, 150 instructions of 2 rows, levels 0, 0.5 and 1, and a judge with probabilities of them.

    It sees the answer's latent quality with `noise`, believes that within `doubt`, and draws its number from its
    beliefs. The last is the true mean.
    """
    rng = np.random.default_rng(seed)
    model, cluster = np.repeat([0, 1], 300), np.tile(np.repeat(np.arange(150), 2), 2)
    shared = rng.normal(size=(2, 150))[model, cluster]
    ease = np.sqrt(0.4) * shared + np.sqrt(0.6) * rng.normal(size=600)
    cuts = np.array([-0.8, 0.3])
    seen = ease + np.where(model == 0, -0.2, 0.3) + noise * rng.normal(size=600)
    number = ((seen + doubt * rng.normal(size=600))[:, None] > cuts).mean(axis=1)
    expected = special.ndtr((seen[:, None] - cuts) / doubt).mean(axis=1)
    chosen = rng.permutation(150)[:labelled]
    gold = np.where(np.isin(cluster, chosen), (ease[:, None] > cuts).mean(axis=1), np.nan)
    return number, expected, gold, model, cluster, float(stats.norm.sf(cuts).mean())


def _of(world: Believed, proxy: Proxy, **changes: float) -> CalibratedMeans:
    number, expected, gold, model, cluster, _ = world
    return calibrated_means(number, gold, model, cluster, 2, expected=expected, proxy=proxy, **changes)  # type: ignore[arg-type]


def _same(one: CalibratedMeans, other: CalibratedMeans, *names: str) -> None:
    for name in names or [field.name for field in fields(CalibratedMeans) if field.name != "influences"]:
        assert_allclose(getattr(one, name), getattr(other, name), err_msg=name)


def test_the_number_is_the_proxy_unless_another_is_asked_for() -> None:
    number, _, gold, model, cluster, _ = world = _believed(0, labelled=40)
    _same(_of(world, "number"), calibrated_means(number, gold, model, cluster, 2))


def test_an_expectation_is_used_as_a_number_would_be() -> None:
    _, expected, gold, model, cluster, _ = world = _believed(1, labelled=40)
    as_number = calibrated_means(expected, gold, model, cluster, 2)
    found = _of(world, "expectation")
    _same(found, as_number, "mean", "standard_error", "low", "high", "weight", "effective_labels")
    _same(found, _of(world, "number"), "judge_mean", "labels_mean", "labels_low")
    assert (found.expected_weight == found.weight).all()


def test_two_proxies_have_the_weights_of_the_best_linear_predictor() -> None:
    """Where both tell something of their own and each instruction has one row: the slopes of a regression of gold on
    both, reduced by 1 + n/N because the judge's mean over all rows is a sample too (PPI++, section 6).
    """
    rng = np.random.default_rng(2)
    first, second = 0.2 + 0.6 * rng.random((2, 6000))
    gold = np.clip(0.4 * first + 0.3 * second + 0.1 + rng.normal(0, 0.05, 6000), 0, 1)
    known = np.where(np.arange(6000) < 2000, gold, np.nan)
    found = calibrated_means(
        first, known, np.zeros(6000, dtype=np.int64), np.arange(6000), 1, expected=second, proxy="both"
    )
    slopes = np.linalg.lstsq(np.stack([first, second, np.ones(6000)])[:, :2000].T, gold[:2000], rcond=None)[0]
    assert found.weight[0] == pytest.approx(slopes[:2].sum() / 1.5, abs=0.02)
    assert found.expected_weight[0] == pytest.approx(slopes[1] / 1.5, abs=0.02)


@pytest.mark.parametrize("seed", range(12))
def test_weights_are_the_least_sum_of_squares_that_their_limits_allow(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, proxies = rng.normal(size=50), rng.normal(size=(2, 50))
    proxies += rng.normal(0, 1.5, (2, 1)) * labels + 0.7 * proxies[::-1] * (seed % 2)
    found = _weights(labels, proxies)
    best = optimize.minimize(
        lambda w: ((labels + w @ proxies) ** 2).sum(), [0.3, 0.3], method="SLSQP", bounds=[(0, 1)] * 2, tol=1e-14,
        constraints={"type": "ineq", "fun": lambda w: 1 - w.sum()},
    )  # fmt: skip
    assert_allclose(found, best.x, atol=1e-5)
    one = np.clip(-labels @ proxies[0] / (proxies[0] @ proxies[0]), 0, 1)
    assert_allclose(_weights(labels, proxies[:1]), [one], atol=1e-12)


def test_a_proxy_twice_is_that_proxy() -> None:
    number, _, gold, model, cluster, _ = world = _believed(3, labelled=60)
    twice = calibrated_means(number, gold, model, cluster, 2, expected=number, proxy="both")
    once = _of(world, "number")
    assert_allclose(twice.mean, once.mean, rtol=1e-9)
    assert_allclose(twice.weight, once.weight, rtol=1e-9)
    # Two weights cost two degrees of freedom, shared by two models.
    assert_allclose(twice.standard_error, once.standard_error, rtol=0.02)


def test_a_proxy_that_is_not_given_is_asked_for() -> None:
    judge, gold, model, cluster = _world(9)
    with pytest.raises(ValueError, match="'both' needs the judge's expectations"):
        calibrated_means(judge, gold, model, cluster, 2, proxy="both")
    with pytest.raises(ValueError, match="expected scores must lie within"):
        calibrated_means(judge, gold, model, cluster, 2, expected=judge + 1)


@pytest.mark.parametrize("proxy", get_args(Proxy))
def test_no_proxy_is_used_where_labels_never_saw_the_number_err(proxy: Proxy) -> None:
    """An expectation is nearly right everywhere: that shows nothing about errors that the labels did not see."""
    rng = np.random.default_rng(2)
    gold = np.where(rng.random(300) < 0.5, 0.5, 1.0)
    judge = np.where((rng.random(300) < 0.03) & (np.arange(300) >= 20), 0.0, gold)
    expected = np.clip(judge + rng.normal(0, 0.01, 300), 0, 1)
    known = np.where(np.arange(300) < 20, gold, np.nan)
    found = calibrated_means(
        judge, known, np.zeros(300, dtype=np.int64), np.arange(300), 1, expected=expected, proxy=proxy
    )
    assert (found.weight[0], found.low[0], found.high[0]) == (0.0, found.labels_low[0], found.labels_high[0])


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [15, 40])
def test_intervals_hold_with_every_proxy_and_both_are_not_wider_than_either(labelled: int) -> None:
    evaluations = 250
    missed, width = dict.fromkeys(get_args(Proxy), 0), dict.fromkeys(get_args(Proxy), 0.0)
    for seed in range(evaluations):
        world = _believed(seed, labelled=labelled)
        for proxy in get_args(Proxy):
            found = _of(world, proxy)
            assert found.enough.all()
            missed[proxy] += int((~((found.low <= world[-1]) & (world[-1] <= found.high))).sum())
            width[proxy] += float((found.high - found.low).sum())
    for proxy in get_args(Proxy):
        # 5 % and three standard errors of 500.
        assert missed[proxy] / evaluations / 2 < 0.08, proxy
    assert width["expectation"] < 0.95 * width["number"]
    assert width["both"] < 0.95 * width["number"]
    # The second weight is estimated too: with 15 labelled instructions of two models that costs a hundredth or two.
    assert width["both"] < 1.03 * width["expectation"]


def test_an_expectation_that_knows_nothing_does_not_spoil_the_number() -> None:
    width = dict.fromkeys(get_args(Proxy), 0.0)
    for seed in range(60):
        number, _, gold, model, cluster, truth = _believed(seed, labelled=40, doubt=0.1)
        noise = np.random.default_rng(seed).random(600)
        for proxy in get_args(Proxy):
            found = _of((number, noise, gold, model, cluster, truth), proxy)
            width[proxy] += float((found.high - found.low).sum())
    assert width["both"] < 1.02 * width["number"] < 0.9 * width["expectation"]


def test_labels_are_doubted_for_all_models_together_and_not_where_nothing_is_known() -> None:
    unknown = np.nan
    assert doubtful_labels(np.array([unknown, 0.004, 0.001])).tolist() == [False, True, True]
    assert doubtful_labels(np.array([0.5, 0.004, 0.001])).tolist() == [False, False, True]
    assert doubtful_labels(np.array([unknown])).tolist() == [False]
