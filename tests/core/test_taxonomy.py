"""POLLUX taxonomies, as the benchmark writes them and as the package does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pollux_dagster
from pollux_dagster.core import taxonomy
from pollux_dagster.core.groups import is_gate
from pollux_dagster.core.rubrics import UnreadableScaleError, read_scale

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


@pytest.mark.parametrize(
    ("scale", "rubrics"),
    [
        (
            {"0": "нет", "1": "частично", "2": "да, например:\n5: пять фактов"},
            "0: нет\n1: частично\n2: да, например:\n    5: пять фактов",
        ),
        ({"0": "нет, если:\n1. пусто\n2. отказ", "1": "да"}, "0: нет, если:\n1. пусто\n2. отказ\n1: да"),
        ({"0": "нет:\n1: мало\n", "1": "да"}, "0: нет:\n    1: мало\n    \n1: да"),
        ({"0": "нет", "1": "да, или:\n2: вполне"}, '{\n "0": "нет",\n "1": "да, или:\\n2: вполне"\n}'),
        ({"-1": "хуже", "0": "так же", "+1": "лучше"}, "-1: хуже\n0: так же\n+1: лучше"),
        ({"0,5": "почти", "1": "да", "0": "нет"}, "0: нет\n0,5: почти\n1: да"),
    ],
)
def test_the_levels_of_an_object_are_its_keys_and_its_lines_read_back_as_them(
    scale: dict[str, str], rubrics: str
) -> None:
    criterion = taxonomy.read_criterion("short", CRITERION | {"scale": {"ru": scale}})
    assert criterion.rubrics == rubrics
    assert criterion.scale.levels == tuple(sorted(float(k.replace(",", ".")) for k in scale))
    assert read_scale(criterion.rubrics) == criterion.scale


@pytest.mark.parametrize(
    "scale",
    [
        {"плохо": "ответ\n0: нет\n1: да", "хорошо": "да"},
        {"0": "нет", "0,0": "тоже нет", "1": "да"},
        {"1": "да"},
        {"1-2": "плохо\n3: так себе", "4-5": "хорошо"},
    ],
)
def test_an_object_whose_keys_are_not_levels_is_refused(scale: dict[str, str]) -> None:
    with pytest.raises(UnreadableScaleError):
        taxonomy.read_criterion("short", CRITERION | {"scale": {"ru": scale}})


@given(
    st.dictionaries(st.integers(-3, 9).map(str), st.text(alphabet="ав:—.-\n 0125", max_size=20), min_size=2, max_size=4)
)
def test_the_levels_are_the_keys_whatever_the_descriptions_say(scale: dict[str, str]) -> None:
    criterion = taxonomy.read_criterion("short", CRITERION | {"scale": scale})
    assert criterion.scale.levels == tuple(sorted(map(float, scale)))


def test_a_criterion_without_russian_falls_back_to_english() -> None:
    english = CRITERION | {"name": {"en": "Brevity"}, "scale": {"en": {"0": "long", "1": "short"}}}
    criterion = taxonomy.read_criterion("short", english)
    assert (criterion.name, criterion.rubrics) == ("Brevity", "0: long\n1: short")


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
    assert [c.code for c in criteria if is_gate(c.group, c.scale.levels)] == ["refusal_stub"]
    assert [c.code for c in criteria if c.needs_reference] == ["reference_agreement"]
