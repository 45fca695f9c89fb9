"""Groups of criteria: every POLLUX spelling is read, any other is refused, and a gate is never lost on the way."""

from __future__ import annotations

import pytest

from pollux_dagster.core.groups import ConflictingGroupError, UnknownGroupError, group_by_name, is_gate, read_group

GATE, THREE = (0.0, 1.0), (0.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("value", "group"),
    [
        ({"en": "Critical", "ru": "Критические"}, "critical"),
        ("Критические", "critical"),
        ("критичный", "critical"),
        ({"en": "", "ru": "Критические"}, "critical"),
        ({"en": "Fine-grained", "ru": "Общие"}, "general"),
        ("fine grained", "general"),
        ("GENERAL", "general"),
        ("Общее", "general"),
        ({"en": "Domain-specific", "ru": "Стилевые"}, "domain"),
        ("domain_specific", "domain"),
        ("Доменные", "domain"),
        ({"ru": "Задачные"}, "task"),
        ("Task-specific", "task"),
        ("Subjective", "subjective"),
        ("субъективные", "subjective"),
        ("unspecified", "unspecified"),
        (None, "unspecified"),
        (" ", "unspecified"),
        ({"en": None, "ru": None}, "unspecified"),
    ],
)
def test_every_spelling_of_pollux_is_read(value: object, group: str) -> None:
    assert read_group([value], "К", THREE) == group


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("critcal", "nearest is 'critical'"),
        ("Критическая", "nearest is 'критичес"),
        ("gate", "a gate is a criterion of the group 'critical'"),
        ("что-то новое", "critical, general, domain, task, subjective"),
        (7, "got 7"),
        (["critical"], "got ["),
        ({"de": "Kritisch"}, "got {"),
    ],
)
def test_any_other_is_refused_with_the_known_ones_and_the_nearest(value: object, hint: str) -> None:
    with pytest.raises(UnknownGroupError) as refused:
        read_group([value], "К", THREE)
    assert hint in str(refused.value)


def test_two_statements_that_differ_are_refused_and_named() -> None:
    with pytest.raises(ConflictingGroupError, match="critical and general"):
        read_group(["general", None, "critical"], "К", GATE)
    assert read_group(["critical", "", "Критические"], "К", GATE) == "critical"


def test_general_and_critical_is_what_the_levels_make_of_it() -> None:
    assert read_group(["General & Critical"], "К", GATE) == "critical"
    assert read_group(["General & Critical"], "К", THREE) == "general"


@pytest.mark.parametrize(
    "name",
    [
        "Ответа нет, но есть заглушка цензора?",
        "Есть ли критичное нарушение формата (чрезмерные зацикливания), которое не позволяет оценить ответ модели?",
        "No output because of the censor?",
        "Is there a critical format violation (excessive repetitions) that does not allow evaluating the LLM’s output?",
    ],
)
def test_a_gate_of_pollux_is_critical_by_its_name_and_cannot_be_filed_otherwise(name: str) -> None:
    assert group_by_name(name) == read_group([], name, GATE) == "critical"
    with pytest.raises(ConflictingGroupError, match="POLLUX's own gates"):
        read_group(["general"], name, GATE)


def test_a_gate_is_critical_and_has_exactly_zero_and_one() -> None:
    assert is_gate("critical", (0, 1))
    assert not is_gate("critical", (0, 1, 2))
    assert not is_gate("general", (0, 1))
