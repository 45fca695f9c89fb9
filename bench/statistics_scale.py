"""Times all statistics at the size of a large evaluation: every table of `statistics`, pairwise comparisons included.

Run: python -m bench.statistics_scale [--models 69] [--instructions 500] [--criteria 11]
Scores are generated straight into staging.scores; people rated every tenth instruction twice. Fails when the
computation takes more than 20 s of wall time, or the process more than 1 GB.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from pathlib import Path

THREADS = "2"
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(variable, THREADS)

import duckdb  # noqa: E402 - the numeric libraries read their thread counts when they are imported

from pollux_dagster.warehouse.schema import create_schema  # noqa: E402
from pollux_dagster.warehouse.sql_model_files import load_sql_models  # noqa: E402
from pollux_dagster.warehouse.statistics.refresh import refresh_statistics  # noqa: E402

MODELS = Path(__file__).resolve().parents[1] / "dbt_like_sql"
JUDGE = "bench-judge"
MOST_SECONDS, MOST_MB = 20.0, 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=69)
    parser.add_argument("--instructions", type=int, default=500)
    parser.add_argument("--criteria", type=int, default=11)
    options = parser.parse_args()
    with duckdb.connect(":memory:") as con:
        con.execute(f"SET threads = {THREADS}")
        con.execute("SET memory_limit = '500MB'")
        scores = fill(con, options.models, options.instructions, options.criteria)
        started, cpu_started = time.monotonic(), time.process_time()
        report = refresh_statistics(con)
        elapsed, cpu = time.monotonic() - started, time.process_time() - cpu_started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{scores} scores of {options.models} models: {elapsed:.1f} s, {cpu:.1f} s CPU, peak {peak_mb:.0f} MB")
    print(", ".join(f"{table} {rows}" for table, rows in report.rows.items()))
    if elapsed > MOST_SECONDS or peak_mb > MOST_MB:
        sys.exit(f"expected at most {MOST_SECONDS:.0f} s and {MOST_MB:.0f} MB")


def fill(con: duckdb.DuckDBPyConnection, models: int, instructions: int, criteria: int) -> int:
    """One gate and scores 0 to 2; models of unequal quality, 3 % of verdicts failed. Returns the number of scores."""
    create_schema(con)
    (types,) = [model.column_types for model in load_sql_models(MODELS) if model.table == "staging.scores"]
    columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
    con.execute(f"CREATE SCHEMA staging; CREATE TABLE staging.scores ({columns})")
    size = {"models": models, "instructions": instructions, "criteria": criteria, "judge": JUDGE}
    con.execute(_SCORES, size)
    con.execute(
        "INSERT INTO raw.model_outputs (model_id, prompt_id, sample_index, answer, answer_hash, file_path, row_number) "
        "SELECT model_id, prompt_id, 0, repeat('о', (50 + hash(model_id || prompt_id) % 3000)::INTEGER), 'h', 'f', 1 "
        "FROM (SELECT DISTINCT model_id, prompt_id FROM staging.scores)"
    )
    con.execute(
        "INSERT INTO raw.instructions (prompt_id, instruction, reference_answer, task_type, task_subtype, "
        "domain, difficulty, meta, instruction_hash, reference_hash, file_path, row_number) "
        "SELECT DISTINCT prompt_id, prompt_id, NULL, task_type, NULL, 'domain', NULL, "
        "NULL, 'h', 'h', 'f', 1 FROM staging.scores"
    )
    con.execute(
        "INSERT INTO raw.criteria SELECT DISTINCT criterion_id, criteria_name, '', criteria_group, "
        "CASE WHEN is_gate THEN [0, 1] ELSE [0, 1, 2] END, min_score, max_score, is_gate, 'h', 'h', "
        "CASE WHEN NOT is_gate THEN TRUE END, NULL, NULL, NULL FROM staging.scores"
    )
    con.execute(
        "INSERT INTO raw.instruction_criteria SELECT DISTINCT prompt_id, criterion_id, 0, 'inline' FROM staging.scores"
    )
    con.execute(
        "INSERT INTO raw.human_scores (prompt_id, model_id, criteria_name, annotator, score, file_path, row_number) "
        "SELECT prompt_id, model_id, criteria_name, 'rater ' || rater, "
        "CASE WHEN hash(verdict_key, rater) % 4 = 0 THEN 1 ELSE coalesce(score, 1) END, 'h', 1 "
        "FROM staging.scores, (SELECT unnest([1, 2]) AS rater) WHERE prompt_id LIKE '%0'"
    )
    (scores,) = con.execute("SELECT count(*) FROM staging.scores").fetchone() or (0,)
    return int(scores)


_SCORES = """
INSERT INTO staging.scores BY NAME
WITH drawn AS (
    SELECT m, p, c, c = 0 AS is_gate,
           hash(m, p, c) % 1000 / 1000 AS own, hash(p) % 1000 / 1000 AS ease, hash(m, p) % 50 = 0 AS tripped,
           CASE WHEN hash(c, p, m) % 33 = 0 AND c > 0 THEN 'truncated' ELSE 'ok' END AS status
    FROM range($models) a(m), range($instructions) b(p), range($criteria) d(c)
), scored AS (
    SELECT *, CASE
        WHEN status <> 'ok' THEN NULL
        WHEN is_gate THEN tripped::INTEGER
        ELSE least(2, floor(1.6 * (own + ease + m / $models)))
    END AS score, CASE WHEN is_gate THEN 1 ELSE 2 END AS top
    FROM drawn
)
SELECT $judge AS judge_id, 'bench' AS judge_name, FALSE AS is_demonstration, 'model ' || m AS model_id,
       'p' || p AS prompt_id, 0 AS sample_index, 'criterion ' || c AS criterion_id, 'criterion ' || c AS criteria_name,
       CASE WHEN is_gate THEN 'critical' ELSE 'general' END AS criteria_group, is_gate,
       'task ' || (p % 15) AS task_type, 'domain' AS domain, 0 AS repeat_index,
       m || '-' || p || '-' || c AS verdict_key,
       status, score, 0 AS min_score,
       top AS max_score, CASE WHEN NOT is_gate THEN TRUE END AS higher_is_better,
       score AS oriented_score, score / top AS normalized_score,
       CASE WHEN tripped THEN 'tripped' ELSE 'passed' END AS gate_state,
       CASE WHEN is_gate OR status <> 'ok' THEN NULL WHEN tripped THEN 0 ELSE score / top END AS final_score
FROM scored
"""


if __name__ == "__main__":
    main()
