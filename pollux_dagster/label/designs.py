"""Which answers are drawn to be scored by people, and with what probability.

A design gives every answer a probability above 0 of being drawn, and an order of the answers. One step through that
order from a random start then draws exactly as many as were wanted, each with exactly its probability: systematic
sampling with unequal probabilities (Madow 1949, Annals of Mathematical Statistics 20:333, in random order as in Hartley
& Rao 1962, ibid. 33:350). With equal probabilities in random order this is a simple random sample.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

Design = Literal["uniform", "stratified", "informative"]
DESIGNS: tuple[Design, ...] = get_args(Design)
FLOOR = 0.5
"""Share of an informative draw that is uniform, so that no answer's weight is above 1 / FLOOR times the mean's."""


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

    `uniform`: every answer with the same probability. `stratified`: as many answers of each model (all of one that has
    fewer), in each model the tasks in proportion to their size; both to within one answer. `informative`: half of the
    probability is uniform, half in proportion to the spread.
    """
    generator = random.Random(seed)
    order = list(range(len(candidates)))
    generator.shuffle(order)
    wanted = min(wanted, len(candidates))
    probabilities = _PROBABILITIES[design](candidates, wanted)
    if design == "stratified":
        order.sort(key=lambda place: candidates[place][:2])  # stable: random within a model's task
    chosen = [Drawn(place, probabilities[place]) for place in _systematic(order, probabilities, generator.random())]
    generator.shuffle(chosen)
    return chosen


def _uniform(candidates: Sequence[Candidate], wanted: int) -> list[float]:
    return [wanted / len(candidates)] * len(candidates)


def _stratified(candidates: Sequence[Candidate], wanted: int) -> list[float]:
    sizes = Counter(candidate.model_id for candidate in candidates)
    shares = dict(zip(sizes, _filled(list(map(float, sizes.values())), [1.0] * len(sizes), wanted), strict=True))
    return [min(1.0, shares[candidate.model_id] / sizes[candidate.model_id]) for candidate in candidates]


def _informative(candidates: Sequence[Candidate], wanted: int) -> list[float]:
    """In proportion to how far people may be from the judge, which is where labels narrow the interval of a calibrated
    mean most, mixed with the uniform design (Zrnic & Candès 2024, Active Statistical Inference, arXiv:2403.03208).
    """
    total = math.fsum(candidate.spread for candidate in candidates)
    if total <= 0:
        return _uniform(candidates, wanted)
    sizes = [FLOOR / len(candidates) + (1 - FLOOR) * candidate.spread / total for candidate in candidates]
    return _filled([1.0] * len(candidates), sizes, wanted)


def _filled(limits: Sequence[float], sizes: Sequence[float], wanted: float) -> list[float]:
    """`wanted` shared out in proportion to the sizes (above 0), none above its limit; the limits sum to at least it."""
    shares = [0.0] * len(sizes)
    is_open = [True] * len(sizes)
    left = float(wanted)
    while True:
        total = math.fsum(size for size, is_free in zip(sizes, is_open, strict=True) if is_free)
        full = [
            place
            for place, is_free in enumerate(is_open)
            if is_free and left * sizes[place] >= limits[place] * total
        ]  # fmt: skip
        for place in full:
            shares[place], is_open[place] = limits[place], False
            left -= limits[place]
        if not full or not any(is_open):
            break
    for place, is_free in enumerate(is_open):
        if is_free:
            shares[place] = left * sizes[place] / total
    return shares


def _systematic(order: Sequence[int], probabilities: Sequence[float], start: float) -> list[int]:
    """The places where the running sum of probabilities, in this order, passes start, start + 1, …; start in [0, 1)."""
    sums = list(itertools.accumulate(probabilities[place] for place in order))
    count = round(sums[-1]) if sums else 0
    # The sum of floats may miss its whole number by a little: the last answer is then the one that is passed.
    return [order[min(bisect.bisect_right(sums, start + step), len(sums) - 1)] for step in range(count)]


_PROBABILITIES: dict[Design, Callable[[Sequence[Candidate], int], list[float]]] = {
    "uniform": _uniform,
    "stratified": _stratified,
    "informative": _informative,
}
