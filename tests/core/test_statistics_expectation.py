"""A judge's number beside its expectation: the figures are those of agreement, the difference is a paired one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from sklearn import metrics

from pollux_dagster.core.statistics.agreement import METRICS, agreement, nearest_level
from pollux_dagster.core.statistics.clusters import Floats, Integers
from pollux_dagster.core.statistics.expectation import NumberAndExpectation, compare_with_number

LEVELS = np.array([0.0, 1.0, 2.0])


def compare(gold: Floats, number: Floats, expectation: Floats, clusters: Integers) -> NumberAndExpectation:
    gold_level, number_level, level = (LEVELS[nearest_level(values, LEVELS)] for values in (gold, number, expectation))
    return compare_with_number(
        gold, number, expectation, clusters, LEVELS.tolist(), classes=(gold_level, number_level, level)
    )


def draw(seed: int, instructions: int = 40, criteria: int = 5) -> tuple[Floats, Floats, Floats, Integers]:
    """Gold of three annotators; the number is the expectation rounded by chance to a level beside it."""
    rng = np.random.default_rng(seed)
    ease = np.repeat(rng.normal(1.2, 0.5, instructions), criteria)
    gold = np.stack([(ease + rng.normal(0, 0.5, len(ease))).round().clip(0, 2) for _ in range(3)]).mean(axis=0)
    expectation = (ease + rng.normal(0, 0.4, len(ease))).clip(0, 2)
    number = np.floor(expectation) + (rng.random(len(ease)) < expectation % 1)
    return gold, number, expectation, np.repeat(np.arange(instructions), criteria)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2), st.integers(0, 9)), min_size=2, max_size=60))
@example([(1, 0, 0), (6, 2, 1)])  # without the first all values are one
def test_of_levels_every_figure_and_interval_is_that_of_agreement(rows: list[tuple[int, int, int]]) -> None:
    gold, judge = np.array([r[0] for r in rows]) / 3, np.array([float(r[1]) for r in rows])
    cluster = np.array([r[2] for r in rows])
    theirs, ours = agreement(gold, judge, cluster, LEVELS.tolist()), compare(gold, judge, judge, cluster)
    assert (ours.n, ours.clusters) == (theirs.n, theirs.clusters)
    for name in METRICS:
        one, other = theirs.figures[name], ours.expectation[name]
        assert_allclose(other.value, one.value, atol=1e-12)
        assert_allclose(other.standard_error, one.standard_error, atol=1e-9)
        assert ours.number[name].value == other.value or np.isnan(other.value)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.one_of(st.floats(0, 2), st.sampled_from([0.5, 1.0])), st.integers(0, 4)),
        min_size=2,
        max_size=40,
    )
)
def test_of_expectations_every_figure_is_that_of_scikit_learn_and_scipy(rows: list[tuple[int, float, int]]) -> None:
    gold, judge = np.array([r[0] for r in rows]) / 3, np.array([r[1] for r in rows])
    found = compare(gold, judge, judge, np.array([r[2] for r in rows])).expectation
    gold_level, level = np.floor(gold + 0.5), np.floor(judge + 0.5 + 1e-9)
    assert_allclose(found["rmse"].value, metrics.root_mean_squared_error(gold, judge), atol=1e-12)
    assert_allclose(found["mae"].value, metrics.mean_absolute_error(gold, judge), atol=1e-12)
    assert_allclose(found["macro_f1"].value, metrics.f1_score(gold_level, level, average="macro"), atol=1e-12)
    assert_allclose(found["exact_agreement"].value, metrics.accuracy_score(gold_level, level), atol=1e-12)
    if np.ptp(gold) > 0 and np.ptp(judge) > 0:
        assert_allclose(found["spearman"].value, stats.spearmanr(gold, judge).statistic, atol=1e-12)
    else:
        assert np.isnan(found["spearman"].value)


@pytest.mark.parametrize("seed", range(3))
def test_the_difference_is_that_of_the_figures_and_its_error_the_jackknife_of_differences(seed: int) -> None:
    gold, number, expectation, cluster = draw(seed, instructions=12)
    found = compare(gold, number, expectation, cluster)
    left_out = []
    for one in range(12):
        keep = cluster != one
        left_out.append(
            [
                stats.spearmanr(gold[keep], expectation[keep]).statistic - stats.spearmanr(gold[keep], number[keep])[0],
                metrics.root_mean_squared_error(gold[keep], expectation[keep])
                - metrics.root_mean_squared_error(gold[keep], number[keep]),
                metrics.f1_score(np.floor(gold[keep] + 0.5), np.floor(expectation[keep] + 0.5), average="macro")
                - metrics.f1_score(np.floor(gold[keep] + 0.5), number[keep], average="macro"),
            ]
        )
    errors = np.sqrt(11 / 12 * ((left_out - np.mean(left_out, axis=0)) ** 2).sum(axis=0))
    for name, error in zip(("spearman", "rmse", "macro_f1"), errors, strict=True):
        gap = found.difference[name]
        assert_allclose(gap.value, found.expectation[name].value - found.number[name].value, atol=1e-14)
        assert_allclose(gap.standard_error, error, rtol=1e-9)
        assert_allclose([gap.low, gap.high], gap.value + np.array([-1, 1]) * stats.t.ppf(0.975, 11) * error, rtol=1e-9)


def test_a_number_that_is_its_expectation_differs_by_nothing_and_has_no_interval() -> None:
    gold, number, _, cluster = draw(0)
    difference = compare(gold, number, number, cluster).difference
    for name in METRICS:
        assert difference[name].value == 0
        assert np.isnan([difference[name].low, difference[name].high]).all()


@pytest.mark.slow
def test_intervals_of_the_difference_hold_the_truth_as_often_as_they_should() -> None:
    truth = compare(*draw(10_000, instructions=20_000)).difference
    evaluations, names = 600, ("rmse", "mae", "spearman", "macro_f1")
    held = dict.fromkeys(names, 0)
    for seed in range(1_000, 1_000 + evaluations):
        found = compare(*draw(seed)).difference
        for name in names:
            held[name] += found[name].low <= truth[name].value <= found[name].high
    # 95 % and three standard errors of 600, which are 2.7 points.
    for name in names:
        assert 0.923 <= held[name] / evaluations <= 0.977, name
    assert truth["rmse"].value < 0 < truth["spearman"].value


def test_without_items_there_is_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="expected at least one item"):
        compare(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))
