"""The packaged demonstration data keeps its promises: it joins, its grades lie on the rubrics' own
scales, and the defects that its page describes are in the texts. Files are read here as plain JSON, so
that a mistake in a reader cannot hide one in the data; the ingest tests say whether the readers take it.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pollux_dagster import demo

TAXONOMY = demo.LANDING.parents[1] / "taxonomy"
SOSNA, BEREZA, OSINA, IVA = "demo-sosna-large", "demo-bereza-base", "demo-osina-mini", "demo-iva-broken"
MODELS = (SOSNA, BEREZA, OSINA, IVA)
WITHOUT_REFERENCE = ["refusal_stub", "no_repetition", "no_foreign_artifacts", "completeness_of_ending"]

Row = dict[str, Any]


def rows_of(name: str) -> list[Row]:
    lines = (demo.LANDING / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@cache
def criteria() -> dict[str, Row]:
    loaded: dict[str, Row] = json.loads((TAXONOMY / "criteria.json").read_text(encoding="utf-8"))
    return loaded


@cache
def instructions() -> dict[str, Row]:
    return {row["prompt_id"]: row for row in rows_of("instructions.jsonl")}


@cache
def human_scores() -> list[Row]:
    return rows_of("human_scores.jsonl")


@cache
def answers() -> dict[str, list[tuple[str, str | None]]]:
    """(prompt_id, answer) rows of each model, in the order of its file."""
    arena = rows_of("answers/bereza_model_answer.jsonl")
    batch = rows_of("answers/osina_batch_output.jsonl")
    pollux = json.loads((demo.LANDING / f"answers/{IVA}/answers.json").read_text(encoding="utf-8"))
    assert {row["model_id"] for row in arena} == {BEREZA}
    assert {row["response"]["body"]["model"] for row in batch} == {OSINA}
    assert pollux["model"] == IVA
    return {
        SOSNA: [(row["prompt_id"], row["answer"]) for row in rows_of(f"answers/{SOSNA}.jsonl")],
        BEREZA: [(row["question_id"], row["choices"][0]["turns"][0]["content"]) for row in arena],
        OSINA: [(row["custom_id"], row["response"]["body"]["choices"][0]["message"]["content"]) for row in batch],
        IVA: [(row["prompt_id"], row["answer"]) for row in pollux["answers"]],
    }


def answer_of(model: str, prompt_id: str) -> str:
    return dict(answers()[model])[prompt_id] or ""


def leaves(node: Row, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Row]]:
    """Every (path below the task group, leaf) of ``tasks.json``."""
    if "criteria" in node:
        yield path, node
    for level in ("tasks", "subtasks_l1"):
        for name, child in node.get(level, {}).items():
            yield from leaves(child, (*path, name))


@cache
def tasks() -> dict[tuple[str, ...], Row]:
    groups = json.loads((TAXONOMY / "tasks.json").read_text(encoding="utf-8"))
    return {path: leaf for group in groups.values() for path, leaf in leaves(group)}


def task_of(instruction: Row) -> Row:
    path = (instruction["task_type"], instruction["task_subtype"])
    return tasks()[tuple(part for part in path if part is not None)]


def rubrics_of(key: str) -> str:
    scale = criteria()[key]["scale"]["ru"]
    return "\n".join(f"{level}: {scale[level]}" for level in sorted(scale, key=float))


def level_of_repetition(answer: str) -> int:
    """2, 1 or 0 by how often the commonest run of three words comes: once, twice, three times or more."""
    words = re.findall(r"\w+", answer.lower())
    runs = Counter(zip(words, words[1:], words[2:], strict=False))
    return 2 - min(max(runs.values(), default=1) - 1, 2)


def level_of_foreign_artifacts(answer: str) -> int:
    """2, 1 or 0 by the number of unbroken stretches of Latin script: none, one, two or more."""
    return 2 - min(len(re.findall(r"[A-Za-z]+(?:[ ,'-]+[A-Za-z]+)*", answer)), 2)


def level_of_ending(answer: str) -> int:
    return int(answer.rstrip()[-1:] in tuple(".!?»"))


def is_refused(model: str, prompt_id: str) -> bool:
    answer = answer_of(model, prompt_id)
    return not answer.strip() or bool(
        re.search(r"не могу|не обсуждаю|не знаю ответа|нет данных|нельзя ответить|Давайте поговорим", answer)
    )


def share_of_agreement(model: str) -> float:
    """Share of the instructions with a reference whose answer contains it word for word."""
    referenced = [row for row in instructions().values() if row["reference_answer"] is not None]
    agreed = [row["reference_answer"].lower() in answer_of(model, row["prompt_id"]).lower() for row in referenced]
    return sum(agreed) / len(agreed)


def test_instructions_are_many_varied_and_keyed_once() -> None:
    assert len(rows_of("instructions.jsonl")) == len(instructions()) == 67
    texts = [row["instruction"] for row in instructions().values()]
    assert len(set(texts)) == len(texts)
    assert len({row["task_type"] for row in instructions().values()}) == 10
    references = [row["reference_answer"] for row in instructions().values()]
    assert references.count(None) == 14
    assert all(reference.strip() for reference in references if reference is not None)


def test_every_model_answers_every_instruction_once() -> None:
    for model in MODELS:
        assert [prompt_id for prompt_id, _ in answers()[model]] == list(instructions()), model


def test_every_task_has_criteria_the_taxonomy_knows() -> None:
    for path, leaf in tasks().items():
        assert set(leaf["criteria"]) <= set(criteria()), path
        assert leaf["criteria"] == (list(criteria()) if leaf["has_gold"] else WITHOUT_REFERENCE), path


def test_an_instruction_has_a_reference_exactly_where_its_task_expects_one() -> None:
    for prompt_id, row in instructions().items():
        assert task_of(row)["has_gold"] == (row["reference_answer"] is not None), prompt_id
        assert row["difficulty"] in task_of(row)["complexity"], prompt_id


def test_instructions_of_no_known_task_have_a_general_entry() -> None:
    assert tasks()[("общее",)]["criteria"] == WITHOUT_REFERENCE


def test_inline_criteria_are_the_tasks_own_word_for_word() -> None:
    inline = {prompt_id: row["criteria"] for prompt_id, row in instructions().items() if "criteria" in row}
    assert len(inline) == 8
    for prompt_id, given in inline.items():
        of_task = [
            (criteria()[key]["name"]["ru"], rubrics_of(key)) for key in task_of(instructions()[prompt_id])["criteria"]
        ]
        assert {(c["criteria_name"], c["rubrics"]) for c in given} <= set(of_task), prompt_id
        assert given[0]["criteria_name"] == criteria()["refusal_stub"]["name"]["ru"], prompt_id


def test_human_scores_join_once_and_lie_on_their_scales() -> None:
    key_of = {criterion["name"]["ru"]: key for key, criterion in criteria().items()}
    graded = {(row["prompt_id"], row["model_id"], row["criteria_name"], row["annotator"]) for row in human_scores()}
    assert len(graded) == len(human_scores())
    assert {row["annotator"] for row in human_scores()} == {"annotator-1", "annotator-2"}
    assert {row["model_id"] for row in human_scores()} == set(MODELS)
    assert len({row["prompt_id"] for row in human_scores()}) == 34
    for row in human_scores():
        instruction = instructions()[row["prompt_id"]]
        key = key_of[row["criteria_name"]]
        inline = [c["criteria_name"] for c in instruction.get("criteria", [])]
        assert row["criteria_name"] in inline if inline else key in task_of(instruction)["criteria"], row
        assert str(row["score"]) in criteria()[key]["scale"]["ru"], row


def test_two_annotators_mostly_agree_and_not_always() -> None:
    first, second = (
        {
            (row["prompt_id"], row["model_id"], row["criteria_name"]): row["score"]
            for row in human_scores()
            if row["annotator"] == annotator
        }
        for annotator in ("annotator-1", "annotator-2")
    )
    assert first.keys() == second.keys()
    differences = [abs(first[key] - second[key]) for key in first if first[key] != second[key]]
    assert differences == [1] * 14


def test_a_refused_answer_gets_the_gate_and_no_other_mark() -> None:
    gate = criteria()["refusal_stub"]["name"]["ru"]
    marks: dict[tuple[str, str], dict[str, int]] = {}
    for row in human_scores():
        marks.setdefault((row["model_id"], row["prompt_id"]), {})[row["criteria_name"]] = row["score"]
    for (model, prompt_id), given in marks.items():
        assert given[gate] == is_refused(model, prompt_id), (model, prompt_id)
        assert (len(given) == 1) == is_refused(model, prompt_id), (model, prompt_id)


@pytest.mark.parametrize(
    ("key", "level"),
    [
        ("no_repetition", level_of_repetition),
        ("no_foreign_artifacts", level_of_foreign_artifacts),
        ("completeness_of_ending", level_of_ending),
    ],
)
def test_the_first_annotators_marks_follow_from_the_text(key: str, level: Callable[[str], int]) -> None:
    marks = [
        row
        for row in human_scores()
        if row["annotator"] == "annotator-1" and row["criteria_name"] == criteria()[key]["name"]["ru"]
    ]
    assert {row["score"] for row in marks} == {int(value) for value in criteria()[key]["scale"]["ru"]}
    for row in marks:
        assert row["score"] == level(answer_of(row["model_id"], row["prompt_id"])), row


def test_full_agreement_is_given_exactly_to_answers_that_hold_the_reference() -> None:
    name = criteria()["reference_agreement"]["name"]["ru"]
    marks = [row for row in human_scores() if row["criteria_name"] == name]
    assert {row["score"] for row in marks} == {0, 1, 2}
    for row in marks:
        reference = instructions()[row["prompt_id"]]["reference_answer"]
        answer = answer_of(row["model_id"], row["prompt_id"])
        assert (row["score"] == 2) == (reference.lower() in answer.lower()), row


def test_models_differ_in_how_often_they_are_right() -> None:
    right = {model: round(100 * share_of_agreement(model)) for model in MODELS}
    assert right == {SOSNA: 94, BEREZA: 75, OSINA: 49, IVA: 25}


def test_each_model_has_the_defects_its_page_describes() -> None:
    def count(model: str) -> dict[str, int]:
        rated = [p for p in instructions() if not is_refused(model, p)]
        texts = [answer_of(model, p) for p in rated]
        return {
            "refused": len(instructions()) - len(rated),
            "blank": sum(not answer_of(model, p).strip() for p in instructions()),
            "repeats": sum(level_of_repetition(text) < 2 for text in texts),
            "foreign": sum(level_of_foreign_artifacts(text) < 2 for text in texts),
            "cut": sum(level_of_ending(text) == 0 for text in texts),
        }

    assert count(SOSNA) == {"refused": 0, "blank": 0, "repeats": 0, "foreign": 1, "cut": 0}
    assert count(BEREZA) == {"refused": 1, "blank": 0, "repeats": 3, "foreign": 2, "cut": 1}
    assert count(OSINA) == {"refused": 2, "blank": 0, "repeats": 3, "foreign": 0, "cut": 16}
    assert count(IVA) == {"refused": 18, "blank": 6, "repeats": 27, "foreign": 22, "cut": 0}


def test_blank_answers_come_as_empty_and_as_spaces() -> None:
    """And none as null, which is no answer."""
    blank = Counter(answer for _, answer in answers()[IVA] if not (answer or "").strip())
    assert blank == {"": 5, "   ": 1}


def test_a_cut_answer_is_marked_in_the_batch_output() -> None:
    for row in rows_of("answers/osina_batch_output.jsonl"):
        choice = row["response"]["body"]["choices"][0]
        cut = level_of_ending(choice["message"]["content"]) == 0
        assert choice["finish_reason"] == ("length" if cut else "stop"), row["custom_id"]


def test_some_texts_are_equal_across_models_and_need_one_judgement() -> None:
    by_text = Counter((prompt_id, answer) for model in MODELS for prompt_id, answer in answers()[model] if answer)
    assert sum(times > 1 for times in by_text.values()) >= 3


def test_every_file_in_the_landing_folder_is_one_that_lands() -> None:
    files = {str(p.relative_to(demo.LANDING)) for p in demo.LANDING.rglob("*") if p.is_file()}
    assert files == {
        "instructions.jsonl",
        "human_scores.jsonl",
        f"answers/{SOSNA}.jsonl",
        "answers/bereza_model_answer.jsonl",
        "answers/osina_batch_output.jsonl",
        f"answers/{IVA}/answers.json",
    }


def test_the_demonstration_works_on_a_copy_that_is_made_once(tmp_path: Path) -> None:
    """What is dropped under `pollux up --demo` lies in the home, and not in the package for a wheel to pack."""
    landing = demo.unpack(tmp_path / "home" / "landing")
    files = {path.relative_to(landing) for path in landing.rglob("*") if path.is_file()}
    assert files == {path.relative_to(demo.LANDING) for path in demo.LANDING.rglob("*") if path.is_file()}
    (landing / "human_scores.jsonl").unlink()
    (landing / "mine.jsonl").write_text("{}")
    assert demo.unpack(landing) == landing
    assert (landing / "mine.jsonl").exists()
    assert not (landing / "human_scores.jsonl").exists()
    assert list(landing.parent.iterdir()) == [landing]


def test_an_earlier_copy_with_null_answers_is_renewed_and_a_changed_one_is_not(tmp_path: Path) -> None:
    landing = demo.unpack(tmp_path / "landing")
    copy, packaged = (folder / "answers" / IVA / "answers.json" for folder in (landing, demo.LANDING))
    earlier = packaged.read_text(encoding="utf-8")
    for prompt_id in ("num-05", "edit-03"):
        earlier = earlier.replace(f'"{prompt_id}", "answer": ""', f'"{prompt_id}", "answer": null')
    copy.write_text(earlier + "\n", encoding="utf-8")
    demo.unpack(landing)
    assert "null" in copy.read_text(encoding="utf-8")
    copy.write_text(earlier, encoding="utf-8")
    demo.unpack(landing)
    assert copy.read_bytes() == packaged.read_bytes()
