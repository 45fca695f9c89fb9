"""Planning, repeats and drift: plans deliver the power they promise, and a judge that changed is noticed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from pollux_dagster.core.statistics.comparison import compare_all
from pollux_dagster.core.statistics.repeats import drift, steadiness
from pollux_dagster.core.statistics.sample_size import (
    detectable_difference,
    instruction_means,
    instructions_needed,
    labels_needed,
    paired_spread,
)


def test_the_planned_number_of_instructions_has_the_promised_power() -> None:
    needed = instructions_needed(0.05, 0.25)
    samples = np.random.default_rng(0).normal(0.05, 0.25, (4000, needed))
    found = (stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean()
    assert_allclose(found, 0.8, atol=0.02)


def test_the_detectable_difference_inverts_the_plan() -> None:
    needed = instructions_needed(0.03, 0.2)
    assert detectable_difference(needed, 0.2) <= 0.03 < detectable_difference(needed - 1, 0.2)


@pytest.mark.parametrize(("difference", "spread"), [(0.0, 0.2), (0.1, 0.0), (float("nan"), 0.2), (1e-9, 1.0)])
def test_a_plan_without_a_difference_or_a_spread_is_refused(difference: float, spread: float) -> None:
    with pytest.raises(ValueError, match=r"positive|instructions"):
        instructions_needed(difference, spread)


def test_past_spread_is_that_of_paired_differences() -> None:
    means = np.random.default_rng(1).random((3, 40))
    means[2, 30:] = np.nan
    spreads = [np.nanstd(means[a] - means[b], ddof=1) for a, b in ((0, 1), (0, 2), (1, 2))]
    found = paired_spread(means, np.full(means.shape[1], 4.0))
    assert_allclose((found.typical, found.widest), (np.median(spreads), np.max(spreads)))
    assert found.pairs == 3


@pytest.mark.slow
def test_a_plan_from_instructions_of_unequal_size_has_the_promised_power() -> None:
    """The past and the evaluation to come have 1 to 12 criteria an instruction; the test weighs every row alike."""
    rng = np.random.default_rng(1)

    def draw(instructions: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(0.05, 0.3, instructions), rng.integers(1, 13, instructions)

    past, rows = draw(5000)
    spread = paired_spread(np.vstack([0.5 + past / 2, 0.5 - past / 2]), rows.astype(np.float64)).typical
    needed, found, evaluations = instructions_needed(0.05, spread), 0, 1000
    for _ in range(evaluations):
        difference, number = draw(needed)
        cluster = np.repeat(np.arange(needed), number)
        pair = compare_all(np.vstack([0.5 + difference[cluster] / 2, 0.5 - difference[cluster] / 2]), cluster)
        found += bool(pair.p_value[0, 1] < 0.05)
    assert_allclose(found / evaluations, 0.8, atol=0.035)


def test_means_by_instruction_leave_gaps_where_nothing_was_scored() -> None:
    means = instruction_means(np.array([0.0, 1.0, 0.5]), np.array([0, 0, 1]), np.array([1, 1, 0]), (2, 2))
    assert_allclose(means, [[np.nan, 0.5], [0.5, np.nan]])


def test_a_judge_that_agrees_saves_labels() -> None:
    alone = labels_needed(0.05, 0.3, 0.0, 2000)
    helped = labels_needed(0.05, 0.3, 0.8, 2000)
    assert alone == 139  # (1.96 * 0.3 / 0.05)^2
    assert helped is not None
    assert helped < alone / 2
    assert labels_needed(0.001, 0.3, 0.5, 100) is None


def test_flips_and_spread_within_a_request() -> None:
    scores = np.array([1.0, 1.0, 1.0, 0.0, 2.0, 2.0, 1.0])
    requests = np.array([0, 0, 1, 1, 2, 2, 3])
    groups = np.array([0, 0, 0, 0, 1, 1, 1])
    found = steadiness(scores, requests, groups, 3)
    assert_allclose(found.flip_rate, [0.5, 0.0, np.nan])
    assert_allclose(found.within_variance, [0.25, 0.0, np.nan])
    assert found.repeated.tolist() == [2, 1, 0]
    assert found.verdicts.tolist() == [4, 3, 0]


def test_three_verdicts_flip_by_pairs() -> None:
    found = steadiness(np.array([0.0, 1.0, 1.0]), np.zeros(3, dtype=int), np.zeros(3, dtype=int), 1)
    assert_allclose(found.flip_rate, [2 / 3])


def test_a_criterion_whose_verdicts_moved_is_named_and_the_others_are_not() -> None:
    rng = np.random.default_rng(2)
    criteria, cluster = np.repeat([0, 1, 2], 60), np.tile(np.arange(60), 3)
    earlier = rng.integers(0, 3, 180).astype(float)
    later = earlier.copy()
    noisy = (criteria == 0) & (rng.random(180) < 0.1)
    later[noisy] = np.clip(earlier[noisy] + rng.choice([-1, 1], noisy.sum()), 0, 2)
    harsher = (criteria == 1) & (rng.random(180) < 0.5)
    later[harsher] = np.maximum(earlier[harsher] - 1, 0)
    found = drift(earlier, later, criteria, cluster, 3)
    assert found.shifted.tolist() == [False, True, False]
    assert found.high[1] < 0
    assert found.changed[2] == 0
    assert found.adjusted_p_value[2] == 1


def test_a_golden_set_that_moved_as_one_has_drifted() -> None:
    earlier = np.ones(20)
    found = drift(earlier, earlier + 1, np.zeros(20, dtype=int), np.arange(20), 1)
    assert found.shifted[0]


def test_a_shift_within_the_tolerance_passes() -> None:
    earlier = np.ones(20)
    assert not drift(earlier, earlier + 0.1, np.zeros(20, dtype=int), np.arange(20), 1, tolerance=0.2).shifted[0]
