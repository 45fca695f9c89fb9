"""Which criteria an instruction is judged on: its own, its task's in a taxonomy, or the fallback task's."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.ingest.landing_world import PACKAGE_TAXONOMY, World, instruction


def _criterion(name: str, group: str = "Общие", **fields: Any) -> dict[str, Any]:
    return {
        "name": {"ru": name, "en": name + "-en"},
        "scale": {"ru": {"0": "нет", "1": "да"}},
        "crit_group": {"ru": group},
        "domain": None,
        **fields,
    }


CRITERIA = {
    "gate": _criterion("Заглушка", "Критические"),
    "style": _criterion("Стиль"),
    "correct_answer__3": _criterion("Верность", "Задачные"),
}
TASKS = {
    "Texts": {
        "name": {"en": "Texts", "ru": "Тексты"},
        "tasks": {
            "Write": {
                "name": {"en": "Write", "ru": "Написать"},
                "subtasks_l1": {
                    "Poem": {"name": {"en": "Poem", "ru": "Стих"}, "criteria": ["gate", "style"]},
                    "Fact": {
                        "name": {"en": "Fact", "ru": "Факт"},
                        "criteria": ["gate", "correct_answer__3"],
                        "has_gold": True,
                    },
                },
            }
        },
    }
}


def _judged_on(world: World) -> dict[str, list[str]]:
    return dict(
        world.rows(
            "SELECT prompt_id, list(criteria_name ORDER BY position) FROM raw.instruction_criteria "
            "JOIN raw.criteria USING (criterion_id) GROUP BY prompt_id"
        )
    )


def _bare(prompt_id: object, **fields: object) -> dict[str, object]:
    return {"prompt_id": prompt_id, "instruction": f"В {prompt_id}", **fields}


@pytest.fixture
def taught(world: World) -> World:
    """A world with a POLLUX taxonomy in its landing folder."""
    world.write_json("criteria.json", CRITERIA)
    world.write_json("tasks.json", TASKS)
    return world


def test_inline_criteria_win_and_keep_their_order(taught: World) -> None:
    criteria = [{"criteria_name": n, "rubrics": "0: нет\n1: да"} for n in ("Б", "А", "Б")]
    taught.write("i.jsonl", _bare(1, task_type="Написать", criteria=criteria))
    taught.sync(PACKAGE_TAXONOMY)
    assert _judged_on(taught) == {"1": ["Б", "А"]}
    assert taught.rows("SELECT DISTINCT source FROM raw.instruction_criteria") == [("inline",)]


def test_a_table_of_instructions_may_have_a_row_a_criterion(world: World) -> None:
    rows = [
        f'1,Вопрос,{name},"0: нет\n1: {yes}"' for name, yes in (("Б", "да"), ("А", "да"), ("Б", "да"), ("Б", "есть"))
    ]
    world.write("i.csv", "prompt_id,instruction,criteria_name,rubrics", *rows, rows[0].replace("Вопрос", "Другой"))
    world.sync(PACKAGE_TAXONOMY)
    assert _judged_on(world) == {"1": ["Б", "А", "Б"]}
    assert world.rejected() == [("i.csv", 3, "duplicate"), ("i.csv", 5, "conflicting_duplicate")]


def test_a_task_and_subtask_are_found_by_either_languages_name_in_any_case(taught: World) -> None:
    taught.write(
        "i.jsonl",
        _bare(1, task_type="Написать", task_subtype="Стих"),
        _bare(2, task_type="write", task_subtype="POEM"),
        _bare(3, task_type=" Тексты ", task_subtype="стих"),
        _bare(4, task_type="Стих"),
    )
    taught.sync(PACKAGE_TAXONOMY)
    assert _judged_on(taught) == {str(n): ["Заглушка", "Стиль"] for n in range(1, 5)}
    assert taught.rows("SELECT DISTINCT source FROM raw.instruction_criteria") == [("taxonomy",)]


def test_a_task_without_a_subtask_has_what_its_subtasks_share(taught: World) -> None:
    taught.write("i.jsonl", _bare(1, task_type="Написать"), _bare(2, task_type="Написать", task_subtype="Ода"))
    taught.sync(PACKAGE_TAXONOMY)
    assert _judged_on(taught) == {"1": ["Заглушка"], "2": ["Заглушка"]}


def test_a_criterion_that_needs_a_reference_applies_only_where_there_is_one(taught: World) -> None:
    fact = {"task_type": "Написать", "task_subtype": "Факт"}
    taught.write("i.jsonl", _bare(1, reference_answer="42", **fact), _bare(2, reference_answer=" ", **fact))
    taught.sync(PACKAGE_TAXONOMY)
    assert _judged_on(taught) == {"1": ["Заглушка", "Верность"], "2": ["Заглушка"]}


def test_an_unknown_or_missing_task_is_judged_by_the_packages_fallback(taught: World) -> None:
    taught.write("i.jsonl", _bare(1), _bare(2, task_type="ru-arena-v0.1"))
    taught.sync(PACKAGE_TAXONOMY)
    judged = _judged_on(taught)
    assert judged["1"] == judged["2"]
    assert "Отказ или заглушка вместо ответа" in judged["1"]
    assert "Соответствие эталонному ответу" not in judged["1"]


def test_without_any_taxonomy_an_instruction_is_kept_and_has_no_criteria(world: World) -> None:
    world.write("i.jsonl", _bare(1))
    world.sync(taxonomy=None)
    assert world.rows("SELECT prompt_id FROM raw.instructions") == [("1",)]
    assert _judged_on(world) == {}


def test_a_landed_taxonomy_goes_before_the_packages_for_the_same_task(world: World) -> None:
    world.write_json("c.json", {"mine": _criterion("Моё")})
    world.write_json("t.json", {"общее": {"name": {"ru": "общее"}, "criteria": ["mine"]}})
    world.write("i.jsonl", _bare(1))
    world.sync(PACKAGE_TAXONOMY)
    assert _judged_on(world) == {"1": ["Моё"]}


def test_names_that_differ_in_case_only_are_one_name(world: World) -> None:
    world.write_json("t.json", {"ода": {"name": {"ru": "Ода", "en": "ОДА"}, "criteria": ["no_repetition"]}})
    world.write_json("u.json", {"Ода": {"name": {"ru": "Ода"}, "criteria": ["refusal_stub"]}})
    world.write("i.jsonl", _bare(1, task_type="Ода"))
    world.sync(PACKAGE_TAXONOMY)
    assert _judged_on(world) == {"1": ["Отсутствие повторов"]}


def test_a_second_definition_of_a_criterion_is_rejected(world: World) -> None:
    world.write_json("a.json", {"mine": _criterion("Моё")})
    world.write_json("b.json", {"mine": _criterion("Моё")})
    world.write_json("c.json", {"mine": _criterion("Чужое")})
    world.sync(PACKAGE_TAXONOMY)
    assert world.rejected() == [("b.json", 1, "duplicate"), ("c.json", 1, "conflicting_duplicate")]


def test_a_landed_task_may_use_the_packages_criteria(world: World) -> None:
    world.write_json("t.json", {"Ода": {"name": {"ru": "Ода"}, "criteria": ["no_repetition"]}})
    world.write("i.jsonl", _bare(1, task_type="Ода"))
    world.sync(PACKAGE_TAXONOMY)
    assert _judged_on(world) == {"1": ["Отсутствие повторов"]}


def test_a_task_with_an_unknown_criterion_is_rejected_and_named(world: World) -> None:
    world.write_json("t.json", {"Ода": {"name": {"ru": "Ода"}, "criteria": ["no_repetition", "nonsense"]}})
    world.write("i.jsonl", _bare(1, task_type="Ода"))
    world.sync(PACKAGE_TAXONOMY)
    assert world.rejected() == [("t.json", 1, "unknown_criterion")]
    assert "nonsense" in world.rows("SELECT detail FROM raw.rejected_rows")[0][0]
    assert "Отказ или заглушка вместо ответа" in _judged_on(world)["1"]


def test_a_taxonomy_criterion_without_a_readable_scale_is_rejected(world: World) -> None:
    broken = _criterion("Плохой", scale={"ru": {"плохо": "нет", "хорошо": "да"}})
    world.write_json("criteria.json", {"good": _criterion("Хороший"), "bad": broken})
    world.sync(PACKAGE_TAXONOMY)
    assert world.rejected() == [("criteria.json", 2, "unreadable_scale")]


def test_groups_gates_and_scales_are_read_into_the_criteria(taught: World) -> None:
    inline = [
        {"criteria_name": "Заглушка", "rubrics": "0: нет\n1: да"},
        {"criteria_name": "Заглушка", "rubrics": "0: нет\n1: почти\n2: да"},
        {"criteria_name": "Новый", "rubrics": "-1: хуже\n0,5: лучше", "crit_group": "Субъективные"},
        {"criteria_name": "Неведомый", "rubrics": "1: а\n2: б"},
        {"criteria_name": "Ответа нет, но есть заглушка цензора?", "rubrics": "0: нет\n1: да"},
    ]
    taught.write("i.jsonl", _bare(1, criteria=inline))
    taught.sync(PACKAGE_TAXONOMY)
    rows = taught.rows(
        "SELECT criteria_name, criteria_group, levels, min_score, max_score, is_gate FROM raw.criteria ORDER BY ALL"
    )
    assert rows == [
        ("Заглушка", "critical", [0.0, 1.0], 0.0, 1.0, True),
        ("Заглушка", "critical", [0.0, 1.0, 2.0], 0.0, 2.0, False),
        ("Неведомый", "unspecified", [1.0, 2.0], 1.0, 2.0, False),
        ("Новый", "subjective", [-1.0, 0.5], -1.0, 0.5, False),
        ("Ответа нет, но есть заглушка цензора?", "critical", [0.0, 1.0], 0.0, 1.0, True),
    ]


def test_hashes_in_the_tables_are_those_python_computes(world: World) -> None:
    world.write("i.jsonl", instruction(1, reference_answer="да"), instruction(2))
    world.sync(PACKAGE_TAXONOMY)

    def sha(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    assert world.rows("SELECT instruction_hash, reference_hash FROM raw.instructions ORDER BY prompt_id") == [
        (sha("Вопрос 1"), sha("да")),
        (sha("Вопрос 2"), sha("")),
    ]
    ((criterion_id, name_hash, rubrics_hash),) = world.rows(
        "SELECT criterion_id, name_hash, rubrics_hash FROM raw.criteria"
    )
    assert (name_hash, rubrics_hash) == (sha("Польза"), sha("0: нет\n1: да"))
    assert criterion_id == sha(name_hash + rubrics_hash)
