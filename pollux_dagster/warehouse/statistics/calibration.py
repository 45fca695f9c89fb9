"""What people would have scored: statistics.calibrated_quality.

People's scores go through the gate rule that the judge's go through, so both means are of the same thing: an answer
whose gate people tripped has 0, and one whose gate they left out has no human score.
"""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl

from pollux_dagster.core.statistics.intervals import clustered_means
from pollux_dagster.core.statistics.ppi import MINIMUM_LABELLED, calibrated_means
from pollux_dagster.warehouse.statistics.codes import encode
from pollux_dagster.warehouse.statistics.people import ITEM, HumanScores

CALIBRATED, ALL_LABELLED = "calibrated", "all labelled"
TOO_FEW, NO_LABELS = "too few labels", "no labels"


def calibrated_quality(con: duckdb.DuckDBPyConnection, judge_id: str, people: HumanScores) -> pl.DataFrame:
    """One judge's rows: a row a model, whatever its labels; figures that cannot be had are NULL, and `status` says so.

    Where people scored everything there is nothing to calibrate: the labels' own mean and interval are the result.
    """
    rows = con.execute(_JUDGED, [judge_id]).pl()
    gold = human_final_scores(con, people)
    rows = rows.join(gold, on=ITEM, how="left", maintain_order="left")
    models, clusters = encode(rows, "model_id"), encode(rows, "prompt_id")
    label = rows["gold"].fill_null(float("nan")).to_numpy()
    found = calibrated_means(rows["score"].to_numpy(), label, models.of, clusters.of, len(models))
    labelled = ~np.isnan(label)
    alone = clustered_means(label[labelled], models.of[labelled], clusters.of[labelled], len(models))
    complete = (found.labelled_rows == found.rows) & (found.labelled_clusters >= MINIMUM_LABELLED)
    status = np.select(
        [found.enough, complete, found.labelled_rows > 0], [CALIBRATED, ALL_LABELLED, TOO_FEW], NO_LABELS
    )
    calibrated = np.where(complete, alone.mean, found.mean)
    return models.names.with_columns(
        judge_id=pl.lit(judge_id),
        aggregation=pl.lit(people.aggregation),
        status=pl.Series(status.tolist(), dtype=pl.String),
        judge_mean=pl.Series(found.judge_mean),
        labels_mean=pl.Series(found.labels_mean),
        labels_standard_error=pl.Series(np.where(complete, alone.standard_error, found.labels_standard_error)),
        labels_ci_low=pl.Series(np.where(complete, alone.low, found.labels_low)),
        labels_ci_high=pl.Series(np.where(complete, alone.high, found.labels_high)),
        calibrated_mean=pl.Series(calibrated),
        standard_error=pl.Series(np.where(complete, alone.standard_error, found.standard_error)),
        ci_low=pl.Series(np.where(complete, alone.low, found.low)),
        ci_high=pl.Series(np.where(complete, alone.high, found.high)),
        n=pl.Series(found.rows),
        n_labelled=pl.Series(found.labelled_rows),
        n_labelled_clusters=pl.Series(found.labelled_clusters),
        n_labelled_clusters_needed=pl.lit(MINIMUM_LABELLED, dtype=pl.Int64),
        effective_labels=pl.Series(np.where(complete, found.labelled_rows, found.effective_labels)),
        judge_weight=pl.Series(np.where(found.enough, found.weight, np.nan)),
    )


def human_final_scores(con: duckdb.DuckDBPyConnection, people: HumanScores) -> pl.DataFrame:
    """Gold in [0, 1] after the gate rule, by item; items whose gate people did not decide are left out."""
    scaled = people.gold.join(con.execute(_SCALES).pl(), on="criterion_id")
    answer = ["model_id", "prompt_id"]
    gates = scaled.filter("is_gate").group_by(answer).agg(tripped=(pl.col("gold") >= 0.5).any(), rated=pl.len())
    scaled = (
        scaled.filter(~pl.col("is_gate"))
        .join(con.execute(_GATES).pl(), on="prompt_id", how="left")
        .join(gates, on=answer, how="left")
    )
    undecided = pl.col("rated").fill_null(0) < pl.col("gates").fill_null(0)
    decided = scaled.filter(pl.col("tripped").fill_null(False) | ~undecided)
    value = (pl.col("gold") - pl.col("min_score")) / (pl.col("max_score") - pl.col("min_score"))
    return decided.select(*ITEM, gold=pl.when(pl.col("tripped").fill_null(False)).then(0.0).otherwise(value))


_JUDGED = """
SELECT model_id, prompt_id, criterion_id, avg(final_score) AS score
FROM staging.scores
WHERE judge_id = ? AND final_score IS NOT NULL AND sample_index = 0
GROUP BY judge_id, model_id, prompt_id, criterion_id
ORDER BY model_id, prompt_id, criterion_id
"""

_SCALES = "SELECT criterion_id, min_score, max_score, is_gate FROM raw.criteria"

_GATES = """
SELECT prompt_id, count(*) AS gates
FROM raw.instruction_criteria JOIN raw.criteria USING (criterion_id)
WHERE is_gate
GROUP BY prompt_id
"""
