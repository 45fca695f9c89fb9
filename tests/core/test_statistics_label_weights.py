"""Labels drawn with unequal probabilities: what each stands for, and calibrated means made of them."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pollux_dagster.core.statistics.clusters import Booleans, Floats, Integers
from pollux_dagster.core.statistics.label_weights import label_weights
from pollux_dagster.core.statistics.ppi import CalibratedMeans, calibrated_means

NOBODY = float("nan")


def _weights(probability: list[float], rounds: list[int], total: int, unlabelled: int = 0) -> Floats:
    """Weights of the labels of one model with `total` rows; where no probability is stated it is NOBODY."""
    labelled = np.arange(total) < len(probability)
    chance = np.r_[probability, np.full(total - len(probability), NOBODY)]
    which = np.r_[rounds, np.zeros(total - len(rounds), dtype=np.int64)].astype(np.int64)
    found = label_weights(labelled, chance, which, np.zeros(total, dtype=np.int64), 1)
    assert (found[~labelled] == 0).all()
    assert found.sum() == pytest.approx(len(probability))
    return found[labelled]


def test_labels_weigh_one_where_nothing_is_stated_or_every_draw_is_uniform() -> None:
    assert (_weights([NOBODY] * 4, [0] * 4, 10) == 1).all()
    assert (_weights([0.3] * 4, [0] * 4, 10) == 1).all()
    # Two of ten were drawn, then half of the rest: each round's labels are as likely among those it was drawn from.
    assert (_weights([0.2, 0.2, 0.5, 0.5, 0.5, 0.5], [0, 0, 1, 1, 1, 1], 10) == 1).all()


def test_in_one_round_a_label_weighs_the_inverse_of_its_probability() -> None:
    found = _weights([0.1, 0.2, 0.4], [7, 7, 7], 20)
    assert_allclose(found * [0.1, 0.2, 0.4], np.full(3, found[0] * 0.1))
    # Only half of the draw was labelled: the ratios are what counts.
    assert_allclose(found, _weights([0.2, 0.4, 0.8], [7, 7, 7], 20))


def test_rounds_that_are_nearly_uniform_give_nearly_equal_weights() -> None:
    """The rule for several rounds has the rule for equal probabilities as its limit: nothing jumps."""
    chance = np.r_[np.full(5, 0.1), np.full(12, 0.3), np.full(8, 0.7)] * (1 + 1e-6 * np.arange(25))
    found = _weights(chance.tolist(), [1] * 5 + [2] * 12 + [4] * 8, 50)
    assert (found != 1).all()
    assert_allclose(found, 1, atol=1e-3)


def test_a_label_without_a_probability_beside_others_stands_for_itself() -> None:
    found = _weights([NOBODY, NOBODY, 0.2, 0.4], [0, 0, 1, 1], 40)
    share = found / 4
    assert_allclose(share[:2], 1 / 40)
    assert_allclose(share[2:], 38 / 40 * np.array([2 / 3, 1 / 3]))


def test_models_are_weighted_apart() -> None:
    labelled, models = np.tile([True, True, False, False], 2), np.repeat([0, 1], 4)
    chance = np.array([0.5, 0.5, NOBODY, NOBODY, 0.1, 0.9, NOBODY, NOBODY])
    found = label_weights(labelled, chance, np.zeros(8, dtype=np.int64), models, 2)
    assert_allclose(found, [1, 1, 0, 0, 1.8, 0.2, 0, 0])


@pytest.mark.parametrize("probability", [0.0, 1.2, -0.1])
def test_what_is_no_probability_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="not in"):
        _weights([0.5, probability], [0, 0], 5)


World = tuple[Floats, Floats, Floats, Integers, Integers, Booleans, Floats]


def _world(seed: int, labelled: int = 40) -> World:
    """One model, 200 instructions of 2 rows. The judge is kind, most of all to bad answers; low scores are likelier to
    be labelled. Judge, gold of all rows, known gold, models, clusters, whether labelled, probability.
    """
    rng = np.random.default_rng(seed)
    ease = np.repeat(rng.beta(2, 1.5, 200), 2)
    gold = np.clip(ease + rng.normal(0, 0.1, 400), 0, 1)
    judge = np.clip(0.35 + 0.65 * gold + rng.normal(0, 0.08, 400), 0, 1)
    size = 1.15 - judge.reshape(200, 2).mean(axis=1)
    chance = np.minimum(labelled * size / size.sum(), 1)
    order = rng.permutation(200)
    steps = np.floor(np.cumsum(chance[order]) + rng.random())
    drawn = np.zeros(200, dtype=bool)
    drawn[order] = np.diff(steps, prepend=0) > 0
    chosen = np.repeat(drawn, 2)
    known = np.where(chosen, gold, np.nan)
    cluster = np.repeat(np.arange(200), 2)
    return judge, gold, known, np.zeros(400, dtype=np.int64), cluster, chosen, np.repeat(chance, 2)


def _calibrated(world: World, *, weighted: bool, weight: float | None = None) -> CalibratedMeans:
    judge, _, known, models, clusters, chosen, chance = world
    of = label_weights(chosen, np.where(chosen, chance, np.nan), np.zeros_like(models), models, 1)
    return calibrated_means(judge, known, models, clusters, 1, label_weights=of if weighted else None, weight=weight)


def test_equal_weights_are_no_weights() -> None:
    judge, _, known, models, clusters, chosen, _ = _world(0)
    # Another model is weighted: that changes nothing for this one but the lambda they share.
    two = np.r_[models, models + 1], np.r_[clusters, clusters]
    weights = label_weights(chosen, np.where(chosen, 0.2, np.nan), np.zeros_like(models), models, 1)
    plain = calibrated_means(judge, known, models, clusters, 1)
    stated = calibrated_means(judge, known, models, clusters, 1, label_weights=weights)
    uneven = np.where(chosen, np.random.default_rng(1).random(400), 0)
    uneven *= chosen.sum() / uneven.sum()
    beside = calibrated_means(
        np.r_[judge, judge], np.r_[known, known], *two, 2, label_weights=np.r_[weights, uneven], weight=0.7
    )
    alone = calibrated_means(judge, known, models, clusters, 1, weight=0.7)
    for field in (each for each in fields(CalibratedMeans) if each.name != "influences"):
        assert_allclose(getattr(stated, field.name), getattr(plain, field.name), atol=1e-12, err_msg=field.name)
        assert_allclose(getattr(beside, field.name)[0], getattr(alone, field.name)[0], atol=1e-12, err_msg=field.name)
    assert beside.effective_clusters[1] < beside.labelled_clusters[1] == beside.effective_clusters[0]


def test_the_weighted_mean_is_that_of_ppi_python() -> None:
    ppi_py = pytest.importorskip("ppi_py", reason="ppi-python is not installed")
    judge, _, known, models, _, chosen, chance = world = _world(1)
    weights = label_weights(chosen, np.where(chosen, chance, np.nan), np.zeros_like(models), models, 1)
    for trust in (0.0, 0.4, 1.0):
        theirs = ppi_py.ppi_mean_pointestimate(
            known[chosen], judge[chosen], judge, lam=trust, w=weights[chosen], w_unlabeled=1 - weights
        )
        assert_allclose(_calibrated(world, weighted=True, weight=trust).mean, theirs, atol=1e-12)


def test_probabilities_take_out_what_an_informative_draw_puts_in() -> None:
    evaluations, truth = 80, 2 / 3.5  # the beta distribution's mean; noise is cut off at both ends about equally
    errors: dict[bool, list[float]] = {True: [], False: []}
    missed = noticed = falsely = 0
    for seed in range(evaluations):
        world = _world(seed)
        for weighted in (True, False):
            found = _calibrated(world, weighted=weighted)
            errors[weighted].append(float(found.labels_mean[0]) - truth)
            if weighted:
                missed += not (found.low[0] <= truth <= found.high[0])
                falsely += bool(found.chance_of_shift[0] < 0.01)
            else:
                noticed += bool(found.chance_of_shift[0] < 0.01)
    assert abs(np.mean(errors[True])) < 0.02
    assert np.mean(errors[False]) < -0.06
    # 5 % and three standard errors of 80.
    assert missed / evaluations < 0.125
    assert noticed / evaluations > 0.3
    assert falsely / evaluations < 0.05


def test_labels_that_one_of_them_decides_give_no_figure() -> None:
    judge, _, known, models, clusters, chosen, _ = _world(2)
    uneven = np.where(chosen, 0.01, 0)
    uneven[np.flatnonzero(chosen)[:2]] = 1.0
    uneven *= chosen.sum() / uneven.sum()
    found = calibrated_means(judge, known, models, clusters, 1, label_weights=uneven)
    assert found.effective_clusters[0] < 2
    assert not found.enough[0]
    assert np.isnan([found.mean[0], found.low[0], found.labels_low[0]]).all()
