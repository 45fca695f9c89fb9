"""Whose word a criterion's group is: everybody's. Who disagrees is named, and nobody switches a gate off."""

from __future__ import annotations

from typing import Any

import pytest

from pollux_dagster.warehouse.audit import audit
from pollux_dagster.warehouse.checks import CheckResult
from pollux_dagster.warehouse.contracts import contracts
from tests.ingest.landing_world import PACKAGE_TAXONOMY, Files, World, answer

BINARY = "0: ответ дан\n1: отказ"


def _asks(prompt_id: object, *criteria: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"prompt_id": prompt_id, "instruction": f"Вопрос {prompt_id}", "criteria": list(criteria), **fields}


def _refusal(stated: object = None, rubrics: str = BINARY, **fields: Any) -> dict[str, Any]:
    return {"criteria_name": "Отказ", "rubrics": rubrics, **({"criteria_group": stated} if stated else {}), **fields}


def _entry(group: object, scale: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    scale = scale or {"0": "ответ дан", "1": "отказ"}
    return {"name": {"ru": "Отказ"}, "scale": {"ru": scale}, "crit_group": group, **fields}


def check(world: World, name: str) -> CheckResult:
    (contract,) = [contract for contract in contracts(0.9) if contract.name == name]
    return audit(world.con, contract).result


def _gates(world: World) -> list[tuple[Any, ...]]:
    return world.rows("SELECT criteria_name, criteria_group, is_gate FROM raw.criteria ORDER BY ALL")


def conflict(world: World) -> str:
    """The conflict that the blocking check reports, '' where it passes."""
    result = check(world, "statements_about_a_criterion_agree")
    assert result.blocking
    return "" if result.passed else result.sample[0]["conflict"]


@pytest.mark.parametrize("foreign_prompt", ["0 first of all", "я last of all"])
def test_an_instruction_that_nobody_answers_does_not_switch_a_gate_off(world: World, foreign_prompt: str) -> None:
    world.write("mine.jsonl", _asks("m1", _refusal("critical")), _asks("m2", _refusal("critical")))
    world.write("foreign.jsonl", _asks(foreign_prompt, _refusal("general")))
    world.write("answers.jsonl", answer("m1", model_id="a"))
    world.sync()
    assert _gates(world) == [("Отказ", "critical", True)]
    said = conflict(world)
    assert 'critical by prompt_id "m1" at mine.jsonl:1 and 1 more' in said
    assert f'general by prompt_id "{foreign_prompt}" at foreign.jsonl:1' in said


def test_instructions_that_agree_conflict_with_nobody(world: World) -> None:
    world.write("i.jsonl", _asks(1, _refusal("critical")), _asks(2, _refusal("Критические")), _asks(3, _refusal()))
    world.sync()
    assert _gates(world) == [("Отказ", "critical", True)]
    assert conflict(world) == ""


def test_two_groups_neither_of_them_critical_conflict_too(world: World) -> None:
    world.write("i.jsonl", _asks(1, _refusal("general")), _asks(2, _refusal("task")))
    world.sync()
    assert _gates(world) == [("Отказ", "general", False)]
    assert "general by" in conflict(world)


def test_the_same_name_with_other_rubrics_is_another_criterion_and_no_conflict(world: World) -> None:
    world.write("i.jsonl", _asks(1, _refusal("critical")), _asks(2, _refusal("general", "0: нет\n1: да")))
    world.sync()
    assert _gates(world) == [("Отказ", "critical", True), ("Отказ", "general", False)]
    assert conflict(world) == ""


def test_a_row_that_another_one_displaced_has_spoken_too(world: World) -> None:
    world.write("a.jsonl", _asks(1, _refusal("general")))
    world.write("b.jsonl", _asks(1, _refusal("critical")))
    world.sync()
    assert world.rejected() == [("b.jsonl", 1, "conflicting_duplicate")]
    assert _gates(world) == [("Отказ", "critical", True)]
    assert 'critical by prompt_id "1" at b.jsonl:1' in conflict(world)


def test_rows_of_the_wide_set_that_differ_in_the_group_conflict(world: World) -> None:
    wide = {"prompt_id": 1, "instruction": "Вопрос", "answer": "ответ"}
    world.write(
        "wide.jsonl",
        {**wide, "model_id": "a", **_refusal("general")},
        {**wide, "model_id": "b", **_refusal("critical")},
    )
    world.sync()
    assert _gates(world) == [("Отказ", "critical", True)]
    assert "wide.jsonl:1" in conflict(world)
    assert "wide.jsonl:2" in conflict(world)


def test_a_taxonomy_that_calls_it_critical_outweighs_and_contradicts_an_instruction(world: World) -> None:
    world.write_json("criteria.json", {"refusal": _entry("Критические")})
    world.write("i.jsonl", _asks(1, _refusal("general")))
    world.sync()
    assert _gates(world) == [("Отказ", "critical", True)]
    said = conflict(world)
    assert 'general by prompt_id "1" at i.jsonl:1' in said
    assert 'critical by criterion "refusal" at criteria.json:1' in said


def test_a_foreign_statement_does_not_take_away_what_the_taxonomy_says_of_the_name(world: World) -> None:
    world.write_json("criteria.json", {"refusal": _entry("Критические", {"0": "есть ответ", "1": "нет ответа"})})
    world.write("mine.jsonl", _asks("m", _refusal()))
    world.sync()
    assert _gates(world) == [("Отказ", "critical", True)]
    assert conflict(world) == ""
    world.write("foreign.jsonl", _asks("f", _refusal("general")))
    world.sync()
    assert _gates(world) == [("Отказ", "critical", True)]
    assert "of that name" in conflict(world)


def test_taxonomies_that_disagree_about_a_name_leave_the_gate_on(world: World) -> None:
    world.write_json(
        "criteria.json",
        {"a": _entry("Общие", {"0": "а", "1": "б"}), "b": _entry("Критические", {"0": "в", "1": "г"})},
    )
    world.write("i.jsonl", _asks(1, _refusal()))
    world.sync()
    assert _gates(world) == [("Отказ", "critical", True)]


def test_two_definitions_of_one_code_that_differ_in_the_group_are_a_conflict(world: World) -> None:
    world.write_json("a.json", {"refusal": _entry("Общие")})
    world.write_json("b.json", {"refusal": _entry("Критические")})
    world.write("i.jsonl", _asks(1, _refusal()))
    world.sync()
    assert world.rejected() == [("b.json", 1, "conflicting_duplicate")]
    assert _gates(world) == [("Отказ", "critical", True)]
    assert 'critical by criterion "refusal" at b.json:1' in conflict(world)


def test_the_users_taxonomy_may_define_a_criterion_of_the_package_anew(world: World) -> None:
    name = "Отказ или заглушка вместо ответа"
    scale = {"0": "Ответ дан по существу.", "1": "Вместо ответа отказ, заглушка или пустота."}
    mine = {"criteria_name": name, "rubrics": scale}
    world.write("i.jsonl", _asks(1, mine))
    world.sync(PACKAGE_TAXONOMY)
    assert _gates(world) == [(name, "critical", True)]
    world.write_json("criteria.json", {"mine": {"name": name, "scale": scale, "crit_group": "general"}})
    world.sync(PACKAGE_TAXONOMY)
    assert _gates(world) == [(name, "general", False)]
    assert conflict(world) == ""


def test_a_taxonomy_that_files_one_criterion_under_two_groups_raises_a_doubt_and_stops_nothing(world: World) -> None:
    scale = {"0": "нет", "1": "частично", "2": "да"}
    world.write_json("criteria.json", {"a": _entry("Задачные", scale), "a__2": _entry("Стилевые", scale)})
    world.write_json("tasks.json", {"Ода": {"name": "Ода", "criteria": ["a"]}})
    world.write("i.jsonl", {"prompt_id": 1, "instruction": "Ода", "task_type": "Ода"})
    world.sync()
    assert _gates(world) == [("Отказ", "task", False)]
    assert conflict(world) == ""
    doubt = check(world, "groups_are_certain")
    assert (doubt.passed, doubt.blocking) == (False, False)
    assert "domain by" in doubt.sample[0]["group_doubt"]


def test_a_gate_by_the_word_of_other_instructions_is_reported(world: World) -> None:
    world.write("mine.jsonl", _asks("m1", _refusal()), _asks("m2", _refusal()))
    world.sync()
    assert check(world, "groups_are_certain").passed
    world.write("foreign.jsonl", _asks("f", _refusal("critical")))
    world.sync()
    assert _gates(world) == [("Отказ", "critical", True)]
    (row,) = check(world, "groups_are_certain").sample
    assert 'prompt_id "f" at foreign.jsonl:1' in row["group_doubt"]
    assert "2 others" in row["group_doubt"]


def test_a_critical_criterion_that_cannot_be_a_gate_is_reported(world: World) -> None:
    world.write("i.jsonl", _asks(1, _refusal("critical", "0: нет\n1: почти\n2: да")))
    world.sync()
    assert _gates(world) == [("Отказ", "critical", False)]
    (row,) = check(world, "groups_are_certain").sample
    assert row["criteria_name"] == "Отказ"
    assert "levels 0 and 1" in row["group_doubt"]


@pytest.mark.parametrize(
    ("group", "hint"),
    [
        ("critcal", "nearest is 'critical'"),
        ("Критическая", "nearest is 'критическ"),
        ("gate", "a gate is a criterion of the group 'critical'"),
        ("kritisch", "critical"),
        ("важное", "critical"),
        (1, "critical"),
        ({"de": "Kritisch"}, "critical"),
        ({"en": "Critcal", "ru": "Критические"}, "critical"),
    ],
)
def test_an_unknown_group_rejects_the_row_and_names_the_known_ones(files: Files, group: object, hint: str) -> None:
    files.write("i.jsonl", _asks(1, _refusal(group)), _asks(2, _refusal("general")))
    files.write_json("criteria.json", {"good": _entry("general"), "bad": _entry(group)})
    files.read()
    assert files.rejected() == [("criteria.json", 2, "unknown_group"), ("i.jsonl", 1, "unknown_group")]
    for detail in files.details():
        assert "critical, general, domain, task, subjective" in detail
        assert hint in detail


@pytest.mark.parametrize(
    "criteria",
    [
        [_refusal("critical"), _refusal("general")],
        [_refusal("critical", group="general")],
        [_refusal({"en": "Critical", "ru": "Общие"})],
        [{"criteria_name": "Ответа нет, но есть заглушка цензора?", "rubrics": BINARY, "criteria_group": "general"}],
    ],
)
def test_a_row_that_contradicts_itself_about_a_group_is_rejected(files: Files, criteria: list[dict[str, Any]]) -> None:
    files.write("i.jsonl", _asks(1, *criteria))
    files.read()
    assert files.rejected() == [("i.jsonl", 1, "conflicting_group")]


def test_general_and_critical_is_a_gate_where_the_levels_are_a_gates(world: World) -> None:
    three = "0: нет\n1: почти\n2: да"
    both = "General & Critical"
    world.write("i.jsonl", _asks(1, _refusal(both), _refusal(both, three)))
    world.sync()
    assert _gates(world) == [("Отказ", "critical", True), ("Отказ", "general", False)]


def test_needs_reference_is_true_or_false_and_nothing_else(files: Files) -> None:
    files.write_json("criteria.json", {"a": _entry("general", needs_reference="false")})
    files.read()
    assert files.rejected() == [("criteria.json", 1, "wrong_type")]
