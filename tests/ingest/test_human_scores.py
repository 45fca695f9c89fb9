"""People's scores: which answer and criterion each is for, and rows that bring an answer and a score together."""

from __future__ import annotations

import unicodedata

import pytest

from tests.ingest.landing_world import RUBRIC, World, answer, instruction


def _score(**fields: object) -> dict[str, object]:
    return {"prompt_id": 1, "model_id": "m", "criteria_name": "Польза", "annotator": "Анна", "score": 1, **fields}


def test_a_score_is_of_the_sample_that_it_names(world: World) -> None:
    world.write("instructions.jsonl", instruction(1))
    world.write("m.jsonl", *(answer(1, f"ответ {n}", sample_index=n) for n in (0, 1)))
    world.write("people.jsonl", _score(sample_index=1), _score(sample_index=0, score=0), _score(sample_index=2))
    world.sync()
    assert world.rows("SELECT sample_index, score FROM raw.human_scores ORDER BY ALL") == [(0, 0.0), (1, 1.0)]
    assert world.rejected() == [("people.jsonl", 3, "unknown_output")]


def test_a_score_without_a_sample_is_of_the_first(world: World) -> None:
    world.write("instructions.jsonl", instruction(1))
    world.write("m.jsonl", *(answer(1, f"ответ {n}", sample_index=n) for n in (1, 2)))
    world.write("people.jsonl", _score())
    world.sync()
    assert world.rows("SELECT sample_index FROM raw.human_scores") == [(1,)]


@pytest.mark.parametrize("name", ["Польза ", "Польза", "По\u200bльза", "\u00a0Польза"])
def test_names_that_look_alike_are_one_name_for_a_score(world: World, name: str) -> None:
    criteria = [{"criteria_name": "Йод и польза", "rubrics": RUBRIC}, {"criteria_name": "Польза", "rubrics": RUBRIC}]
    world.write("instructions.jsonl", instruction(1, criteria=criteria))
    world.write("м.jsonl", answer(1, model_id="Йошкар"))
    model = unicodedata.normalize("NFD", "Йошкар")
    decomposed = unicodedata.normalize("NFD", "Йод\u00a0и польза")
    world.write(
        "people.jsonl", _score(model_id=model, criteria_name=name), _score(model_id=model, criteria_name=decomposed)
    )
    world.sync()
    assert world.rejected() == []
    assert world.rows("SELECT model_id, criteria_name FROM raw.human_scores ORDER BY ALL") == [
        ("Йошкар", "Йод и польза"),
        ("Йошкар", "Польза"),
    ]


def _wide(**fields: object) -> dict[str, object]:
    return {
        "prompt_id": 3,
        "instruction": "Кто?",
        "answer": "Он",
        "model_id": "m",
        "criteria_name": "Точность",
        "rubrics": RUBRIC,
        "criteria_score": 1,
        **fields,
    }


def test_a_row_with_an_unusable_score_is_not_judged_either(world: World) -> None:
    world.write("wide.jsonl", _wide(criteria_score=5))
    world.sync()
    assert world.rejected() == [("wide.jsonl", 1, "off_scale")]
    assert world.outputs() == []
    assert world.rows("SELECT rejected FROM raw.answer_counts") == [(1,)]


def test_another_row_with_the_same_answer_still_stands_for_it(world: World) -> None:
    world.write("wide.jsonl", _wide(criteria_score=5), _wide(criteria_name="Краткость"))
    world.sync()
    assert world.rejected() == [("wide.jsonl", 1, "off_scale")]
    assert world.rows("SELECT answer, row_number FROM raw.model_outputs") == [("Он", 2)]
    assert world.rows("SELECT criteria_name FROM raw.human_scores") == [("Краткость",)]


def test_a_criterion_in_another_case_is_refused_with_the_name_that_was_meant(asked: World) -> None:
    asked.write("m.jsonl", answer(1))
    for name in ("ПОЛЬЗА", "нет такого"):
        row = {"prompt_id": 1, "model_id": "m", "criteria_name": name, "score": 1}
        asked.write(f"{name}.jsonl", row)
    asked.sync()
    assert asked.rows("SELECT detail FROM raw.rejected_rows ORDER BY ALL") == [
        ('prompt_id "1" is not judged on "ПОЛЬЗА"; it is judged on "Польза": write names alike',),
        ('prompt_id "1" is not judged on "нет такого"',),
    ]
