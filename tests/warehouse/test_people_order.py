"""Where people turn the judge's order round: told where their scores of two models surely differ, and only there."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl
import pytest

from pollux_dagster.core.people_order import among, in_words, turned
from pollux_dagster.warehouse.sql_models import SqlModel
from tests.warehouse.scored_world import GATE, JUDGE, LEVELS, draw_scores, write_human_scores, write_scores
from tests.warehouse.test_statistics_tables import build_marts

GOOD, BAD = "m4", "m0"
FOUND = "SELECT place, model_id, people_mean IS NOT NULL, people_put_above FROM marts.leaderboard ORDER BY place"


@pytest.fixture
def scores(con: duckdb.DuckDBPyConnection, models: list[SqlModel]) -> pl.DataFrame:
    """Two models of 60 instructions; the judge finds one clearly better."""
    drawn = draw_scores(5, 60, seed=3).filter(pl.col("model_id").is_in([GOOD, BAD]))
    write_scores(con, models, drawn)
    return drawn


def of_people(scores: pl.DataFrame, like: dict[str, str], *, prompts: int = 60, noise: float = 0.0) -> pl.DataFrame:
    """People's scores of the first prompts: of each model what the judge gave the one that it is `like`.

    `noise`: the share that has any level of the scale instead. No gate trips.
    """
    rng = np.random.default_rng(8)
    given = scores.filter(pl.col("prompt_id").is_in([f"p{i}" for i in range(prompts)]))
    parts = [
        given.filter(pl.col("model_id") == like[model]).with_columns(model_id=pl.lit(model)) for model in (GOOD, BAD)
    ]
    rated = pl.concat(parts).with_columns(
        any_level=pl.col("min_score")
        + ((pl.col("max_score") - pl.col("min_score")) * pl.Series(rng.random(len(given)))).round()
    )
    return rated.select(
        "prompt_id",
        "model_id",
        "criteria_name",
        annotator=pl.lit("a"),
        score=pl.when(pl.col("criterion_id") == GATE)
        .then(0.0)
        .when(pl.Series(rng.random(len(rated)) < noise) | pl.col("score").is_null())
        .then("any_level")
        .otherwise("score"),
    )


def test_people_who_see_it_the_other_way_round_are_told_of(
    con: duckdb.DuckDBPyConnection, models: list[SqlModel], scores: pl.DataFrame
) -> None:
    write_human_scores(con, of_people(scores, {GOOD: BAD, BAD: GOOD}))
    build_marts(con, models, "leaderboard", "people_comparison")
    assert con.sql(FOUND).fetchall() == [(1, GOOD, True, [BAD]), (2, BAD, True, None)]
    (pair,) = turned(con, JUDGE)
    assert (pair["model_id"], pair["other_model_id"], pair["is_of_shared_items"]) == (BAD, GOOD, False)
    assert pair["difference"] == pytest.approx(pair["people_mean"] - pair["other_people_mean"])
    (said,) = in_words([pair])
    assert said.startswith(f"People disagree with the judge: by their scores {BAD} (place 2 by the judge) is better")
    assert among([pair], [GOOD]) == turned(con, "another judge") == []
    (check,) = (c for m in models for c in m.checks if c.name == "people_do_not_turn_places_round")
    assert [row[1] for row in con.sql(check.sql).fetchall()] == [GOOD]


def test_people_who_see_no_difference_turn_nothing_round(
    con: duckdb.DuckDBPyConnection, models: list[SqlModel], scores: pl.DataFrame
) -> None:
    write_human_scores(con, of_people(scores, {GOOD: GOOD, BAD: GOOD}, noise=0.4))
    build_marts(con, models, "leaderboard", "people_comparison")
    assert con.sql(FOUND).fetchall() == [(1, GOOD, True, None), (2, BAD, True, None)]
    compared = con.sql("SELECT DISTINCT is_sure, n_clusters > 40 FROM marts.people_comparison").fetchall()
    assert compared == [(False, True)]
    assert turned(con, JUDGE) == []


def test_few_labels_are_compared_on_what_people_scored_of_both(
    con: duckdb.DuckDBPyConnection, models: list[SqlModel], scores: pl.DataFrame
) -> None:
    labels = of_people(scores, {GOOD: BAD, BAD: GOOD}, prompts=14)
    highest = {f"criterion {code}": levels[-1] for code, levels in LEVELS.items() if code != GATE}
    is_best = (pl.col("model_id") == BAD) & pl.col("criteria_name").is_in(list(highest))
    perfect = pl.col("criteria_name").replace_strict(highest, default=None, return_dtype=pl.Float64)
    write_human_scores(con, labels.with_columns(score=pl.when(is_best).then(perfect).otherwise("score")))
    build_marts(con, models, "leaderboard", "people_comparison")
    assert con.sql(FOUND).fetchall() == [(1, GOOD, False, [BAD]), (2, BAD, False, None)]
    (pair,) = turned(con, JUDGE)
    assert pair["is_of_shared_items"]
    (said,) = in_words([pair])
    assert f"on {pair['n']} items of {pair['n_clusters']} instructions that people scored of both" in said


def test_labels_that_are_no_random_draw_turn_nothing_round(
    con: duckdb.DuckDBPyConnection, models: list[SqlModel], scores: pl.DataFrame
) -> None:
    """Only answers that the judge scored low were labelled, of both models."""
    low = (
        scores.group_by("prompt_id", "model_id").agg(pl.col("final_score").mean()).sort("final_score", nulls_last=True)
    )
    chosen = low.group_by("model_id", maintain_order=True).head(20).select("prompt_id", "model_id")
    labels = of_people(scores, {GOOD: BAD, BAD: GOOD})
    write_human_scores(con, labels.join(chosen, on=["prompt_id", "model_id"], how="semi"))
    build_marts(con, models, "leaderboard", "people_comparison", "calibrated_quality")
    assert con.sql("SELECT DISTINCT is_doubtful FROM marts.calibrated_quality").fetchall() == [(True,)]
    assert con.sql(FOUND).fetchall() == [(1, GOOD, False, None), (2, BAD, False, None)]
    assert con.sql("SELECT count(*) FROM marts.people_comparison").fetchall() == [(0,)]


def test_the_judge_who_agrees_on_the_items_people_scored_is_not_said_to_disagree(
    con: duckdb.DuckDBPyConnection, models: list[SqlModel], scores: pl.DataFrame
) -> None:
    """Few prompts were scored, at which the worse model did better by people and by the judge."""
    means = scores.pivot("model_id", index="prompt_id", values="final_score", aggregate_function="mean")
    chosen = means.filter(pl.col(BAD) > pl.col(GOOD)).sort(pl.col(GOOD) - pl.col(BAD)).head(10)
    labels = of_people(scores, {GOOD: GOOD, BAD: BAD}).join(chosen, on="prompt_id", how="semi")
    end = {f"criterion {code}": levels[-1] for code, levels in LEVELS.items() if code != GATE}
    best = pl.col("criteria_name").replace_strict(end, default=0.0, return_dtype=pl.Float64)
    low = {f"criterion {code}": levels[0] for code, levels in LEVELS.items()}
    worst = pl.col("criteria_name").replace_strict(low, return_dtype=pl.Float64)
    write_human_scores(con, labels.with_columns(score=pl.when(pl.col("model_id") == BAD).then(best).otherwise(worst)))
    build_marts(con, models, "leaderboard", "people_comparison")
    found = "SELECT is_sure, is_of_shared_items, difference = 1, judge_difference > 0 FROM marts.people_comparison"
    assert con.sql(f"{found} WHERE model_id = '{BAD}'").fetchall() == [(True, True, True, True)]
    assert con.sql(FOUND).fetchall() == [(1, GOOD, False, None), (2, BAD, False, None)]
    assert turned(con, JUDGE) == []
