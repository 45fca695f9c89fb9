"""Weights that make labels drawn with unequal probabilities stand for all of a model's rows."""

from __future__ import annotations

import numpy as np

from pollux_dagster.core.statistics.clusters import Booleans, Floats, Integers


def label_weights(labelled: Booleans, probability: Floats, rounds: Integers, models: Integers, n_models: int) -> Floats:
    """The weight of each labelled row, (rows,): 1 on average over the labelled rows of a model, 0 for other rows.

    probability: (rows,) in (0, 1], with which the row's round drew it, NaN where nobody stated it. rounds: (rows,)
    codes in the order of the draws. Each draw is made from the rows that had no label before it. Only the ratios of the
    probabilities within a round matter, so a round of which a random part was labelled is used as it is.

    - No probability is stated for a model, or all are and they are equal within its rounds: every weight is exactly 1.
    - One round: 1/probability, scaled (Hájek 1971, comment on Basu; Horvitz & Thompson 1952, JASA 47:663).
    - Several: the mean by round r is what earlier labels say of their own rows and 1/probability of the others;
      the rounds' means are averaged. Draws without replacement are combined in this way in Des Raj 1956, JASA 51:269.
      The shares of the rounds are those that make all weights equal where each round is uniform.
    - A label without a probability, beside others that have one, counts as known before the first round: it stands for
      its own row and for no other, however it was chosen.

    Raises ValueError where a probability is not in (0, 1].
    """
    stated = labelled & ~np.isnan(probability)
    wrong = stated & ~((probability > 0) & (probability <= 1))
    if wrong.any():
        raise ValueError(f"{int(wrong.sum())} probabilities are not in (0, 1], such as {probability[wrong][0]:g}.")
    weights = labelled.astype(np.float64)
    size = np.bincount(models, minlength=n_models)
    for model in np.unique(models[stated]):
        rows = np.flatnonzero(labelled & (models == model))
        weights[rows] = _of_one_model(probability[rows], rounds[rows], int(size[model]))
    return weights


def _of_one_model(probability: Floats, rounds: Integers, total: int) -> Floats:
    """Weights of one model's labelled rows, of `total` rows in all; 1 on average."""
    stated = ~np.isnan(probability)
    _, code = np.unique(rounds[stated], return_inverse=True)
    drawn = np.bincount(code).astype(np.float64)
    inverse = 1 / probability[stated]
    by_round = np.bincount(code, weights=inverse)
    even = np.abs(inverse * (drawn / by_round)[code] - 1) < 1e-9
    if stated.all() and even.all():
        return np.ones(len(probability))
    open_to_draws = total - float((~stated).sum())
    here = open_to_draws - np.cumsum(drawn) + drawn
    later, own, known = 0.0, np.zeros(len(drawn)), np.zeros(len(drawn))
    for last in range(len(drawn) - 1, -1, -1):
        share = (1 / drawn.sum() - later / open_to_draws) * open_to_draws * drawn[last] / here[last]
        own[last], known[last] = share * here[last] / open_to_draws, later / open_to_draws
        later += share
    weights = np.full(len(probability), 1 / total)
    weights[stated] = (own[code] * inverse / by_round[code] + known[code]) * open_to_draws / total
    scaled: Floats = weights * len(probability)
    return scaled
