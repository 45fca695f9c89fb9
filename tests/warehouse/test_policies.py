"""Every scoring policy against the same numbers computed in pandas from the verdicts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pollux_dagster.warehouse.materialize import build_sql_model
from pollux_dagster.warehouse.sql_models import SqlModel
from tests.warehouse.scored_world import GATE, JUDGE, OTHER_JUDGE, draw_scores, write_scores

POLICIES = ("strict", "pollux", "pollux_max", "mera")
MODEL = ["judge_id", "model_id"]


@pytest.fixture
def verdicts(con: duckdb.DuckDBPyConnection, models: list[SqlModel]) -> pd.DataFrame:
    """Rows of two judges; the policies' marts are built from them."""
    write_scores(con, models, draw_scores(6, 30, seed=1), draw_scores(6, 30, seed=2, judge=OTHER_JUDGE))
    for model in models:
        if "policy" in model.name:
            build_sql_model(con, model)
    frame = con.sql("FROM staging.scores").df()
    return frame[["judge_id", "model_id", "prompt_id", "criterion_id", "status", "score", "min_score", "max_score"]]


def gate_of(verdicts: pd.DataFrame) -> pd.Series:
    """1, 0 or NaN (no verdict) for the gate of each row's answer."""
    answer = ["judge_id", "model_id", "prompt_id"]
    gates = verdicts[verdicts.criterion_id == GATE].set_index(answer).score
    return pd.Series(gates.reindex(pd.MultiIndex.from_frame(verdicts[answer])).to_numpy(), index=verdicts.index)


def strict(v: pd.DataFrame) -> pd.Series:
    scaled = (v.score - v.min_score) / (v.max_score - v.min_score)
    value = scaled.where(v.gate != 1, scaled * 0).where(v.gate.notna())
    return value.groupby([v.judge_id, v.model_id]).mean()


def pollux(v: pd.DataFrame) -> pd.Series:
    scaled = (v.score - v.min_score) / (v.max_score - v.min_score)
    return scaled.where(v.gate != 1, scaled * 0).groupby([v.judge_id, v.model_id]).mean()


def pollux_max(v: pd.DataFrame) -> pd.Series:
    share = v.score / v.max_score
    return share.where(v.gate != 1, share * 0).groupby([v.judge_id, v.model_id]).mean()


def mera(v: pd.DataFrame) -> pd.Series:
    share = (v.score / v.max_score).fillna(0)
    return share.groupby([v.judge_id, v.model_id, v.prompt_id]).mean().groupby(level=[0, 1]).mean()


@pytest.mark.parametrize("policy", [strict, pollux, pollux_max, mera], ids=POLICIES)
def test_a_policy_is_what_its_header_says(
    con: duckdb.DuckDBPyConnection, verdicts: pd.DataFrame, policy: Callable[[pd.DataFrame], pd.Series]
) -> None:
    rows = verdicts.assign(gate=gate_of(verdicts))
    wanted = policy(rows[rows.criterion_id != GATE])
    table = con.sql(f"SELECT judge_id, model_id, score FROM marts.policy_{policy.__name__}").df()
    found = table.set_index(MODEL).score.sort_index()
    assert len(found) == 12
    np.testing.assert_allclose(found, wanted.sort_index(), rtol=1e-12)


def test_the_bounds_of_strict_are_those_of_every_way_to_fill_the_gaps(
    con: duckdb.DuckDBPyConnection, verdicts: pd.DataFrame
) -> None:
    rows = verdicts.assign(gate=gate_of(verdicts))
    rows = rows[rows.criterion_id != GATE]
    scaled = (rows.score - rows.min_score) / (rows.max_score - rows.min_score)
    worst = scaled.fillna(0).where(rows.gate == 0, 0.0)
    best = scaled.fillna(1).where(rows.gate != 1, 0.0)
    found = con.sql("SELECT * FROM marts.policy_strict").df().set_index(MODEL).sort_index()
    by = [rows.judge_id, rows.model_id]
    np.testing.assert_allclose(found.worst_case, worst.groupby(by).mean().sort_index(), rtol=1e-12)
    np.testing.assert_allclose(found.best_case, best.groupby(by).mean().sort_index(), rtol=1e-12)
    assert (found.worst_case < found.best_case).all()


def test_policies_are_compared_by_rank_and_by_kendalls_tau(
    con: duckdb.DuckDBPyConnection, verdicts: pd.DataFrame
) -> None:
    found = con.sql("FROM marts.policy_comparison").df()
    assert len(found) == 2 * 6 * len(POLICIES)
    for judge in (JUDGE, OTHER_JUDGE):
        scores = found[found.judge_id == judge].pivot(index="model_id", columns="policy", values="score")
        ranks = found[found.judge_id == judge].pivot(index="model_id", columns="policy", values="rank")
        pd.testing.assert_frame_equal(ranks, scores.rank(ascending=False, method="min"), check_dtype=False)
        for one, other in permutations(POLICIES, 2):
            tau = found[(found.judge_id == judge) & (found.policy == one)][f"kendall_tau_{other}"].unique()
            np.testing.assert_allclose(tau, stats.kendalltau(scores[one], scores[other]).statistic, rtol=1e-12)


def test_a_policy_that_ties_all_models_has_no_tau(con: duckdb.DuckDBPyConnection, models: list[SqlModel]) -> None:
    write_scores(con, models, draw_scores(3, 4, seed=3))
    con.execute("UPDATE staging.scores SET status = 'ok', gate_state = 'passed', score = max_score, final_score = 1")
    con.execute("UPDATE staging.scores SET normalized_score = 1, oriented_score = max_score")
    for model in models:
        if "policy" in model.name:
            build_sql_model(con, model)
    rows = con.sql("SELECT DISTINCT rank, kendall_tau_mera FROM marts.policy_comparison").fetchall()
    assert rows == [(1, None)]
