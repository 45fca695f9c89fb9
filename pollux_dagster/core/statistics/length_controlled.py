"""What the models' mean scores would be if every answer had the usual length for its instruction, with intervals.

The effect of length itself is estimated in `length`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pollux_dagster.core.statistics import student
from pollux_dagster.core.statistics.clusters import SMALL, Booleans, Floats, Integers, matched_degrees, sum_cells
from pollux_dagster.core.statistics.intervals import MeanIntervals, clustered_means
from pollux_dagster.core.statistics.length import LengthEffects

_AT_ONCE = 4_000_000  # cells of models and instructions


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """One entry per model. mean: without the effect of length, which can lead out of [0, 1]; low, high: its interval,
    cut off there, and NaN where a slope behind it has no standard error or the model has one instruction.
    """

    mean: Floats
    low: Floats
    high: Floats
    n: Integers


def length_controlled(
    scores: Floats,
    models: Integers,
    instructions: Integers,
    n_models: int,
    *,
    effects: LengthEffects,
    criteria: Integers,
    rated: Booleans,
    gated: Booleans | None = None,
    level: float = 0.95,
) -> LengthControlled:
    """Mean of each model less what the length of its answers adds to it: m - L, L the mean of slope * beyond.

    scores, models, instructions: (rows,), scores in [0, 1]. rated: (rows,), which of them `effects` were estimated
    from, the others (whose gate tripped) keep their score. criteria: (rated rows,), as the effects had them. gated:
    (rows,), whether a gate could have zeroed the row.

    Holding length at the value shared by all is the idea of Dubois, Galambosi, Liang & Hashimoto 2024,
    "Length-Controlled AlpacaEval"; the model is linear here because scores are means of levels and not preferences.

    The interval combines that of m, `intervals.clustered_means`, with a t interval of L by MOVER for correlated
    estimates (Zou 2007, Psychological Methods 12:399), so that it is that of m where length is not corrected for. An
    instruction moves L by the model's own answers to it, and by its part in each slope: the delta method, with the
    variance and the degrees of freedom of `clusters.pooled_means`. The correlation is that of the instructions'
    influences on m and L.
    """
    means = clustered_means(
        scores, models, instructions, n_models, gated=gated, tripped=None if gated is None else ~rated, level=level
    )
    length = _length_part(effects, criteria, scores, models, instructions, rated, n_models, means, level)
    below, above = means.mean - means.low, means.high - means.mean
    controlled = means.mean - length.mean
    cross = 2 * length.correlation * length.reach
    low = controlled - np.sqrt(np.maximum(below**2 + length.reach**2 - cross * below, 0.0))
    high = controlled + np.sqrt(np.maximum(above**2 + length.reach**2 - cross * above, 0.0))
    return LengthControlled(controlled, np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0), means.n)


@dataclass(frozen=True, slots=True)
class _LengthPart:
    """Of each model: what length adds to its mean, how far that figure's interval reaches, its correlation with the
    mean.
    """

    mean: Floats
    reach: Floats
    correlation: Floats


def _length_part(
    effects: LengthEffects,
    criteria: Integers,
    scores: Floats,
    models: Integers,
    instructions: Integers,
    rated: Booleans,
    n_models: int,
    means: MeanIntervals,
    level: float,
) -> _LengthPart:
    added = np.zeros(len(scores))
    added[rated] = np.nan_to_num(effects.slope)[criteria] * effects.beyond
    n_instructions = int(instructions.max()) + 1 if len(instructions) else 0
    cells, adds = sum_cells(scores, models, instructions, n_models), sum_cells(added, models, instructions, n_models)
    rows = cells.by_group(cells.count)
    mean = adds.by_group(adds.total) / np.maximum(rows, 1)
    small = (means.clusters < SMALL)[cells.group]
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = rows[cells.group] - np.where(small, cells.count, 0.0)
        of_mean = (cells.total - means.mean[cells.group] * cells.count) / rest
        of_length = (adds.total - mean[cells.group] * cells.count) / rest
    share = 1 / np.maximum(rows, 1)[models[rated]]
    exposed = sparse.csr_array(
        (effects.beyond * share, (models[rated], criteria)), shape=(n_models, len(effects.slope))
    )
    # A slope that could not be estimated was not used.
    moves = np.where(np.isnan(effects.slope[effects.item_criterion]), 0.0, effects.item_influence)
    moved = sparse.csr_array(
        (moves, (effects.item_criterion, effects.item_instruction)), shape=(len(effects.slope), n_instructions)
    )
    squares, fourths, cross, number = (np.zeros(n_models) for _ in range(4))
    step = max(1, _AT_ONCE // max(n_instructions, 1))
    for start in range(0, n_models, step):
        block = slice(start, min(start + step, n_models))
        influence = (exposed[block] @ moved).toarray()
        here = slice(*np.searchsorted(cells.group, [block.start, block.stop]))
        at = cells.group[here] - start, cells.cluster[here]
        influence[at] += of_length[here]
        squares[block], fourths[block] = (influence**2).sum(axis=1), (influence**4).sum(axis=1)
        number[block] = (influence != 0).sum(axis=1)
        cross[block] = np.bincount(at[0], of_mean[here] * influence[at], block.stop - start)
    own = cells.by_group(of_mean**2)
    g = means.clusters.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(means.clusters < SMALL, (g - 1) / g, g / (g - 1)) * squares
        effective = np.where(means.clusters < SMALL, rows**2 / cells.by_group(cells.count**2), g)
        degrees = np.fmin(effective - 1, matched_degrees(squares, fourths, number))
        reach = student.quantile((1 + level) / 2, np.maximum(degrees, 0.5)) * np.sqrt(variance)
        correlation = cross / np.sqrt(own * squares)
    reach = np.where(squares == 0, 0.0, np.where(np.isfinite(reach), reach, np.nan))
    return _LengthPart(mean, reach, np.nan_to_num(correlation))
