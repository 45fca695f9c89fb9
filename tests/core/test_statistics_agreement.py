"""Agreement of judges with people: every figure against the library that defines it, to 1e-12."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from sklearn import metrics

from pollux_dagster.core.statistics.agreement import METRICS, agreement, nearest_level
from pollux_dagster.core.statistics.reliability import (
    aggregate_ratings,
    krippendorff_alpha,
    leave_one_rater_out,
)

LEVELS = (0.0, 1.0, 2.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2), st.integers(0, 9)), min_size=2, max_size=60))
def test_every_figure_is_that_of_scikit_learn_and_scipy(rows: list[tuple[int, int, int]]) -> None:
    gold = np.array([r[0] for r in rows]) / 3  # three annotators' mean: 0, 1/3 ... 2
    judge, cluster = np.array([float(r[1]) for r in rows]), np.array([r[2] for r in rows])
    classes = np.floor(gold + 0.5)
    found = {name: e.value for name, e in agreement(gold, judge, cluster, LEVELS).figures.items()}
    assert_allclose(found["rmse"], metrics.root_mean_squared_error(gold, judge), atol=1e-12)
    assert_allclose(found["mae"], metrics.mean_absolute_error(gold, judge), atol=1e-12)
    assert_allclose(found["macro_f1"], metrics.f1_score(classes, judge, average="macro"), atol=1e-12)
    assert_allclose(found["exact_agreement"], metrics.accuracy_score(classes, judge), atol=1e-12)
    if len(set(classes) | set(judge)) > 1:
        kappa = metrics.cohen_kappa_score(classes, judge, weights="quadratic", labels=list(LEVELS))
        assert_allclose(found["quadratic_kappa"], kappa, atol=1e-12)
    if np.ptp(gold) > 0 and np.ptp(judge) > 0:
        assert_allclose(found["spearman"], stats.spearmanr(gold, judge).statistic, atol=1e-12)
    else:
        assert np.isnan(found["spearman"])


def test_the_confusion_table_has_gold_in_rows() -> None:
    gold, judge = np.array([0.0, 2.0, 2.0, 1.4]), np.array([1.0, 2.0, 0.0, 1.0])
    table = agreement(gold, judge, np.arange(4), LEVELS).confusion
    assert_allclose(table, metrics.confusion_matrix([0, 2, 2, 1], judge, labels=[0, 1, 2]))


@pytest.mark.parametrize(
    ("value", "level"), [(0.49, 0), (0.5, 1), (1.4999999999999998, 2), (1.5, 2), (-0.2, 0), (7.0, 2)]
)
def test_fractional_gold_goes_to_the_nearest_level_and_half_upwards(value: float, level: int) -> None:
    assert nearest_level(np.array([value]), np.array(LEVELS))[0] == level


def test_levels_need_not_be_evenly_spaced() -> None:
    assert nearest_level(np.array([1.9, 2.0, 3.9]), np.array([0.0, 1.0, 3.0, 5.0])).tolist() == [1, 2, 2]


def test_an_interval_widens_when_items_come_in_fewer_instructions() -> None:
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 3, 60).repeat(5).astype(float)
    judge = (gold + rng.integers(-1, 2, 60).repeat(5)).clip(0, 2)
    apart = agreement(gold, judge, np.arange(300), LEVELS)
    grouped = agreement(gold, judge, np.arange(60).repeat(5), LEVELS)
    for name in METRICS:
        assert grouped.figures[name].value == pytest.approx(apart.figures[name].value)
        assert grouped.figures[name].standard_error > 1.8 * apart.figures[name].standard_error
        assert grouped.figures[name].low < grouped.figures[name].value < grouped.figures[name].high


def test_the_jackknife_of_a_mean_error_is_its_standard_error() -> None:
    rng = np.random.default_rng(1)
    gold, judge = rng.integers(0, 3, 50).astype(float), rng.integers(0, 3, 50).astype(float)
    found = agreement(gold, judge, np.arange(50), LEVELS).figures["mae"]
    assert_allclose(found.standard_error, stats.sem(np.abs(gold - judge)), rtol=1e-10)


def test_perfect_agreement_has_no_interval_rather_than_a_false_one() -> None:
    gold = np.array([0.0, 1.0, 2.0] * 10)
    figures = agreement(gold, gold, np.arange(30), LEVELS).figures
    assert figures["quadratic_kappa"].value == figures["exact_agreement"].value == 1.0
    assert np.isnan(figures["quadratic_kappa"].low)


# Krippendorff 2011, section D: four observers, twelve units, missing ratings; alpha as printed there.
_PUBLISHED = np.array([
    [1, 2, 3, 3, 2, 1, 4, 1, 2, np.nan, np.nan, np.nan],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, np.nan, 3],
    [np.nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, np.nan],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, np.nan],
])  # fmt: skip


def _long(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    raters, units = np.nonzero(~np.isnan(matrix))
    return matrix[raters, units], units


@pytest.mark.parametrize(("metric", "published"), [("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_krippendorffs_own_example(metric: str, published: float) -> None:
    values, units = _long(_PUBLISHED)
    assert round(krippendorff_alpha(values, units, units, metric).value, 3) == published  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", ["ordinal", "interval"])
def test_alpha_is_that_of_the_krippendorff_package(metric: str) -> None:
    krippendorff = pytest.importorskip("krippendorff", reason="krippendorff is not installed")
    rng = np.random.default_rng(2)
    matrix = rng.integers(0, 5, (4, 80)).astype(float)
    matrix[rng.random(matrix.shape) < 0.4] = np.nan
    values, units = _long(matrix)
    theirs = krippendorff.alpha(matrix, level_of_measurement=metric)
    assert_allclose(krippendorff_alpha(values, units, units, metric).value, theirs, atol=1e-12)  # type: ignore[arg-type]


def test_alpha_of_two_coders_is_the_judges_alpha() -> None:
    rng = np.random.default_rng(3)
    gold, judge = rng.integers(0, 3, 40).astype(float), rng.integers(0, 3, 40).astype(float)
    pair = krippendorff_alpha(
        np.concatenate([gold, judge]), np.tile(np.arange(40), 2), np.tile(np.arange(40), 2), "interval"
    )
    judges = agreement(gold, judge, np.arange(40), LEVELS).figures["krippendorff_alpha"]
    assert_allclose((pair.value, pair.low, pair.high), (judges.value, judges.low, judges.high), rtol=1e-9)


def test_annotators_are_aggregated_as_asked() -> None:
    values, units = np.array([0.0, 2.0, 2.0, 1.0, 0.0, 1.0, 0.0]), np.array([0, 0, 0, 1, 1, 1, 1])
    expected = {"mean": [4 / 3, 0.5], "median": [2.0, 0.5], "mode": [2.0, 0.0]}
    for how, gold in expected.items():
        found, number = aggregate_ratings(values, units, 3, how)  # type: ignore[arg-type]
        assert_allclose(found, [*gold, np.nan])
        assert number.tolist() == [3, 4, 0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=40))
def test_aggregation_equals_numpy_and_scipy_unit_by_unit(rows: list[tuple[int, int]]) -> None:
    units, values = np.array([r[0] for r in rows]), np.array([float(r[1]) for r in rows])
    for how, function in (("mean", np.mean), ("median", np.median), ("mode", lambda v: stats.mode(v).mode)):
        gold, _ = aggregate_ratings(values, units, 6, how)  # type: ignore[arg-type]
        assert_allclose(gold[np.unique(units)], [function(values[units == u]) for u in np.unique(units)])


def test_the_human_ceiling_sets_each_rater_against_the_others() -> None:
    values, units = np.array([0.0, 2.0, 1.0, 2.0]), np.array([0, 0, 0, 1])
    others, own, unit = leave_one_rater_out(values, units, np.array([0, 1, 2, 0]), 2, "mean")
    assert sorted(zip(own.tolist(), others.tolist(), strict=True)) == [(0.0, 1.5), (1.0, 1.0), (2.0, 0.5)]
    assert unit.tolist() == [0, 0, 0]
