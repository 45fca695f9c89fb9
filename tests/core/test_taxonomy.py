"""POLLUX taxonomies, as the benchmark writes them and as the package does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pollux_dagster
from pollux_dagster.core import taxonomy
from pollux_dagster.core.rubrics import UnreadableScaleError

CRITERION = {
    "name": {"en": "Brevity", "ru": "Краткость"},
    "desc": {"en": "d", "ru": "д"},
    "scale": {"en": {"0": "long", "1": "short"}, "ru": {"1": "кратко", "0": "длинно"}},
    "crit_group": {"en": "Fine-grained", "ru": "Общие"},
    "domain": {"en": "General-purpose", "ru": "Общее"},
    "task": None,
}
LEAF = {"name": {"en": "Poem", "ru": "Стих"}, "criteria": ["a", "b"], "has_gold": True}


def _tree(*leaves: tuple[str, str, list[str]]) -> dict[str, Any]:
    subtasks = {en: {"name": {"en": en, "ru": ru}, "criteria": codes} for en, ru, codes in leaves}
    return {
        "Texts": {
            "name": {"en": "Texts", "ru": "Тексты"},
            "tasks": {"Write": {"name": {"en": "Write", "ru": "Написать"}, "subtasks_l1": subtasks}},
        }
    }


def _expanded(document: dict[str, Any]) -> dict[tuple[str, str | None], tuple[str, ...]]:
    leaves = [leaf for leaf in taxonomy.read_leaves(document) if isinstance(leaf, taxonomy.TaskLeaf)]
    return {(t.task_type, t.task_subtype): t.codes for _, t in taxonomy.expand_leaf_names(leaves)}


def test_a_criterion_speaks_russian_and_lists_its_levels_ascending() -> None:
    criterion = taxonomy.read_criterion("short", CRITERION)
    assert criterion.name == "Краткость"
    assert criterion.rubrics == "0: длинно\n1: кратко"
    assert (criterion.group, criterion.domain) == ("general", "Общее")
    assert criterion.scale.levels == (0, 1)


def test_a_criterion_without_russian_falls_back_to_english() -> None:
    english = CRITERION | {"name": {"en": "Brevity"}, "scale": {"en": {"0": "long", "1": "short"}}}
    criterion = taxonomy.read_criterion("short", english)
    assert (criterion.name, criterion.rubrics) == ("Brevity", "0: long\n1: short")


@pytest.mark.parametrize(
    ("value", "group"),
    [
        ({"en": "Critical", "ru": "Критические"}, "critical"),
        ("Критические", "critical"),
        ({"en": "Fine-grained", "ru": "Общие"}, "general"),
        ("GENERAL", "general"),
        ({"en": "Domain-specific", "ru": "Стилевые"}, "domain"),
        ({"ru": "Задачные"}, "task"),
        ("Subjective", "subjective"),
        (None, "unspecified"),
        ("что-то новое", "unspecified"),
    ],
)
def test_group_names_are_normalized(value: object, group: str) -> None:
    assert taxonomy.normalize_group(value) == group


def test_a_gate_is_critical_and_has_exactly_zero_and_one() -> None:
    assert taxonomy.is_gate("critical", (0, 1))
    assert not taxonomy.is_gate("critical", (0, 1, 2))
    assert not taxonomy.is_gate("general", (0, 1))


def test_a_subtask_is_found_under_every_name_of_its_task() -> None:
    found = _expanded(_tree(("Poem", "Стих", ["a", "b"]), ("Essay", "Эссе", ["a", "c"])))
    for task in ("Write", "Написать", "Texts", "Тексты"):
        for subtask in ("Poem", "Стих"):
            assert found[task, subtask] == ("a", "b")


def test_a_task_with_several_subtasks_has_the_criteria_they_share() -> None:
    found = _expanded(_tree(("Poem", "Стих", ["a", "b"]), ("Essay", "Эссе", ["c", "a"])))
    assert found["Написать", None] == ("a",)


def test_a_task_whose_subtasks_share_nothing_has_no_criteria_of_its_own() -> None:
    found = _expanded(_tree(("Poem", "Стих", ["a"]), ("Essay", "Эссе", ["b"])))
    assert ("Написать", None) not in found


def test_a_leaf_without_criteria_is_an_error_that_names_it() -> None:
    document = _tree(("Poem", "Стих", ["a"]))
    document["Texts"]["tasks"]["Write"]["subtasks_l1"]["Essay"] = {"name": "Эссе", "criteria": "a"}
    (error,) = [e for e in taxonomy.read_leaves(document) if isinstance(e, taxonomy.TaxonomyError)]
    assert "Тексты / Написать / Essay" in str(error)


def test_a_criterion_of_the_wrong_shape_is_an_error_that_names_it() -> None:
    with pytest.raises(taxonomy.TaxonomyError, match="short"):
        taxonomy.read_criterion("short", CRITERION | {"name": 5})
    with pytest.raises(UnreadableScaleError, match="плохо"):
        taxonomy.read_criterion("short", CRITERION | {"scale": {"ru": {"плохо": "a", "хорошо": "b"}}})


def test_the_two_kinds_of_file_are_told_apart_by_content() -> None:
    criteria, tasks = {"short": CRITERION}, {"Poem": LEAF}
    assert taxonomy.looks_like_criteria(criteria) and not taxonomy.looks_like_tasks(criteria)
    assert taxonomy.looks_like_tasks(tasks) and not taxonomy.looks_like_criteria(tasks)
    assert taxonomy.looks_like_tasks(_tree(("Poem", "Стих", ["a"])))
    assert not taxonomy.looks_like_tasks({"answers": [1]})


def test_the_packages_own_criteria_have_one_gate_and_one_that_needs_a_reference() -> None:
    path = Path(pollux_dagster.__file__).parent / "taxonomy" / "criteria.json"
    criteria = [taxonomy.read_criterion(k, v) for k, v in json.loads(path.read_text("utf-8")).items()]
    assert [c.code for c in criteria if taxonomy.is_gate(c.group, c.scale.levels)] == ["refusal_stub"]
    assert [c.code for c in criteria if c.needs_reference] == ["reference_agreement"]
