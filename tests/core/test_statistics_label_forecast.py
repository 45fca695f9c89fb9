"""What more labels buy: equal to the formula for one uniform draw, and to intervals of labels that are then drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pollux_dagster.core.statistics.clusters import Booleans, Floats, Integers
from pollux_dagster.core.statistics.label_designs import DESIGNS, Design, inclusion_probabilities
from pollux_dagster.core.statistics.label_forecast import Residuals, expected_residuals, half_width
from pollux_dagster.core.statistics.label_weights import label_weights
from pollux_dagster.core.statistics.ppi import calibrated_means


def test_one_uniform_draw_has_the_variance_of_ppi_at_its_best_lambda() -> None:
    spread, correlation, total, labels = 0.3, 0.8, 400, 50
    residuals = Residuals(spread**2, np.full(total, spread**2 * (1 - correlation**2)))
    nothing = np.zeros(total, dtype=bool)
    found = half_width(np.full(total, labels / total), residuals, nothing, standard_error=None, stated=False)
    variance = spread**2 / labels * (1 - correlation**2 * (total - labels) / total)
    assert found == pytest.approx(stats.t.ppf(0.975, labels - 1) * np.sqrt(variance))
    # In two rounds it is the same as in one, and labels that state no probability help the others little.
    error = np.sqrt(spread**2 / 20 * (1 - correlation**2 * (total - 20) / total))
    some, chance = np.arange(total) < 20, np.full(total - 20, 30 / (total - 20))
    again = half_width(chance, residuals, some, standard_error=error, stated=True)
    assert again == pytest.approx(found)
    unstated = half_width(chance, residuals, some, standard_error=error, stated=False)
    assert unstated > 1.2 * found


def test_there_is_no_forecast_below_the_labels_that_calibration_needs_and_no_width_with_all() -> None:
    residuals, some = Residuals(0.1, np.full(40, 0.02)), np.arange(40) < 5
    found = [
        half_width(np.full(35, number / 35), residuals, some, standard_error=None, stated=True)
        for number in (1, 9, 10, 35)
    ]
    assert np.isnan(found).tolist() == [True, True, False, False]
    assert found[-1] == 0


@pytest.mark.parametrize(("gold", "words"), [([0.5, np.nan], "two answers"), ([0.5, 0.5], "never differ")])
def test_labels_without_a_spread_are_refused(gold: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        expected_residuals(np.array([0.1, 0.9]), np.array(gold), np.zeros(2, dtype=np.int64))


def _drawn(rng: np.random.Generator, chance: Floats) -> Booleans:
    order = rng.permutation(len(chance))
    drawn = np.zeros(len(chance), dtype=bool)
    drawn[order] = np.diff(np.floor(np.cumsum(chance[order]) + rng.random()), prepend=0) > 0
    return drawn


def _interval(judge: Floats, known: Floats, chance: Floats, rounds: Integers) -> tuple[float, float]:
    """Half-width and standard error of one model's calibrated mean, one row an instruction."""
    labelled, models = ~np.isnan(known), np.zeros(len(known), dtype=np.int64)
    weights = label_weights(labelled, np.where(labelled, chance, np.nan), rounds, models, 1)
    found = calibrated_means(judge, known, models, np.arange(len(known)), 1, label_weights=weights)
    return float(found.high[0] - found.low[0]) / 2, float(found.standard_error[0])


@pytest.mark.parametrize("design", DESIGNS)
def test_the_forecast_is_the_interval_that_comes_of_it(design: Design) -> None:
    """Twenty answers are labelled and forty more drawn; the judge errs most where its score is low."""
    foretold, came, narrowed = [], [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        judge = rng.beta(2, 1.5, 250)
        gold = np.clip(judge + rng.normal(0, 0.05 + 0.3 * (1 - judge), 250), 0, 1)
        chance, rounds = np.full(250, 0.08), np.zeros(250, dtype=np.int64)
        labelled = _drawn(rng, chance)
        now, error = _interval(judge, np.where(labelled, gold, np.nan), chance, rounds)
        residuals = expected_residuals(judge, np.where(labelled, gold, np.nan), np.zeros(250, dtype=np.int64))
        left = judge[~labelled]
        new = inclusion_probabilities(design, 40, np.zeros(len(left), dtype=np.int64), np.sqrt(left * (1 - left)))
        foretold.append(half_width(new, residuals, labelled, standard_error=error, stated=True))
        chance[~labelled], rounds[~labelled] = new, 1
        labelled[~labelled] = _drawn(rng, new)
        came.append(_interval(judge, np.where(labelled, gold, np.nan), chance, rounds)[0])
        narrowed.append(now)
    assert np.mean(foretold) == pytest.approx(np.mean(came), rel=0.08)
    assert np.mean(came) < 0.75 * np.mean(narrowed)
