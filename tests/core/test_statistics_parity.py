"""The three figures under every choice, against exact fractions, to 1e-12; and which choices are tried."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction
from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from pollux_dagster.core.statistics.agreement import METRICS, agreement
from pollux_dagster.core.statistics.parity import OPTIONS, Choices, RatedItems, all_figures, every_choice, figures
from tests.exact_agreement import Item, exact_figures

SCALES = ((0, 1, 2), (0, 1), (-1, 0, 1, 3))


def generated(seed: int, judge_parts: int = 1) -> list[Item]:
    """60 items of 12 instructions, 5 models and 3 criteria, one to four ratings each; judge scores in parts of one."""
    random = Random(seed)
    items = []
    for number in range(60):
        levels = SCALES[number % 3]
        judge = Fraction(random.randint(levels[0] * judge_parts, levels[-1] * judge_parts), judge_parts)
        if judge_parts == 1:
            judge = Fraction(random.choice(levels))
        ratings = [Fraction(random.choice(levels)) for _ in range(random.randint(1, 4))]
        items.append({"ratings": ratings, "judge": judge, "levels": levels, "criterion": number % 3,
                      "model": number % 5, "instruction": number // 5})  # fmt: skip
    return items


def rated(items: list[Item]) -> RatedItems:
    ratings = [(number, rating) for number, item in enumerate(items) for rating in item["ratings"]]
    return RatedItems(
        rating=np.array([float(rating) for _, rating in ratings]),
        item=np.array([number for number, _ in ratings]),
        judge=np.array([float(item["judge"]) for item in items]),
        criterion=np.array([item["criterion"] for item in items]),
        instruction=np.array([item["instruction"] for item in items]),
        model=np.array([item["model"] for item in items]),
        scales=tuple(np.array(scale, dtype=np.float64) for scale in SCALES),
    )


VALUES: list[Any] = list(OPTIONS.values())
EVERYTHING = [Choices(*values) for values in product(*VALUES)]


# Five has no factor in common with the numbers of options, so every fifth combination has each of them with each other.
@pytest.mark.parametrize(
    ("seed", "judge_parts", "step"),
    [(1, 1, 5), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(1, 1, 1), (2, 4, 1)])],
)
def test_every_combination_has_the_figures_of_exact_arithmetic(seed: int, judge_parts: int, step: int) -> None:
    items = generated(seed, judge_parts)[:36]
    assert len(set(EVERYTHING)) == 4 * 4 * 4 * 2 * 3 * 3
    for choices, found in all_figures(rated(items), EVERYTHING[::step]):
        expected = exact_figures(items, asdict(choices))
        assert found == pytest.approx(expected, abs=1e-12, rel=0), choices


def test_combinations_differ_so_that_the_test_above_could_fail() -> None:
    found = {tuple(round(x, 9) for x in one.values()) for _, one in all_figures(rated(generated(2, 4)), EVERYTHING)}
    assert len(found) > 300


def test_the_figures_with_intervals_are_the_same_and_the_defaults_are_those_of_agreement() -> None:
    items = rated(generated(4))
    for choices, plain in all_figures(items, every_choice(items, {})):
        assert {name: one.value for name, one in figures(items, choices).figures.items()} == pytest.approx(plain)
    one_scale = items.only(items.criterion == 0)
    gold = np.array([one_scale.rating[one_scale.item == number].mean() for number in range(len(one_scale))])
    theirs = agreement(gold, one_scale.judge, one_scale.instruction, SCALES[0])
    ours = figures(one_scale, Choices())
    assert (ours.n, ours.instructions) == (theirs.n, theirs.clusters)
    for name in set(METRICS) & set(ours.figures):
        assert ours.figures[name] == theirs.figures[name]


def test_the_interval_of_a_mean_over_criteria_is_the_jackknife_of_that_mean() -> None:
    items = rated(generated(5))
    choices = Choices(average="criteria", classes="rubric")
    without = [
        next(all_figures(items.only(items.instruction != number), [choices]))[1]["macro_f1"] for number in range(12)
    ]
    expected = np.sqrt(11 / 12 * ((np.array(without) - np.mean(without)) ** 2).sum())
    assert figures(items, choices).figures["macro_f1"].standard_error == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("classes", "labels"), [("used", None), ("people", "gold"), ("rubric", "scale")])
def test_the_classes_of_macro_f1_are_labels_of_scikit_learn(classes: str, labels: str | None) -> None:
    gold, judge = np.array([0.0, 1, 1, 0, 1]), np.array([0.0, 1, 2, 0, 2])
    each = np.arange(5)
    items = RatedItems(gold, each, judge, np.zeros(5, int), each, each, (np.array([0.0, 1, 2, 3]),))
    said = {None: None, "gold": [0, 1], "scale": [0, 1, 2, 3]}[labels]
    expected = metrics.f1_score(gold, judge, labels=said, average="macro", zero_division=0)
    (_, found), *_ = all_figures(items, every_choice(items, {"classes": classes, "average": "pooled"}))
    assert found["macro_f1"] == pytest.approx(expected, abs=1e-12)


def test_only_choices_that_can_matter_are_tried() -> None:
    one_rating = [{**item, "ratings": item["ratings"][:1], "criterion": 0, "model": 0} for item in generated(6)]
    items = rated([item for item in one_rating if item["levels"] == SCALES[0]])
    assert every_choice(items, {}) == [Choices(classes="used"), Choices(classes="people"), Choices(classes="rubric")]
    everything = rated(generated(6, 2))
    tried = every_choice(everything, {})
    assert tried[0] == Choices()
    # Each rating and each mode is a level, so only mean and median have something to round.
    assert {one.people_rounding for one in tried if one.experts in ("each", "mode")} == {"none"}
    assert len(tried) == len(set(tried)) == (2 * 4 + 2) * 4 * 2 * 3 * 3


def test_a_fixed_choice_is_kept_and_an_unknown_value_named() -> None:
    items = rated(generated(7))
    assert {one.experts for one in every_choice(items, {"experts": "median"})} == {"median"}
    with pytest.raises(ValueError, match="people rounding: expected one of none, up, even, down, got 'nearest'"):
        every_choice(items, {"people_rounding": "nearest"})


def test_no_items_have_no_figures() -> None:
    items = rated(generated(8))
    nothing = items.only(np.zeros(len(items), dtype=np.bool_))
    measured = figures(nothing, Choices())
    assert (measured.n, measured.instructions) == (0, 0)
    assert all(np.isnan(one.value) for one in measured.figures.values())
