"""Evaluations made up with a known truth: levels drawn through a latent ease of the instruction, and judges
that err.

Worlds only; what is measured on them is in simulate. One latent normal number per answer, shared
in part by the criteria of an instruction, cut into levels, gives any marginal distribution with any
correlation inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

SHAPES = {
    "even": (0.3, 0.4, 0.3),
    "piled up at 2": (0.1, 0.15, 0.75),
    "nearly all 2": (0.04, 0.06, 0.9),
    "two heaps": (0.35, 0.05, 0.6),
}
CORRELATION = {"weak": 0.1, "middle": 0.35, "strong": 0.6}
NEVER_TUNED_ON = ("two heaps", "middle")
"""Settings that no choice of method was made on: what is found for them is not a fit to the question."""
CRITERIA = {"5": (5, 5), "5 to 20": (5, 20), "20": (20, 20)}
MOST_CRITERIA = 20


@dataclass(frozen=True, slots=True)
class Evaluations:
    """Rows of many evaluations: scores on [0, 1], codes of evaluation and instruction, whether the gate
    tripped."""

    scores: np.ndarray
    evaluation: np.ndarray
    instruction: np.ndarray
    tripped: np.ndarray
    truth: float


def latent(rng: np.random.Generator, shape: tuple[int, ...], correlation: float) -> np.ndarray:
    """Standard normal numbers of the shape, with the correlation between any two along the last axis."""
    shared = rng.standard_normal((*shape[:-1], 1))
    numbers: np.ndarray = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.standard_normal(shape)
    return numbers


def levels(ease: np.ndarray, shape: str) -> np.ndarray:
    """Cut latent numbers into 0, 1, 2 with the shape's shares; returned on [0, 1]."""
    cuts = stats.norm.ppf(np.cumsum(SHAPES[shape])[:-1])
    cut: np.ndarray = ((ease > cuts[0]).astype(float) + (ease > cuts[1])) / 2
    return cut


def mean_score(shape: str, shift: float = 0.0) -> float:
    """True mean on [0, 1] when the latent number is moved by shift."""
    cuts = stats.norm.ppf(np.cumsum(SHAPES[shape])[:-1])
    return float(stats.norm.sf(cuts - shift).sum() / 2)


def draw_evaluations(
    rng: np.random.Generator,
    evaluations: int,
    instructions: int,
    criteria: str,
    correlation: str,
    shape: str,
    gate_rate: float = 0.0,
) -> Evaluations:
    """Evaluations of one model; a gate trips for a whole instruction and makes its scores 0."""
    fewest, most = CRITERIA[criteria]
    size = (evaluations, instructions, MOST_CRITERIA)
    scores = levels(latent(rng, size, CORRELATION[correlation]), shape)
    asked = np.arange(MOST_CRITERIA) < rng.integers(fewest, most + 1, (evaluations, instructions, 1))
    tripped = np.broadcast_to(rng.random((evaluations, instructions, 1)) < gate_rate, size)
    evaluation, instruction, _ = np.nonzero(asked)
    return Evaluations(
        scores=np.where(tripped, 0.0, scores)[asked],
        evaluation=evaluation,
        instruction=instruction,
        tripped=tripped[asked],
        truth=mean_score(shape) * (1 - gate_rate),
    )


def draw_models(
    rng: np.random.Generator, shifts: np.ndarray, instructions: int, criteria: int, shape: str, shared: float
) -> np.ndarray:
    """(models, instructions, criteria) scores of models on the same instructions, whose difficulty they
    share."""
    difficulty = rng.standard_normal((1, instructions, 1))
    own = latent(rng, (len(shifts), instructions, criteria), 0.4)
    return levels(np.sqrt(shared) * difficulty + np.sqrt(1 - shared) * own + shifts[:, None, None], shape)


def draw_lengths(
    rng: np.random.Generator, size: tuple[int, int, int], shape: str, effect: float, gate_rate: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores and whether a gate tripped, both `size` (models, instructions, criteria), and (models, instructions)
    lengths.

    Log length is partly the instruction's, partly the model's (the better ones are shorter), partly the answer's own;
    one more unit of it, about one standard deviation, moves the latent number by `effect`.
    """
    models, instructions, _ = size
    verbose = np.linspace(-1, 1, models)[:, None]
    length = 0.7 * rng.standard_normal((1, instructions)) + 0.4 * verbose + 0.5 * rng.standard_normal(size[:2])
    ease = np.sqrt(0.4) * rng.standard_normal((1, instructions, 1)) + np.sqrt(0.6) * latent(rng, size, 0.35)
    ease += -0.3 * verbose[..., None] + effect * length[..., None]
    tripped = np.broadcast_to(rng.random((models, instructions, 1)) < gate_rate, size)
    return np.where(tripped, 0.0, levels(ease, shape)), tripped, np.exp(5 + length)


def draw_judged_alike(
    rng: np.random.Generator, shifts: np.ndarray, biases: np.ndarray, size: tuple[int, int], shape: str, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """People's and the judge's scores as in draw_judged, (models, *size) for instructions and criteria, of models that
    share 0.4 of the difficulty of their instructions.
    """
    ease = np.sqrt(0.4) * rng.standard_normal((1, size[0], 1)) + np.sqrt(0.6) * latent(rng, (len(shifts), *size), 0.35)
    ease += shifts[:, None, None]
    return levels(ease, shape), levels(ease + biases[:, None, None] + noise * rng.standard_normal(ease.shape), shape)


def draw_judged(
    rng: np.random.Generator,
    shifts: np.ndarray,
    biases: np.ndarray,
    instructions: int,
    criteria: int,
    correlation: str,
    shape: str,
    noise: float,
) -> tuple[np.ndarray, np.ndarray]:
    """People's and the judge's scores, both (models, instructions, criteria); the judge errs by a bias a
    model."""
    ease = latent(rng, (len(shifts), instructions, criteria), CORRELATION[correlation]) + shifts[:, None, None]
    seen = ease + biases[:, None, None] + noise * rng.standard_normal(ease.shape)
    return levels(ease, shape), levels(seen, shape)


def draw_believed(
    rng: np.random.Generator,
    shifts: np.ndarray,
    biases: np.ndarray,
    size: tuple[int, int],
    correlation: str,
    shape: str,
    *,
    noise: float,
    doubt: float,
    sampled: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People's scores, the judge's numbers and its expectations, (models, *size) for instructions and criteria.

    The judge sees the latent number as in draw_judged, and believes it to lie within `doubt` of what it sees: that
    spread, cut into levels, is its probability of each. Its number is the level of what it sees or, where `sampled`,
    one drawn from those probabilities.
    """
    ease = latent(rng, (len(shifts), *size), CORRELATION[correlation]) + shifts[:, None, None]
    seen = ease + biases[:, None, None] + noise * rng.standard_normal(ease.shape)
    cuts = stats.norm.ppf(np.cumsum(SHAPES[shape])[:-1])
    expectation = special.ndtr((seen[..., None] - cuts) / doubt).mean(axis=-1)
    number = levels(seen + doubt * rng.standard_normal(ease.shape) if sampled else seen, shape)
    return levels(ease, shape), number, expectation


TASKS = {0.6: 0.5, 0.2: 0.25, -0.2: 0.15, -0.6: 0.1}
"""How easy a task's instructions are, in latent standard deviations, and its share of them."""


def draw_tasks(
    rng: np.random.Generator, shifts: np.ndarray, biases: np.ndarray, size: tuple[int, int], shape: str, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People's and the judge's scores, (models, *size) for instructions and criteria, and the task of each instruction.

    As in draw_judged with the correlation `middle`, on tasks that are easy in part and of unequal size.
    """
    task = rng.choice(len(TASKS), size[0], p=list(TASKS.values()))
    ease = latent(rng, (len(shifts), *size), CORRELATION["middle"]) + shifts[:, None, None]
    ease += np.array(list(TASKS))[task][:, None]
    seen = ease + biases[:, None, None] + noise * rng.standard_normal(ease.shape)
    return levels(ease, shape), levels(seen, shape), task


def mean_over_tasks(shape: str, shift: float) -> float:
    """True mean on [0, 1] of draw_tasks for a model whose latent number is moved by shift."""
    return sum(share * mean_score(shape, shift + easy) for easy, share in TASKS.items())


def draw_unequal(rng: np.random.Generator, sizes: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """A draw of `number` of the units with probabilities in proportion to `sizes`: whether each is drawn, and its
    probability.

    Systematic in a random order (Madow 1949); a unit whose probability would exceed 1 is drawn surely.
    """
    sure = np.zeros(len(sizes), dtype=bool)
    probability = np.ones(len(sizes))
    while True:
        left = np.where(sure, 0.0, sizes)
        probability = np.where(sure, 1.0, (number - sure.sum()) * left / left.sum())
        if probability.max() <= 1 + 1e-12:
            break
        sure |= probability > 1
    order = rng.permutation(len(sizes))
    steps = np.floor(np.cumsum(probability[order]) + rng.random() + 1e-9)
    drawn = np.zeros(len(sizes), dtype=bool)
    drawn[order] = np.diff(steps, prepend=0.0) > 0
    return drawn, np.minimum(probability, 1.0)


def draw_near_the_top(
    rng: np.random.Generator, falls: float, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """People's and the judge's scores, (models, instructions, criteria): all 1, but 0.5 where an instruction falls.

    A fallen instruction has 0.5 on 7 of 10 criteria; the judge sees a fall on 1 of 20 criteria where there is none.
    """
    fallen = (rng.random((*shape[:2], 1)) < falls) & (rng.random(shape) < 0.7)
    gold = np.where(fallen, 0.5, 1.0)
    return gold, np.where(rng.random(shape) < 0.05, 0.5, gold)
