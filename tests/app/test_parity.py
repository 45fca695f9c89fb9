"""`pollux parity` on a home that an instant judge filled: its figures are those of exact arithmetic."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from pollux_dagster.app.evaluation import evaluate_landing
from pollux_dagster.app.resources import Resources
from pollux_dagster.cli import app
from pollux_dagster.core.model_card import PACKAGED_CARD
from pollux_dagster.definitions import build_defs
from pollux_dagster.settings import Settings
from tests.exact_agreement import Item, exact_figures
from tests.fakes.instant_judge import MODEL, MUMBLE, InstantJudge
from tests.pipeline_world import REFUSAL, REPETITION, write_jsonl

# The figures themselves are held by tests/core/test_statistics_parity.py.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
MARKS = {
    "criteria_name": "Знаки препинания",
    "criteria_group": "general",
    "rubrics": "0: много ошибок\n1: одна ошибка\n2: ошибок нет",
}
CRITERIA = {
    str(criterion["criteria_name"]): (criterion, levels)
    for criterion, levels in ((REFUSAL, (0, 1)), (REPETITION, (0, 1, 2)), (MARKS, (0, 1, 2)))
}
TASK_TYPES = ("факты", "Стайл-трансфер", "ИИ как персонаж (бытовая ситуация)")
MUMBLED = "Ответ, о котором судья мямлит."


@dataclass(frozen=True)
class Judged:
    """A home with verdicts on the wide set, the rows of that set, and its items with the judge's published scores."""

    settings: Settings
    rows: list[dict[str, Any]]
    items: list[Item]

    def environment(self) -> dict[str, str]:
        return self.settings.to_environment()


def wide_rows() -> list[dict[str, Any]]:
    """9 instructions, 2 models, 3 criteria, one to three experts."""
    random = Random(3)
    rows = []
    for number in range(9):
        for model_id in ("a", "b"):
            answer = f"Ответ {model_id} на вопрос {number}." if (number, model_id) != (8, "b") else MUMBLED + MUMBLE
            for criterion, levels in CRITERIA.values():
                rows += [
                    {"prompt_id": number, "instruction": f"Вопрос {number}?", "answer": answer, "model_id": model_id,
                     "task_type": TASK_TYPES[number % 3], "annotator": f"expert {expert}",
                     "criteria_score": random.choice(levels), **criterion}
                    for expert in range(1 + random.randrange(3))
                ]  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    folder = tmp_path_factory.mktemp("parity")
    rows = wide_rows()
    write_jsonl(folder / "landing" / "wide.jsonl", rows)
    with InstantJudge() as judge:
        settings = Settings.from_environment(
            {
                "POLLUX_HOME": str(folder / "home"),
                "POLLUX_LANDING": str(folder / "landing"),
                "POLLUX_JUDGE_URL": judge.url,
                "POLLUX_JUDGE_MODEL": MODEL,
                "POLLUX_MINIMUM_COVERAGE": "0.5",
            }
        )
        assert evaluate_landing(build_defs(settings), settings)
    with duckdb.connect(str(settings.published), read_only=True) as con:
        scores = con.sql("SELECT prompt_id, model_id, criteria_name, score FROM staging.scores WHERE status = 'ok'")
        judge_scores = {tuple(key): score for *key, score in scores.fetchall()}
    assert len(judge_scores) == 9 * 2 * 3 - 3
    items = []
    for (prompt_id, model_id, name), score in judge_scores.items():
        ratings = [
            Fraction(row["criteria_score"])
            for row in rows
            if (str(row["prompt_id"]), row["model_id"], row["criteria_name"]) == (prompt_id, model_id, name)
        ]
        items.append(
            {"ratings": ratings, "judge": Fraction(score), "levels": CRITERIA[name][1], "criterion": name,
             "model": model_id, "task_type": TASK_TYPES[int(prompt_id) % 3]}
        )  # fmt: skip
    yield Judged(settings, rows, items)


@pytest.fixture
def wide(judged: Judged, tmp_path: Path) -> Path:
    """The same texts under other ids, in another order and outside the landing folder."""
    rows = [{**row, "prompt_id": f"other-{row['prompt_id']}"} for row in judged.rows]
    Random(1).shuffle(rows)
    return write_jsonl(tmp_path / "supplied.jsonl", rows)


def pollux_parity(judged: Judged, *arguments: str | Path) -> Any:
    return CliRunner(env=judged.environment()).invoke(app, ["parity", *map(str, arguments)])


def as_json(judged: Judged, *arguments: str | Path) -> dict[str, Any]:
    result = pollux_parity(judged, *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def card_with(path: Path, figures: dict[str, dict[str, float]], name: str = "GLM-4.7") -> Path:
    """The packaged card with figures for one row."""
    card = json.loads(PACKAGED_CARD.read_text("utf-8"))
    for row in card["judges"]:
        row |= {"figures": figures, "source": "made up by this test"} if row["name"] == name else {}
    path.write_text(json.dumps(card, ensure_ascii=False), encoding="utf-8")
    return path


def scope_items(items: Sequence[Item], scope: str) -> list[Item]:
    kept = {"overall": TASK_TYPES, "in_domain": TASK_TYPES[:1], "out_of_domain": TASK_TYPES[1:]}[scope]
    return [item for item in items if item["task_type"] in kept]


def test_every_combination_and_scope_is_that_of_exact_arithmetic(judged: Judged, wide: Path) -> None:
    found = as_json(judged, "--wide", wide)
    assert len(found["combinations"]) == (2 * 4 + 2) * 2 * 3 * 3
    for tried in found["combinations"]:
        for scope, figures in tried["figures"].items():
            expected = exact_figures(scope_items(judged.items, scope), tried["choices"])
            assert figures == pytest.approx(expected, abs=1e-12, rel=0), (scope, tried["choices"])
    assert [found["scopes"][scope]["n"] for scope in found["scopes"]] == [51, 18, 33]
    assert found["people"]["items_unjudged"] == {"unparseable": 3}
    assert found["card"]["out_of_domain"]["ИИ как персонаж"] == 15
    assert found["card"]["out_of_domain"]["Изменить код"] == 0


def test_criteria_have_their_own_figures_and_intervals_hold_them(judged: Judged, wide: Path) -> None:
    found = as_json(judged, "--wide", wide)
    assert [one["criteria_name"] for one in found["criteria"]] == sorted(CRITERIA)
    for one in found["criteria"]:
        of_it = [item for item in judged.items if item["criterion"] == one["criteria_name"]]
        every = exact_figures(of_it, found["choices"]["shown"])
        # Where all numbers of a criterion are one, there is no correlation.
        expected = {m: value for m, value in every.items() if value is not None}
        assert {m for m in every if one[m]["value"] is not None} == expected.keys() >= {"rmse", "macro_f1"}
        assert {m: one[m]["value"] for m in expected} == pytest.approx(expected, abs=1e-12, rel=0)
        assert all(one[m]["ci_low"] < one[m]["value"] < one[m]["ci_high"] for m in expected)


def test_the_combination_behind_a_cards_figures_is_found(judged: Judged, wide: Path, tmp_path: Path) -> None:
    choices = {"experts": "median", "people_rounding": "down", "judge_rounding": "none", "binary": "dropped",
               "average": "criteria", "classes": "used"}  # fmt: skip
    stated = {
        scope: {m: round(v, 3) for m, v in exact_figures(scope_items(judged.items, scope), choices).items() if v}
        for scope in ("overall", "out_of_domain")
    }
    card = card_with(tmp_path / "card.json", stated)
    found = as_json(judged, "--wide", wide, "--card", card, "--row", "glm-4.7")
    best, *others = found["combinations"]
    # Every level is used in this set, so the classes of macro F1 make no difference.
    second = next(one for one in others if {**one["choices"], "classes": "used"} != choices)
    assert best["choices"] == found["choices"]["shown"] == choices
    assert best["distance"] <= 0.0005 < second["distance"]
    distances = [one["distance"] for one in found["combinations"]]
    assert distances == pytest.approx(sorted(distances), abs=1e-12)
    alike = sum(one["distance"] == pytest.approx(best["distance"], abs=1e-12) for one in others)
    assert alike == 2
    said = pollux_parity(judged, "--wide", wide, "--card", card, "--row", "GLM-4.7").output
    assert "nearest to the card's row GLM-4.7 of 180 combinations: experts median, people rounding down" in said
    assert f"its largest difference is {best['distance']:.4f}, as for 2 other combinations" in said
    assert "with --card" not in said


def test_without_figures_nothing_is_called_the_nearest(judged: Judged, wide: Path) -> None:
    said = pollux_parity(judged, "--wide", wide, "--row", "Pollux-4B-Judge").output
    assert "states no figure in this card file, so no combination can be called the nearest" in " ".join(said.split())
    assert "rows of the card without figures in this card file: Pollux-4B-Judge, pollux-judge-7b" in said
    assert "the card has no row for" in pollux_parity(judged, "--wide", wide).output
    assert as_json(judged, "--wide", wide, "--row", "Kimi-K2.5")["combinations"][0]["distance"] is None


def test_a_fixed_choice_and_an_excluded_group_bound_what_is_tried(judged: Judged, wide: Path) -> None:
    found = as_json(judged, "--wide", wide, "--choose", "experts=mode", "--choose", "people-rounding=none",
                    "--exclude", "critical")  # fmt: skip
    assert {one["choices"]["experts"] for one in found["combinations"]} == {"mode"}
    assert {one["choices"]["binary"] for one in found["combinations"]} == {"kept"}  # none is left to drop
    kept = [item for item in judged.items if item["levels"] != (0, 1)]
    expected = exact_figures(kept, found["combinations"][0]["choices"])
    assert found["combinations"][0]["figures"]["overall"] == pytest.approx(expected, abs=1e-12, rel=0)
    assert len(found["criteria"]) == 2


def test_parquet_and_a_folder_are_read_like_json_lines(judged: Judged, wide: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    rows = pl.read_ndjson(wide)
    rows[:40].write_parquet(tmp_path / "folder" / "1.parquet")
    rows[40:].write_parquet(tmp_path / "folder" / "2.parquet")
    rows.write_parquet(tmp_path / "wide.parquet")
    expected = as_json(judged, "--wide", wide)["scopes"]
    assert as_json(judged, "--wide", tmp_path / "wide.parquet")["scopes"] == expected
    assert as_json(judged, "--wide", tmp_path / "folder")["scopes"] == expected


def test_with_one_score_an_item_there_is_nothing_to_join(judged: Judged, tmp_path: Path) -> None:
    item = ("prompt_id", "model_id", "criteria_name")
    means = pl.DataFrame(judged.rows).drop("annotator").group_by(item, maintain_order=True)
    wide = tmp_path / "means.jsonl"
    means.agg(pl.col("criteria_score").mean(), pl.exclude("criteria_score").first()).write_ndjson(wide)
    found = as_json(judged, "--wide", wide)
    assert {one["choices"]["experts"] for one in found["combinations"]} == {"mean"}
    for one in found["combinations"]:
        expected = exact_figures(judged.items, one["choices"])
        assert one["figures"]["overall"] == pytest.approx(expected, abs=1e-12, rel=0)
    said = pollux_parity(judged, "--wide", wide).output
    assert "every item has one score: how experts are joined is not tried" in said


def test_a_verdict_on_another_text_does_not_count(judged: Judged, tmp_path: Path) -> None:
    changed = [row | {"answer": row["answer"] + "!"} if row["model_id"] == "a" else row for row in judged.rows]
    found = as_json(judged, "--wide", write_jsonl(tmp_path / "changed.jsonl", changed))
    assert found["people"]["items_unjudged"] == {"missing": 27, "unparseable": 3}
    of_b = [item for item in judged.items if item["model"] == "b"]
    (first, *_) = found["combinations"]
    assert first["figures"]["overall"] == pytest.approx(exact_figures(of_b, first["choices"]), abs=1e-12, rel=0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--row", "GPT-9"], "expected a row of the card, one of Pollux-4B-Judge"),
        (["--exclude", "Красота"], "expected criteria or groups of the wide set to exclude, got 'Красота'; it has"),
        (["--choose", "rounding=up"], "expected a choice as NAME=VALUE, one of experts=mean|median|mode|each"),
        (["--choose", "classes=all"], "classes: expected one of used, people, rubric, got 'all'"),
        (["--card", "/nowhere/card.json"], "No such file"),
        (["--exclude", "critical", "--exclude", "general"], "no criterion is left without critical, general"),
    ],
)
def test_what_cannot_be_done_is_said(judged: Judged, wide: Path, arguments: list[str], said: str) -> None:
    result = pollux_parity(judged, "--wide", wide, *arguments)
    assert result.exit_code == 1
    assert said in result.output


def test_a_set_without_scores_or_without_verdicts_is_named(judged: Judged, wide: Path, tmp_path: Path) -> None:
    rows = [{name: value for name, value in row.items() if name != "criteria_score"} for row in judged.rows]
    unscored = write_jsonl(tmp_path / "unscored.jsonl", rows)
    assert f"expected people's scores in {unscored}" in pollux_parity(judged, "--wide", unscored).output
    assert "found nothing at" in pollux_parity(judged, "--wide", tmp_path / "absent.jsonl").output
    other = replace(judged, settings=replace(judged.settings, judge_model="another"))
    result = pollux_parity(other, "--wide", wide)
    assert result.exit_code == 1
    assert "found none (items: 54 missing): choose a judge that has some" in result.output
    assert f"{Resources.of(judged.settings).judge.identity().judge_name} (model {MODEL}, 51 verdicts)" in result.output
    unknown = write_jsonl(tmp_path / "unknown.jsonl", [{**row, "answer": f"{row['answer']}!"} for row in judged.rows])
    result = pollux_parity(judged, "--wide", unknown)
    assert "found none (items: 54 missing): put the file into the landing folder" in result.output


def test_the_judge_is_chosen_by_options_as_in_a_run(judged: Judged, wide: Path) -> None:
    other = replace(judged, settings=replace(judged.settings, judge_model="another", judge_url=""))
    options = ("--judge-model", MODEL, "--judge-url", judged.settings.judge_url)
    assert as_json(other, "--wide", wide, *options)["scopes"] == as_json(judged, "--wide", wide)["scopes"]


def test_a_parity_leaves_the_home_as_it_is(judged: Judged, wide: Path) -> None:
    def state() -> dict[str, int]:
        home = judged.settings.home
        return {str(path): path.stat().st_mtime_ns for path in sorted(home.rglob("*")) if path.is_file()}

    before = state()
    as_json(judged, "--wide", wide)
    assert state() == before
