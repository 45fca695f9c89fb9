"""POLLUX's Batch Reports: the judge in them is no model that answered, and its scores are nobody's."""

from __future__ import annotations

from typing import Any

import pytest

from pollux_dagster.ingest.landing_records import HumanScore, Instruction, InstructionCriterion, ModelOutput
from tests.ingest.landing_world import RUBRIC, Files

VERDICT: dict[str, Any] = {
    "instruction": "Когда закрытие?",
    "answer": "В девять.",
    "criteria_name": "Польза",
    "criteria_rubrics": RUBRIC,
    "judge": "org/judge",
    "score": 1,
    "score_raw": "1",
    "reasoning": "Верно.",
    "model": "org/judge",
}


@pytest.mark.parametrize("left_out", ["judge", "score_raw"])
def test_a_report_that_does_not_say_who_answered_is_refused_and_the_judge_is_no_model(
    files: Files, left_out: str
) -> None:
    report = {name: value for name, value in VERDICT.items() if name != left_out}
    files.write("alpha-pollux-results.jsonl", report)
    files.write_json("api.json", {"data": [report], "model": "org/judge"})
    files.read()
    assert [row for _, row, _ in files.rejected()] == [0, 0] and files.of_kind(ModelOutput) == []
    assert all("model_id" in detail and "Batch Report" in detail for detail in files.details())


def test_the_texts_of_a_report_are_judged_with_their_context_and_a_gold_score_is_a_persons(files: Files) -> None:
    rag = VERDICT | {"retrieved_context": "С 9 до 17.", "gold_score": 0, "model_id": "alpha"}
    files.write("named.jsonl", rag, VERDICT | {"score": None, "error": "HTTP 500", "model_id": "beta"})
    files.write("stated/report.jsonl", VERDICT)
    files.write_bytes("stated/landing.toml", b'[[files]]\nmatch = "*.jsonl"\nmodel = "gamma"\n')
    files.read()
    assert files.rejected() == []
    assert [(o.model_id, o.answer, o.reasoning) for _, _, o in files.of_kind(ModelOutput)] == [
        ("alpha", "В девять.", None),
        ("beta", "В девять.", None),
        ("gamma", "В девять.", None),
    ]
    texts = [i.instruction for _, _, i in files.of_kind(Instruction)]
    assert texts == ["С 9 до 17.\n\nКогда закрытие?", "Когда закрытие?", "Когда закрытие?"]
    assert {(c.criteria_name, c.rubrics) for _, _, c in files.of_kind(InstructionCriterion)} == {("Польза", RUBRIC)}
    assert [(s.model_id, s.annotator, s.score) for _, _, s in files.of_kind(HumanScore)] == [("alpha", "gold", 0)]


def test_a_comparison_of_two_answers_and_a_score_of_no_criterion_are_rejected(files: Files) -> None:
    pair = {"instruction": "Извинись.", "answer_1": "Простите.", "answer_2": "Бывает.", "score": -1, "judge": "j"}
    files.write("r.jsonl", pair | {"model_id": "m"}, VERDICT | {"model_id": "m"})
    unnamed = {name: value for name, value in VERDICT.items() if name != "criteria_name"}
    files.write("u.jsonl", unnamed | {"model_id": "m", "gold_score": 1})
    files.read()
    assert files.rejected() == [("r.jsonl", 1, "wrong_type"), ("u.jsonl", 1, "missing_field")]


def test_the_replies_of_polluxs_judge_are_no_answers(files: Files) -> None:
    files.write_json("results/m/scores.json", [{"response": "1", "meta": {"prompt_id": 1, "criteria_name": "Польза"}}])
    files.read()
    assert files.formats["results/m/scores.json"].name == "pollux_verdicts" and "answers.json" in files.details()[0]
