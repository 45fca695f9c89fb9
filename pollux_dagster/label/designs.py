"""Which answers are drawn to be scored by people, and with what probability.

A design gives every answer a probability above 0 of being drawn, and an order of the answers. One step through that
order from a random start then draws exactly as many as were wanted, each with exactly its probability: systematic
sampling with unequal probabilities (Madow 1949, Annals of Mathematical Statistics 20:333, in random order as in Hartley
& Rao 1962, ibid. 33:350). With equal probabilities in random order this is a simple random sample.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pollux_dagster.core.statistics.label_designs import Design, inclusion_probabilities


class Candidate(NamedTuple):
    """An answer that may be drawn: its model and task, and how uncertain its score is (`spread`, at least 0)."""

    model_id: str
    task_type: str
    spread: float


class Drawn(NamedTuple):
    """One drawn answer: its place among the candidates, and the probability with which it was drawn."""

    place: int
    probability: float


def draw(candidates: Sequence[Candidate], wanted: int, design: Design, seed: int) -> list[Drawn]:
    """`wanted` of the candidates, or all of them where they are fewer, in random order. The same seed draws the same.

    The probabilities are those of `inclusion_probabilities`. In a `stratified` draw the tasks of a model are drawn in
    proportion to their size, to within one answer.
    """
    generator = random.Random(seed)
    order = list(range(len(candidates)))
    generator.shuffle(order)
    _, models = np.unique([candidate.model_id for candidate in candidates], return_inverse=True)
    spread = np.array([candidate.spread for candidate in candidates])
    probabilities = inclusion_probabilities(design, wanted, models, spread).tolist()
    if design == "stratified":
        order.sort(key=lambda place: candidates[place][:2])  # stable: random within a model's task
    chosen = [Drawn(place, probabilities[place]) for place in _systematic(order, probabilities, generator.random())]
    generator.shuffle(chosen)
    return chosen


def _systematic(order: Sequence[int], probabilities: Sequence[float], start: float) -> list[int]:
    """The places where the running sum of probabilities, in this order, passes start, start + 1, …; start in [0, 1)."""
    sums = list(itertools.accumulate(probabilities[place] for place in order))
    count = round(sums[-1]) if sums else 0
    # The sum of floats may miss its whole number by a little: the last answer is then the one that is passed.
    return [order[min(bisect.bisect_right(sums, start + step), len(sums) - 1)] for step in range(count)]
