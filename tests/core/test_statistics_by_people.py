"""Models by people's scores: paired where people scored the same, and no more false words than promised."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pollux_dagster.core.statistics.by_people import BY_INTERVALS, BY_MEANS, compare_by_people
from pollux_dagster.core.statistics.comparison import PairwiseComparisons, compare_all
from pollux_dagster.core.statistics.ppi import CalibratedMeans, calibrated_means
from tools.simulate_worlds import draw_judged_alike

Compared = tuple[PairwiseComparisons, np.ndarray, CalibratedMeans]


def drawn(
    seed: int, shifts: list[float], *, instructions: int = 100, noise: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    return draw_judged_alike(
        np.random.default_rng([5, seed]), np.array(shifts), np.zeros(len(shifts)), (instructions, 3), "even", noise
    )


def compared(
    gold: np.ndarray,
    judge: np.ndarray,
    labelled: np.ndarray,
    *,
    plain: np.ndarray | None = None,
    trusted: np.ndarray | None = None,
) -> Compared:
    """gold, judge: (models, instructions, criteria); labelled: (models, instructions)."""
    known = np.where(labelled[..., None], gold, np.nan)
    model, cluster, _ = (codes.ravel() for codes in np.indices(gold.shape))
    means = calibrated_means(judge.ravel(), known.ravel(), model, cluster, len(gold))
    items = np.repeat(np.arange(gold.shape[1]), gold.shape[2])
    found, sure = compare_by_people(known.reshape(len(gold), -1), items, means, plain=plain, trusted=trusted)
    return found, sure, means


def test_where_people_scored_everything_they_are_compared_exactly_as_the_judge() -> None:
    gold, judge = drawn(1, [0.0, 0.2, 0.4])
    found, sure, _ = compared(gold, judge, np.ones(gold.shape[:2], dtype=bool))
    like = compare_all(gold.reshape(3, -1), np.repeat(np.arange(100), 3))
    for field in ("difference", "standard_error", "low", "high", "p_value", "adjusted_p_value"):
        assert_allclose(getattr(found, field)[0, 1:], getattr(like, field)[0, 1:], rtol=1e-9, err_msg=field)
    assert sure[2, 0]


def test_the_same_items_tell_apart_what_separate_intervals_do_not() -> None:
    """With a judge of no use, labels of the same instructions are worth more than labels of others."""
    gold, judge = drawn(2, [0.0, 0.35], instructions=200, noise=6.0)
    same = np.tile(np.arange(200) < 60, (2, 1))
    found, sure, means = compared(gold, judge, same)
    assert found.method[0, 1] == BY_MEANS
    assert sure[1, 0]
    assert means.low[1] < means.high[0], "the intervals overlap"
    other = np.stack([np.arange(200) < 60, np.arange(200) >= 140])
    apart, _, _ = compared(gold, judge, other)
    assert apart.standard_error[0, 1] > 1.2 * found.standard_error[0, 1]


def test_few_labels_are_compared_on_the_items_of_both() -> None:
    gold, judge = drawn(3, [0.0, 3.0])
    few = np.tile(np.arange(100) < 8, (2, 1))
    found, sure, means = compared(gold, judge, few)
    assert np.isnan(means.labels_low).all()
    assert (found.rows[0, 1], found.clusters[0, 1]) == (24, 8)
    assert_allclose(found.difference[1, 0], (gold[1, :8] - gold[0, :8]).mean())
    assert sure[1, 0]
    unequal, none, _ = compared(gold, judge, few, plain=np.array([True, False]))
    assert np.isnan(unequal.p_value).all()
    assert not none.any()


def test_labels_that_hardly_vary_are_compared_by_intervals_where_nothing_is_shared() -> None:
    gold, judge = np.ones((2, 100, 3)), np.full((2, 100, 3), 0.5)
    gold[0] = 0.0
    labelled = np.stack([np.arange(100) < 40, np.arange(100) >= 60])
    found, sure, _ = compared(gold, judge, labelled)
    assert found.method[0, 1] == BY_INTERVALS
    assert sure[1, 0]
    gold[0] = 1.0
    found, sure, _ = compared(gold, judge, labelled)
    assert found.p_value[0, 1] == 1.0
    assert not sure.any()


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_models_that_differ_by_the_same_everywhere_have_the_interval_of_the_judges_comparison(shift: float) -> None:
    gold, judge = drawn(6, [0.0])
    gold = np.concatenate([gold * 0.5, gold * 0.5 + shift])
    found, _, means = compared(gold, np.tile(judge, (2, 1, 1)), np.ones((2, 100), dtype=bool))
    assert means.varied.all()
    like = compare_all(gold.reshape(2, -1), np.repeat(np.arange(100), 3))
    assert found.low[1, 0] < shift < found.high[1, 0]
    for field in ("low", "high", "p_value"):
        assert_allclose(getattr(found, field)[1, 0], getattr(like, field)[1, 0], err_msg=field)


def test_a_model_that_is_not_trusted_is_compared_with_none_and_costs_nothing() -> None:
    gold, judge = drawn(4, [0.0, 0.3, 0.0])
    everything = np.ones(gold.shape[:2], dtype=bool)
    two, _, _ = compared(gold[:2], judge[:2], everything[:2])
    found, _, _ = compared(gold, judge, everything, trusted=np.array([True, True, False]))
    assert np.isnan(found.p_value[2]).all()
    assert_allclose(found.adjusted_p_value[0, 1], two.adjusted_p_value[0, 1])


@pytest.mark.parametrize("same", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_equal_models_are_seldom_told_apart_and_a_better_one_is_seen(same: bool) -> None:
    """Of 4 models; 5 % is the level for all 6 pairs together."""
    false, seen, evaluations = 0, 0, 40
    for seed in range(evaluations):
        rng = np.random.default_rng([6, seed])
        labelled = np.stack([rng.permutation(80) < 30 for _ in range(4)])
        labelled = np.tile(labelled[:1], (4, 1)) if same else labelled
        gold, judge = drawn(100 + seed, [0, 0, 0, 0], instructions=80)
        false += bool(compared(gold, judge, labelled)[1].any())
        gold, judge = drawn(300 + seed, [0, 0, 0, 0.8], instructions=80)
        seen += bool(compared(gold, judge, labelled)[1][3, :3].all())
    assert false <= 6
    assert seen >= 28
