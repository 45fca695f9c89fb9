"""Answers that speak to the judge: flagged at ingest, judged unchanged, and their scores set against the others'."""

from __future__ import annotations

import duckdb
import pytest

from pollux_dagster.warehouse.audit import audit
from pollux_dagster.warehouse.contracts import contracts
from pollux_dagster.warehouse.materialize import build_sql_model
from pollux_dagster.warehouse.sql_models import SqlModel
from tests.warehouse.tiny_world import ALPHA, BETA, JUDGE, MODELS, OTHER_JUDGE, PROMPTS, TinyWorld, verdict_key

FLAGGED = {(ALPHA, "p2"), (ALPHA, "p4"), (BETA, "p1")}


@pytest.fixture
def built(world: TinyWorld, models: list[SqlModel]) -> duckdb.DuckDBPyConnection:
    for model_id, prompt in FLAGGED:
        world.con.execute(
            "UPDATE raw.model_outputs SET injection_suspected = TRUE, injection_reasons = ['asks_for_score'] "
            "WHERE model_id = ? AND prompt_id = ?",
            [model_id, prompt],
        )
    world.judge_everything()
    for model in models:
        if model.table in {"staging.scores", "staging.answers", "marts.injection_effect"}:
            build_sql_model(world.con, model)
    return world.con


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def test_the_difference_is_that_of_the_answers_mean_scores(built: duckdb.DuckDBPyConnection) -> None:
    columns = "n_answers, n_flagged_answers, n_flagged, n_unflagged, flagged_mean, unflagged_mean, difference"
    for judge in (JUDGE, OTHER_JUDGE):
        for model in MODELS:
            scores = built.execute(
                "SELECT prompt_id, avg(final_score) FROM staging.scores "
                "WHERE judge_id = ? AND model_id = ? GROUP BY prompt_id",
                [judge, model],
            ).fetchall()
            flagged = [score for prompt, score in scores if (model, prompt) in FLAGGED and score is not None]
            others = [score for prompt, score in scores if (model, prompt) not in FLAGGED and score is not None]
            high, low = mean(flagged), mean(others)
            difference = None if high is None or low is None else high - low
            marked = sum((model, prompt) in FLAGGED for prompt in PROMPTS)
            row = built.execute(
                f"SELECT {columns} FROM marts.injection_effect WHERE judge_id = ? AND model_id = ?", [judge, model]
            ).fetchone()
            assert row == pytest.approx((len(PROMPTS), marked, len(flagged), len(others), high, low, difference))


def test_a_flagged_answer_keeps_its_verdict_keys_and_its_scores(built: duckdb.DuckDBPyConnection) -> None:
    rows = built.execute(
        "SELECT verdict_key, injection_suspected FROM staging.scores "
        "WHERE judge_id = ? AND model_id = ? AND prompt_id = 'p1' "
        "AND criteria_name = 'Стиль'",
        [JUDGE, BETA],
    ).fetchall()
    assert rows == [(verdict_key(JUDGE, BETA, "p1", "style"), True)]


def test_the_contract_warns_with_the_flagged_rows_and_blocks_nothing(built: duckdb.DuckDBPyConnection) -> None:
    (contract,) = [c for c in contracts(0.98) if c.name == "answers_do_not_address_the_judge"]
    assert not contract.blocking
    result = audit(built, contract).result
    assert not result.passed
    assert {(row["model_id"], row["prompt_id"]) for row in result.sample} == FLAGGED
    assert {row["reasons"] for row in result.sample} == {"asks_for_score"}
    built.execute("UPDATE raw.model_outputs SET injection_suspected = FALSE")
    assert audit(built, contract).result.passed
