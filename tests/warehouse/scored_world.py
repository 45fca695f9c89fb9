"""Scores of many models and instructions, drawn at random and written straight into staging.scores.

For tests of what is computed from scores; the way from answers to scores is tested on the tiny world.
"""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl

from pollux_dagster.warehouse.sql_models import SqlModel

JUDGE, OTHER_JUDGE = "judge-a", "judge-b"
LEVELS = {"c0": (0.0, 1.0), "c1": (0.0, 1.0, 2.0), "c2": (1.0, 2.0, 3.0, 4.0, 5.0), "c3": (0.0, 1.0, 2.0)}
GATE = "c0"


def draw_scores(models: int, prompts: int, *, seed: int, judge: str = JUDGE, repeats: int = 1) -> pl.DataFrame:
    """One row a request: 4 criteria of which c0 is a gate, some verdicts failed, models of unequal quality."""
    rng = np.random.default_rng(seed)
    rows = []
    for model in range(models):
        for prompt in range(prompts):
            ease = rng.normal() + 0.25 * model
            for repeat in range(repeats):
                status = {code: "ok" if rng.random() > 0.06 else "truncated" for code in LEVELS}
                tripped = status[GATE] == "ok" and rng.random() < 0.08
                state = "tripped" if tripped else "passed" if status[GATE] == "ok" else "unknown"
                for code, levels in LEVELS.items():
                    at = int(np.clip(round((ease + rng.normal() + 2) / 4 * (len(levels) - 1)), 0, len(levels) - 1))
                    score = float(tripped) if code == GATE else levels[at]
                    low, high = levels[0], levels[-1]
                    known = status[code] == "ok"
                    normalized = (score - low) / (high - low)
                    usable = known and code != GATE and state != "unknown"
                    rows.append(
                        {
                            "judge_id": judge,
                            "judge_name": f"profile@{judge}",
                            "is_demonstration": False,
                            "model_id": f"m{model}",
                            "prompt_id": f"p{prompt}",
                            "sample_index": 0,
                            "criterion_id": code,
                            "criteria_name": f"criterion {code}",
                            "criteria_group": "critical" if code == GATE else "general",
                            "is_gate": code == GATE,
                            "task_type": f"t{prompt % 3}",
                            "domain": "d0" if prompt % 2 else None,
                            "repeat_index": repeat,
                            "injection_suspected": False,
                            "verdict_key": f"{judge}{model}-{prompt}-{code}-{repeat}",
                            "status": status[code],
                            "score": score if known else None,
                            "min_score": low,
                            "max_score": high,
                            "higher_is_better": None if code == GATE else True,
                            "oriented_score": score if known else None,
                            "normalized_score": normalized if known else None,
                            "gate_state": state,
                            "final_score": (0.0 if tripped else normalized) if usable else None,
                        }
                    )
    return pl.DataFrame(rows, infer_schema_length=None)


def with_expectations(scores: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """The scores with an expected_score between their levels, most of the way towards the judge's number."""
    rng = np.random.default_rng(seed)
    low, high, score = (scores[column].to_numpy() for column in ("min_score", "max_score", "score"))
    expected = score + rng.uniform(0, 0.4, scores.height) * ((low + high) / 2 - score)
    expected = np.clip(expected + rng.normal(0, 0.1, scores.height) * (high - low), low, high)
    return scores.with_columns(expected_score=pl.Series(expected).fill_nan(None))


def write_scores(con: duckdb.DuckDBPyConnection, models: list[SqlModel], *frames: pl.DataFrame) -> None:
    """The frames as staging.scores, with the instructions, criteria, outputs and judges they speak of."""
    (types,) = [model.column_types for model in models if model.table == "staging.scores"]
    columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
    con.execute(f"CREATE SCHEMA IF NOT EXISTS staging; CREATE OR REPLACE TABLE staging.scores ({columns})")
    con.register("drawn", pl.concat(frames, how="diagonal"))
    con.execute("INSERT INTO staging.scores BY NAME SELECT * FROM drawn")
    con.unregister("drawn")
    con.execute(
        "INSERT INTO raw.model_outputs (model_id, prompt_id, sample_index, answer, answer_hash, file_path, row_number) "
        "SELECT model_id, prompt_id, 0, repeat('о', (10 + hash(model_id || prompt_id) % 400)::INTEGER), 'h', 'f', 1 "
        "FROM (SELECT DISTINCT model_id, prompt_id FROM staging.scores)"
    )
    con.execute(
        "INSERT INTO raw.instructions (prompt_id, instruction, reference_answer, task_type, task_subtype, "
        "domain, difficulty, meta, instruction_hash, reference_hash, file_path, row_number) "
        "SELECT DISTINCT prompt_id, prompt_id, NULL, task_type, NULL, domain, NULL, NULL, "
        "'h', 'h', 'f', 1 FROM staging.scores"
    )
    for code, levels in LEVELS.items():
        con.execute(
            "INSERT INTO raw.criteria VALUES (?, ?, '', ?, ?, ?, ?, ?, 'h', 'h', ?, NULL, NULL, NULL)",
            [code, f"criterion {code}", "critical" if code == GATE else "general", list(levels), min(levels),
             max(levels), code == GATE, None if code == GATE else True],
        )  # fmt: skip
        con.execute(
            "INSERT INTO raw.instruction_criteria SELECT DISTINCT prompt_id, ?, 0, 'inline' FROM staging.scores", [code]
        )
    con.execute(
        "INSERT INTO meta.judges SELECT DISTINCT judge_id, judge_name, 'm', 'r', is_demonstration, '{}'::JSON, now() "
        "FROM staging.scores"
    )


def write_human_scores(con: duckdb.DuckDBPyConnection, rows: pl.DataFrame) -> None:
    """rows: prompt_id, model_id, criteria_name, annotator, score, and perhaps the sampling fields."""
    con.register("given", rows)
    con.execute("INSERT INTO raw.human_scores BY NAME SELECT *, 'h' AS file_path, 1 AS row_number FROM given")
    con.unregister("given")
