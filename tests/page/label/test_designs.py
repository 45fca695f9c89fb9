"""Every design draws as many answers as it was asked for, each as often as it says."""

from __future__ import annotations

from collections import Counter

import pytest

from pollux_dagster.core.statistics.label_designs import DESIGNS, UNIFORM_SHARE, Design
from pollux_dagster.label.designs import Candidate, draw

# One model has few answers, one has many; spreads from none to much.
CANDIDATES = [
    Candidate(f"m{0 if n < 4 else 1 if n < 12 else 2}", f"t{n % 3 % 2}", (n * 7 % 11 / 11) ** 3) for n in range(30)
]
DRAWS = 1_500


@pytest.mark.parametrize("design", DESIGNS)
def test_an_answer_is_drawn_as_often_as_its_probability_says(design: Design) -> None:
    hits: Counter[int] = Counter()
    stated: dict[int, float] = {}
    for seed in range(DRAWS):
        drawn = draw(CANDIDATES, 10, design, seed)
        assert len({each.place for each in drawn}) == len(drawn) == 10
        for place, probability in drawn:
            hits[place] += 1
            assert stated.setdefault(place, probability) == probability, "it does not depend on the draw"
    assert sum(stated.values()) == pytest.approx(10)
    for place, probability in stated.items():
        error = (probability * (1 - probability) / DRAWS) ** 0.5
        assert abs(hits[place] / DRAWS - probability) <= 4 * error + 1e-9, (design, place)


def test_a_stratified_draw_gives_each_model_and_in_it_each_task_its_share() -> None:
    for seed in range(30):
        drawn = draw(CANDIDATES, 15, "stratified", seed)
        models = Counter(CANDIDATES[place].model_id for place, _ in drawn)
        assert models["m0"] == 4, "all of a model with fewer than its share"
        assert {models["m1"], models["m2"]} <= {5, 6}
        tasks = Counter(CANDIDATES[place].task_type for place, _ in drawn if CANDIDATES[place].model_id == "m2")
        of_t1 = sum(candidate[:2] == ("m2", "t1") for candidate in CANDIDATES)
        assert abs(tasks["t1"] - models["m2"] * of_t1 / 18) <= 1


def test_an_informative_draw_prefers_uncertain_scores_and_leaves_none_without_a_chance() -> None:
    certain, unsure = [Candidate("m", "t", 0.0)] * 80, [Candidate("m", "t", 0.5)] * 20
    stated = {
        each.place: each.probability for seed in range(60) for each in draw(certain + unsure, 20, "informative", seed)
    }
    assert stated[99] == pytest.approx(20 * (UNIFORM_SHARE / 100 + (1 - UNIFORM_SHARE) / 20))
    assert min(stated.values()) == pytest.approx(UNIFORM_SHARE * 20 / 100)
    assert {each.probability for each in draw(certain, 20, "informative", 1)} == {0.25}, "nothing is known: uniform"


def test_a_spread_beyond_all_others_is_certain_to_be_drawn() -> None:
    candidates = [Candidate("m", "t", 1e6), *[Candidate("m", "t", 1e-9)] * 9]
    for seed in range(20):
        drawn = {each.place: each.probability for each in draw(candidates, 3, "informative", seed)}
        assert drawn[0] == 1.0
        assert all(drawn[place] == pytest.approx(2 / 9) for place in drawn if place)


def test_the_same_seed_draws_the_same_and_what_is_too_few_is_drawn_whole() -> None:
    assert draw(CANDIDATES, 10, "uniform", 7) == draw(CANDIDATES, 10, "uniform", 7)
    assert draw(CANDIDATES, 10, "uniform", 7) != draw(CANDIDATES, 10, "uniform", 8)
    for design in DESIGNS:
        drawn = draw(CANDIDATES, 1_000, design, 1)
        assert sorted(each.place for each in drawn) == list(range(30))
        assert {each.probability for each in drawn} == {1.0}
