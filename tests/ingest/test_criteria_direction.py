"""Where a criterion's direction comes from: what is stated, else what its words say, else higher is better."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.ingest.landing_world import Files, World
from tests.ingest.test_criteria_groups import check, conflict

MARKS = "1: отлично\n2: средне\n3: плохо"
COUNT = "от 0 до 5"


def _asks(prompt_id: object, name: str = "Качество", rubrics: str = COUNT, **fields: Any) -> dict[str, Any]:
    criterion = {"criteria_name": name, "rubrics": rubrics, **fields}
    return {"prompt_id": prompt_id, "instruction": f"Вопрос {prompt_id}", "criteria": [criterion]}


def _direction(world: World) -> bool | None:
    higher: bool | None
    ((higher,),) = world.rows("SELECT higher_is_better FROM raw.criteria")
    return higher


def _doubt(world: World) -> str:
    result = check(world, "directions_are_certain")
    assert not result.blocking
    return "" if result.passed else result.sample[0]["direction_doubt"]


STATEMENTS = [
    (COUNT, None, True, False),
    (COUNT, False, False, False),
    (COUNT, True, True, False),
    (MARKS, None, False, False),
    (MARKS, False, False, False),
    (MARKS, True, True, True),
    ("0: да\n1: нет", None, True, True),
    ("0: да\n1: нет", False, False, False),
    ("0: да\n1: нет", True, True, False),
]


@pytest.fixture(scope="module")
def stated(new_world: Callable[[], World]) -> World:
    """A world in which each statement is about a criterion with a name of its own."""
    world = new_world()
    for n, (rubrics, higher, *_) in enumerate(STATEMENTS):
        world.write(f"i{n}.jsonl", _asks(n, f"Качество {n}", rubrics=rubrics, higher_is_better=higher))
    world.sync()
    return world


@pytest.mark.parametrize("n", range(len(STATEMENTS)), ids=lambda n: repr(STATEMENTS[n]))
def test_what_is_stated_goes_before_what_the_words_say(stated: World, n: int) -> None:
    *_, higher, is_doubted = STATEMENTS[n]
    name = f"Качество {n}"
    assert stated.rows(f"SELECT higher_is_better FROM raw.criteria WHERE criteria_name = '{name}'") == [(higher,)]
    doubted = {row["criteria_name"] for row in check(stated, "directions_are_certain").sample}
    assert doubted == {f"Качество {m}" for m, (*_, doubt) in enumerate(STATEMENTS) if doubt}
    assert (name in doubted) is is_doubted
    assert conflict(stated) == ""


def test_the_direction_may_be_a_column_of_a_table(world: World) -> None:
    world.write("i.csv", "prompt_id,instruction,criteria_name,rubrics,higher_is_better", "1,В,Ошибки,от 0 до 5,False")
    world.sync()
    assert (_direction(world), _doubt(world)) == (False, "")


def test_the_direction_may_stand_in_a_taxonomy(world: World) -> None:
    entry = {"name": "Ошибки", "scale": {"0": "нет", "1": "одна", "2": "две"}, "higher_is_better": False}
    world.write_json("criteria.json", {"errors": entry})
    world.write_json("tasks.json", {"Счёт": {"name": "Счёт", "criteria": ["errors"]}})
    world.write("i.jsonl", {"prompt_id": 1, "instruction": "В", "task_type": "Счёт"})
    world.sync()
    assert (_direction(world), _doubt(world)) == (False, "")


def test_statements_both_ways_are_a_conflict_and_no_direction(world: World) -> None:
    world.write("mine.jsonl", _asks(1, higher_is_better=False))
    world.write("foreign.jsonl", _asks("f", higher_is_better=True))
    world.sync()
    assert _direction(world) is None
    said = conflict(world)
    assert 'false by prompt_id "1" at mine.jsonl:1' in said
    assert 'true by prompt_id "f" at foreign.jsonl:1' in said


def test_a_direction_by_the_word_of_other_instructions_is_reported(world: World) -> None:
    world.write("i.jsonl", _asks(1), _asks("f", higher_is_better=False))
    world.sync()
    assert _direction(world) is False
    assert 'prompt_id "f" at i.jsonl:2' in _doubt(world)


def test_a_gate_has_no_direction_and_one_whose_1_is_good_is_reported(world: World) -> None:
    world.write("i.jsonl", _asks(1, rubrics="0: нет ошибок\n1: есть ошибки", criteria_group="critical"))
    world.sync()
    assert (_direction(world), _doubt(world)) == (None, "")
    world.write("i.jsonl", _asks(1, rubrics="0: плохо\n1: хорошо", criteria_group="critical"))
    world.sync()
    assert _direction(world) is None
    assert "1 is the best" in _doubt(world)
    world.write("i.jsonl", _asks(1, rubrics="0: нет\n1: да", criteria_group="critical", higher_is_better=True))
    world.sync()
    assert "higher_is_better true" in _doubt(world)


def test_a_doubt_names_the_criterion(world: World) -> None:
    world.write("i.jsonl", _asks(1, "Есть ли ошибки?", "0: нет\n1: да"))
    world.sync()
    (row,) = check(world, "directions_are_certain").sample
    assert row["criteria_name"] == "Есть ли ошибки?"


@pytest.mark.parametrize("value", ["нет", 1, 0, [True]])
def test_a_direction_that_is_neither_true_nor_false_rejects_the_row(files: Files, value: object) -> None:
    files.write("i.jsonl", _asks(1, higher_is_better=value))
    files.write_json("criteria.json", {"a": {"name": "А", "scale": {"0": "б", "1": "в"}, "higher_is_better": value}})
    files.read()
    assert files.rejected() == [("criteria.json", 1, "wrong_type"), ("i.jsonl", 1, "wrong_type")]


def test_a_row_that_states_both_directions_is_rejected(files: Files) -> None:
    row = _asks(1, higher_is_better=True)
    row["criteria"] += _asks(1, higher_is_better=False)["criteria"]
    files.write("i.jsonl", row)
    files.read()
    assert files.rejected() == [("i.jsonl", 1, "wrong_type")]
