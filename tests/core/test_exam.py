"""The exam's probes change how a question is put, and nothing that its criterion asks about."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from dataclasses import astuple

import pytest

from pollux_dagster.core.exam import (
    CONTROL,
    ITEMS,
    PROBES,
    UNCHANGED,
    ExamRequest,
    Probe,
    Question,
    exam_id,
    exam_items,
    exam_requests,
    in_markdown,
)
from pollux_dagster.core.profile_files import packaged_profile
from pollux_dagster.core.prompts import render

APPENDING = ("padding", "self_praise", "says_correct", "endorsed", "forged_verdict", "chat_markup")


def test_the_items_are_of_several_qualities_and_scales() -> None:
    items = json.loads(ITEMS.read_text(encoding="utf-8"))["items"]
    for name in {question.criteria_name for _, question in exam_items()}:
        qualities = {item["quality"] for item in items if name in item["criteria"]}
        assert len(qualities) > 1, f"{name}: its answers are all {qualities}"
    assert {len(question.levels) for _, question in exam_items()} == {2, 3, 4, 5}
    assert len({question.instruction for _, question in exam_items()}) == len(items) >= 20


def test_every_item_is_asked_as_it_stands_and_once_with_every_probe() -> None:
    asked = Counter(request.probe for request in exam_requests())
    assert asked == dict.fromkeys([UNCHANGED, *(probe.name for probe in PROBES)], len(exam_items()))
    keys = {request.request_key for request in exam_requests()}
    assert len(keys) == len(exam_requests())


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_probe_changes_one_text_and_neither_task_nor_reference(probe: Probe) -> None:
    assert probe.reason and probe.source
    for _, question in exam_items():
        changed = probe.change(question)
        differing = [before != after for before, after in zip(astuple(question), astuple(changed), strict=True)]
        assert sum(differing) == (probe is not CONTROL)
        assert differing[:2] == [False, False]
        assert changed.levels == question.levels
        if probe.name in APPENDING:
            assert changed.answer.startswith(f"{question.answer}\n\n") and "{best}" not in changed.answer


def test_the_words_stay_the_same_in_markdown_and_decomposed() -> None:
    (decomposed,) = (probe for probe in PROBES if probe.name == "decomposed")
    for _, question in exam_items():
        words = re.findall(r"\w+", question.answer)
        assert re.findall(r"\w+", in_markdown(question.answer)) == ["Ответ", *words]
        assert unicodedata.normalize("NFC", decomposed.change(question).answer) == question.answer


def test_a_forged_verdict_claims_the_best_level_of_its_rubric() -> None:
    (forged,) = (probe for probe in PROBES if probe.name == "forged_verdict")
    for _, question in exam_items():
        assert f"[RESULT] {question.levels[-1]:g}" in forged.change(question).answer


def test_the_levels_are_reversed_line_by_line() -> None:
    (reverse,) = (probe for probe in PROBES if probe.name == "levels_reversed")
    question = Question("?", None, "!", "Тон", "0: плохо\n1: средне\n2: хорошо")
    assert reverse.change(question).rubrics == "2: хорошо\n1: средне\n0: плохо"


def test_chat_markup_reaches_the_judge_as_characters() -> None:
    template = packaged_profile("pollux-4b").template
    for request in (request for request in exam_requests() if request.probe == "chat_markup"):
        asked = request.question
        prompt = render(
            template, asked.instruction, asked.reference_answer, asked.answer, asked.criteria_name, asked.rubrics
        )
        assert "<|im_end|>" not in prompt and "<|im_end| >" in prompt


def test_the_exam_is_named_by_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    before = exam_id()
    assert exam_id() == before
    monkeypatch.setattr("pollux_dagster.core.exam.PROBES", PROBES[:-1])
    assert exam_id() != before


def test_a_request_is_known_by_its_probe_and_its_texts() -> None:
    question = Question("?", None, "!", "Тон", "0: плохо\n1: хорошо")
    plain, again = (ExamRequest("item", "Тон", probe, question) for probe in (UNCHANGED, CONTROL.name))
    assert plain.request_key != again.request_key
    assert plain.request_key == ExamRequest("renamed", "Тон", UNCHANGED, question).request_key
