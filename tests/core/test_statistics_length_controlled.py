"""Means at the usual length: what words bought is taken away, and the interval says how surely."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pollux_dagster.core.statistics.intervals import clustered_means
from pollux_dagster.core.statistics.length import LengthEffects, length_effects
from pollux_dagster.core.statistics.length_controlled import LengthControlled, length_controlled
from tools.simulate_worlds import draw_lengths


def controlled(
    scores: np.ndarray, lengths: np.ndarray, tripped: np.ndarray | None = None
) -> tuple[LengthEffects, LengthControlled]:
    """scores: (models, instructions, criteria); lengths: (models, instructions)."""
    model, instruction, criterion = (codes.ravel() for codes in np.indices(scores.shape))
    rated = np.ones(scores.size, dtype=bool) if tripped is None else ~tripped.ravel()
    length = np.repeat(lengths.ravel(), scores.shape[2])
    effects = length_effects(
        scores.ravel()[rated], length[rated], criterion[rated], model[rated], instruction[rated], scores.shape[2]
    )
    gated = None if tripped is None else np.ones(scores.size, dtype=bool)
    return effects, length_controlled(
        scores.ravel(), model, instruction, len(scores), effects=effects, criteria=criterion[rated], rated=rated,
        gated=gated,
    )  # fmt: skip


def verbose(effect: float, *, models: int = 6, instructions: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Quality rises by 0.02 from model to model, and so does length; a unit of log length is worth `effect`."""
    rng = np.random.default_rng(9)
    log = rng.normal(5, 1, instructions) + 0.5 * np.arange(models)[:, None] + rng.normal(0, 0.5, (models, instructions))
    quality = 0.3 + 0.02 * np.arange(models)[:, None] + rng.normal(0, 0.05, instructions)
    scores = quality + effect * (log - 6) + rng.normal(0, 0.02, (models, instructions))
    return np.clip(scores, 0, 1)[..., None], np.exp(log)


def test_the_gain_of_words_is_taken_away_and_the_interval_says_how_surely() -> None:
    scores, lengths = verbose(0.08)
    effects, found = controlled(scores, lengths)
    raw = scores.mean(axis=(1, 2))
    assert raw[5] - raw[0] > 0.2
    assert_allclose(found.mean[5] - found.mean[0], 0.1, atol=0.03)  # five steps of quality
    assert (effects.adjusted_p_value < 1e-6).all()
    assert ((found.low < found.mean) & (found.mean < found.high)).all()


def test_where_nothing_is_corrected_the_interval_is_that_of_the_mean() -> None:
    scores, _ = verbose(0.0)
    model, instruction, _ = (codes.ravel() for codes in np.indices(scores.shape))
    means = clustered_means(scores.ravel(), model, instruction, len(scores))
    _, found = controlled(scores, np.full(scores.shape[:2], 100.0))
    assert_allclose((found.mean, found.low, found.high), (means.mean, means.low, means.high))


def test_the_delta_method_is_the_jackknife_of_the_whole_figure() -> None:
    """Leave out each instruction, estimate slopes and means again: the spread is that which the interval has."""
    scores, tripped, lengths = draw_lengths(np.random.default_rng(4), (4, 40, 2), "even", 0.3, 0.0)
    _, found = controlled(scores, lengths)
    left = np.array(
        [controlled(np.delete(scores, g, axis=1), np.delete(lengths, g, axis=1))[1].mean for g in range(40)]
    )
    error = np.sqrt(39 / 40 * ((left - left.mean(axis=0)) ** 2).sum(axis=0))
    assert not tripped.any()
    # Far from the ends the interval is nearly mean +- t error on both sides.
    assert_allclose((found.high - found.low) / 2 / 2.02, error, rtol=0.15)


def test_a_slope_without_a_known_error_leaves_no_interval() -> None:
    """Two models and two instructions fit any slope exactly: that is no certainty."""
    scores = np.array([[0.2, 0.9], [0.4, 0.3]])[..., None]
    effects, found = controlled(scores, np.array([[10.0, 80.0], [40.0, 15.0]]))
    assert np.isnan(effects.standard_error).all()
    assert np.isnan(effects.adjusted_p_value).all()
    assert np.isnan(found.low).all()


def test_one_model_alone_is_not_corrected() -> None:
    scores, lengths = verbose(0.08)
    effects, found = controlled(scores[:1], lengths[:1])
    assert np.isnan(effects.slope).all()
    assert_allclose(found.mean, scores[:1].mean())
    assert not np.isnan(found.low).any()


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "gate_rate"), [(0.0, 0.0), (0.3, 0.1)])
def test_the_intervals_hold_the_truth(effect: float, gate_rate: float) -> None:
    _, truth = controlled(*_drawn(0, 4_000, effect, gate_rate))
    held, told = [], []
    for seed in range(1, 81):
        effects, found = controlled(*_drawn(seed, 25, effect, gate_rate))
        held.append((found.low <= truth.mean) & (truth.mean <= found.high))
        told.append(bool((effects.adjusted_p_value < 0.05).any()))
    assert np.mean(held) > 0.9
    assert np.mean(told) > 0.15 if effect else np.mean(told) < 0.13


def _drawn(seed: int, instructions: int, effect: float, gate_rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores, tripped, lengths = draw_lengths(
        np.random.default_rng([11, seed]), (5, instructions, 2), "piled up at 2", effect, gate_rate
    )
    return scores, lengths, tripped
