"""The card's rows: what is packaged, whose row a judge's is, and what a user's own card file may hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pollux_dagster.core.model_card import PACKAGED_CARD, ModelCardError, read_model_card


def packaged() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PACKAGED_CARD.read_text("utf-8"))
    return found


def test_the_packaged_card_has_twelve_judges_and_seven_task_types() -> None:
    card = read_model_card()
    assert len(card.rows) == 12
    assert len(set(card.out_of_domain)) == 7


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ("ai-forever/Pollux-4B-Judge", "Pollux-4B-Judge"),
        ("/models/pollux-judge-32B/", "pollux-judge-32b"),
        ("gemma 4 31b", "Gemma 4 31B"),
        ("someone/gemma-4-31b-it", "Gemma 4 31B"),
        ("ai-forever/Pollux-4B-Judge-GGUF", None),
        ("demo", None),
    ],
)
def test_a_judges_row_is_found_by_the_last_part_of_its_models_name(model: str, row: str | None) -> None:
    found = read_model_card().row_of(model)
    assert (found and found.name) == row


@pytest.mark.parametrize(
    ("task_type", "kept_out"),
    [
        ("ИИ как персонаж (бытовая ситуация)", "ИИ как персонаж"),
        ("ИИ как персонаж (экспертная ситуация)", "ИИ как персонаж"),
        ("  стайл-трансфер ", "Стайл-трансфер"),
        ("Изменить  код", "Изменить код"),
        ("Написать код", None),
        ("Творческий брейншторминг", None),
        ("unspecified", None),
    ],
)
def test_a_task_type_is_compared_without_its_situation(task_type: str, kept_out: str | None) -> None:
    assert read_model_card().task_type_out_of_domain(task_type) == kept_out


def changed(path: Path, **row: Any) -> Path:
    card = packaged()
    card["judges"][0] |= row
    path.write_text(json.dumps(card, ensure_ascii=False), encoding="utf-8")
    return path


def test_a_users_figures_are_read(tmp_path: Path) -> None:
    file = changed(
        tmp_path / "card.json", source="the table of the card", figures={"overall": {"rmse": 1, "spearman": -0.5}}
    )
    (row, *_) = read_model_card(file).rows
    assert row.figures == {"overall": {"rmse": 1.0, "spearman": -0.5}}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"figures": {"overall": {"rmse": 0.5}}}, "Pollux-4B-Judge: figures without a source"),
        ({"figures": {"all": {}}}, "expected figures of overall, in_domain, out_of_domain, got 'all'"),
        ({"figures": {"overall": {"f1": 0.5}}}, "expected one of rmse, macro_f1, spearman, got 'f1'"),
        ({"figures": {"overall": {"macro_f1": 52.1}}}, "expected macro_f1 as a number from 0 to 1, got 52.1"),
        ({"figures": {"overall": {"rmse": "0.5"}}}, "expected rmse as a number from 0 to inf, got '0.5'"),
        ({"figures": {"overall": {"rmse": float("nan")}}}, "expected rmse as a number from 0 to inf, got nan"),
        ({"figures": []}, "expected the form of"),
        ({"name": "GLM-4.7"}, "two judges have one name"),
    ],
)
def test_a_wrong_card_file_is_refused_with_the_place(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    file = changed(tmp_path / "card.json", **row)
    with pytest.raises(ModelCardError, match=said) as refused:
        read_model_card(file)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize(("text", "said"), [("[]", "expected the form of"), ("{", "expected JSON"), ("{}", "without")])
def test_what_is_no_card_file_is_said(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "card.json"
    file.write_text(text)
    with pytest.raises(ModelCardError, match=said):
        read_model_card(file)
