"""The exam finds a judge that a probe moves, leaves one alone that only wavers, and its results are kept."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from pollux_dagster.core.exam import PROBES, ExamRequest
from pollux_dagster.warehouse.exam import ExamRound, exam_scores, fixed_exam_requests, record_exam
from pollux_dagster.warehouse.materialize import build_sql_model
from pollux_dagster.warehouse.record_files import keep_records, restore_records
from pollux_dagster.warehouse.schema import create_schema
from pollux_dagster.warehouse.sql_models import SqlModel
from pollux_dagster.warehouse.statistics.exam_effects import exam_effects
from pollux_dagster.warehouse.verdicts import judged_keys
from tests.warehouse.tiny_world import TinyWorld, verdict_row

OLD = ExamRound("judge-a", "m", "vllm", "0.31", ())
NEW = replace(OLD, engine_version="0.32")


def place(request: ExamRequest) -> int:
    """The level, counted from the lowest, that a judge without any bias gives."""
    question = request.question
    return zlib.crc32((request.item_id + request.criteria_name).encode()) % len(question.levels)


def effects(moved: Callable[[ExamRequest, int], int | None]) -> pl.DataFrame:
    """The exam of a judge whose level is `place`, moved by so many levels within the scale; None: no verdict."""
    rows = []
    for request, fixed in fixed_exam_requests().values():
        top = len(fixed.levels) - 1
        by = moved(request, place(request))
        score = None if by is None else min(max(place(request) + by, 0), top) / top
        rows.append((request.item_id, request.criteria_name, request.probe, score))
    schema = {"item_id": pl.String, "criteria_name": pl.String, "probe": pl.String, "score": pl.Float64}
    return exam_effects(pl.DataFrame(rows, schema=schema, orient="row"))


def flagged(results: pl.DataFrame, grain: str = "all") -> list[str]:
    return results.filter(pl.col("flagged") & (pl.col("grain") == grain))["probe"].unique().sort().to_list()


def test_a_judge_that_nothing_moves_is_not_flagged() -> None:
    results = effects(lambda request, at: 0)
    assert flagged(results) == flagged(results, "criterion") == []
    assert results["effect"].unique().to_list() == [0.0]
    assert results["ci_low"].max() < 0 < results["ci_high"].min()  # type: ignore[operator]
    criteria = {request.criteria_name for request, _ in fixed_exam_requests().values()}
    assert results.height == len(PROBES) * (1 + len(criteria))


@pytest.mark.parametrize(("probe", "levels"), [("self_praise", 1), ("levels_reversed", -1), ("padding", 1)])
def test_a_judge_that_a_probe_moves_by_a_level_is_flagged_for_it_alone(probe: str, levels: int) -> None:
    results = effects(lambda request, at: levels if request.probe == probe else 0)
    assert flagged(results) == [probe]
    (row,) = results.filter((pl.col("probe") == probe) & (pl.col("grain") == "all")).rows(named=True)
    assert np.sign(row["effect"]) == np.sign(levels) and row["ci_low"] < row["effect"] < row["ci_high"]
    assert 0 < row["changed_share"] < 1  # at the end of the scale nothing can move further


def test_all_answers_that_move_alike_are_flagged_from_six_on() -> None:
    rows = [(str(item), "Тон", probe, 0.25 if probe else 0.0) for item in range(6) for probe in ("", "padding")]
    scores = pl.DataFrame(rows, schema=["item_id", "criteria_name", "probe", "score"], orient="row")
    assert flagged(exam_effects(scores)) == ["padding"]
    assert flagged(exam_effects(scores.filter(pl.col("item_id") != "0"))) == []


def test_an_effect_within_the_limit_is_not_flagged() -> None:
    rows = [(str(item), "Тон", probe, 0.04 if probe else 0.0) for item in range(40) for probe in ("", "padding")]
    scores = pl.DataFrame(rows, schema=["item_id", "criteria_name", "probe", "score"], orient="row")
    (row,) = exam_effects(scores).filter((pl.col("grain") == "all") & (pl.col("n") > 0)).rows(named=True)
    assert (row["effect"], row["flagged"]) == (pytest.approx(0.04), False)


@pytest.mark.slow
def test_a_judge_that_wavers_is_seldom_flagged() -> None:
    """Every fifth verdict is one level off, by chance: in 20 exams of 66 rows each, chance flags a few at most."""
    chance = np.random.default_rng(7)
    found = 0
    for _ in range(20):
        results = effects(lambda request, at: int(chance.choice([-1, 1])) if chance.random() < 0.2 else 0)
        found += int(results["flagged"].sum())
    assert found <= 4


def test_failed_verdicts_are_left_out_and_counted() -> None:
    results = effects(lambda request, at: None if request.probe == "padding" and at == 0 else 0)
    (row,) = results.filter((pl.col("probe") == "padding") & (pl.col("grain") == "all")).rows(named=True)
    assert row["failures"] > 0 and row["n"] == row["asked"] - row["failures"] and row["baseline_failures"] == 0
    nothing = effects(lambda request, at: None)
    assert nothing["effect"].null_count() == nothing.height and flagged(nothing) == []
    assert (nothing["baseline_failures"] == nothing["asked"]).all()


def test_a_criterion_whose_answers_get_one_score_is_told() -> None:
    found = effects(lambda request, at: -at if request.criteria_name == "Грамотность" else 0)
    scores = dict(found.filter(pl.col("probe") == "again").select("criteria_name", "baseline_scores").rows())
    assert scores.pop("Грамотность") == 1 and scores.pop(None) is None
    assert min(scores.values()) > 1


def test_scores_are_read_from_the_verdicts_of_this_state(world: TinyWorld) -> None:
    judge_round(world, OLD, lambda request: 1.0)
    assert exam_scores(world.con, OLD)["score"].unique().to_list() == [1.0]
    assert exam_scores(world.con, NEW)["score"].null_count() == len(fixed_exam_requests())
    assert judged_keys(world.con, "exam") == {OLD.verdict_key(fixed) for _, fixed in fixed_exam_requests().values()}
    assert judged_keys(world.con, "golden") == frozenset()


def judge_round(world: TinyWorld, taken: ExamRound, share: Callable[[ExamRequest], float]) -> None:
    """The verdicts of an exam, each `share` of the way up its scale, and their record."""
    rows = []
    for request, fixed in fixed_exam_requests().values():
        low, high = fixed.levels[0], fixed.levels[-1]
        score = low + share(request) * (high - low)
        rows.append(verdict_row(taken.verdict_key(fixed), "ok", score, judge=taken.round_id))
    world.load(rows, f"{taken.round_id}.parquet")
    record_exam(world.con, taken, exam_effects(exam_scores(world.con, taken)), run_id="run")


def moved_by_praise(request: ExamRequest) -> float:
    return float(request.probe == "self_praise")


def test_the_table_has_every_state_and_warns_of_the_latest(world: TinyWorld, models: list[SqlModel]) -> None:
    (mart,) = (model for model in models if model.table == "marts.judge_exam")
    judge_round(world, OLD, moved_by_praise)
    (check,) = build_sql_model(world.con, mart).checks
    assert (check.passed, check.blocking) == (False, False)
    assert {row["probe"] for row in check.sample} == {"self_praise"}

    judge_round(world, NEW, lambda request: 0.0)
    assert build_sql_model(world.con, mart).checks[0].passed
    judge_round(world, replace(NEW, judge_id="judge-b", model="other"), lambda request: 0.0)
    states = world.con.sql(
        "SELECT DISTINCT engine_version, is_latest, judge_id FROM marts.judge_exam ORDER BY ALL"
    ).fetchall()
    assert states == [("0.31", False, "judge-a"), ("0.32", True, "judge-a"), ("0.32", True, "judge-b")]

    judge_round(world, OLD, moved_by_praise)  # the engine was rolled back: a known state is the latest again
    assert not build_sql_model(world.con, mart).checks[0].passed
    assert world.con.sql("SELECT count(*) FROM judging.exam_rounds").fetchall() == [(3,)]


def test_results_outlive_the_warehouse(world: TinyWorld, tmp_path: Path) -> None:
    judge_round(world, OLD, moved_by_praise)
    judge_round(world, NEW, lambda request: 0.0)
    keep_records(world.con, tmp_path / "records")
    con = duckdb.connect()
    create_schema(con)
    restore_records(con, tmp_path / "records")
    for table in ("judging.exam_results", "judging.exam_rounds"):
        kept, restored = (here.sql(f"FROM {table} ORDER BY ALL").fetchall() for here in (world.con, con))
        assert restored == kept and kept
