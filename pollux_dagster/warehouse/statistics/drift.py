"""How far the judge drifted on the golden set: statistics.golden_drift.

Every round is compared with the baseline round of its model, request by request; core.statistics.repeats tests the
difference. A request that the baseline answered and the later round did not is a difference like any other, of 1 in the
share of usable verdicts.
"""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl

from pollux_dagster.core.statistics.repeats import Drift, drift
from pollux_dagster.warehouse.statistics.codes import Codes, encode

TOLERANCE = 0.02
"""Tolerated shift of a mean score in [0, 1]: smaller than the difference by which a usual evaluation can tell two
models apart. The same applies to the share of usable verdicts: coverage_is_sufficient requires 98 % of them.
"""


def golden_drift(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """One row per round (except the baseline) and criterion, of the pinned requests.

    Scores are compared where both verdicts are ok; a criterion without any such pair has no shift.
    """
    rows = con.execute(_PAIRS).pl()
    tables = [_round(part) for _, part in rows.group_by("round_id", maintain_order=True)]
    return pl.concat(tables) if tables else pl.DataFrame()


def latest_round_moved(con: duckdb.DuckDBPyConnection, model: str) -> bool:
    """Whether the model's latest round has shifted or is failing, by the present verdicts and baseline."""
    found = golden_drift(con)
    if found.is_empty():
        return False
    moved = found.filter(pl.col("is_latest") & (pl.col("shifted") | pl.col("failing")))["round_id"].unique().to_list()
    rounds = con.execute("SELECT round_id FROM judging.golden_rounds WHERE model = ?", [model]).fetchall()
    return any(round_id in moved for (round_id,) in rounds)


def _round(rows: pl.DataFrame) -> pl.DataFrame:
    criteria = encode(rows, "criterion_id", "criteria_name")
    scored = (rows["earlier"].is_not_null() & rows["later"].is_not_null()).to_numpy()
    found = _drift(rows, criteria, scored)
    usable = rows.with_columns(pl.col("earlier", "later").is_not_null().cast(pl.Float64))
    answered = _drift(usable, criteria, np.ones(rows.height, dtype=bool))
    count = np.bincount(criteria.codes, minlength=len(criteria))

    def share(column: str) -> pl.Series:
        return pl.Series(
            np.bincount(criteria.codes, weights=usable[column].to_numpy(), minlength=len(criteria)) / count
        )

    return criteria.names.with_columns(
        *(
            pl.lit(rows[column][0]).alias(column)
            for column in ("judge_id", "round_id", "baseline_round_id", "is_latest", "what_changed")
        ),
        shift=pl.Series(found.shift),
        standard_error=pl.Series(found.standard_error),
        ci_low=pl.Series(found.low),
        ci_high=pl.Series(found.high),
        adjusted_p_value=pl.Series(found.adjusted_p_value),
        changed_share=pl.Series(found.changed),
        n=pl.Series(found.items),
        n_clusters=pl.Series(found.clusters),
        shifted=pl.Series(found.shifted),
        ok_share=share("later"),
        baseline_ok_share=share("earlier"),
        # More usable verdicts than before are no reason to stop.
        failing=pl.Series(answered.shifted & (answered.shift < 0)),
    )


def _drift(rows: pl.DataFrame, criteria: Codes, where: np.ndarray) -> Drift:
    return drift(
        rows["earlier"].to_numpy()[where],
        rows["later"].to_numpy()[where],
        criteria.codes[where],
        encode(rows, "prompt_id").codes[where],
        len(criteria),
        tolerance=TOLERANCE,
    )


_PAIRS = """
WITH rounds AS (
    SELECT *, position = max(position) OVER (PARTITION BY model) AS is_latest FROM judging.golden_rounds
), judged AS (
    SELECT rounds.round_id, golden.request_key, golden.prompt_id, golden.criterion_id, golden.criteria_name,
           CASE WHEN golden.is_gate OR coalesce(golden.higher_is_better, criteria.higher_is_better, TRUE)
                THEN verdicts.score - list_min(golden.levels) ELSE list_max(golden.levels) - verdicts.score
           END / (list_max(golden.levels) - list_min(golden.levels)) AS score
    FROM rounds CROSS JOIN judging.golden_requests AS golden
    LEFT JOIN raw.criteria AS criteria ON criteria.criterion_id = golden.criterion_id
    LEFT JOIN judging.verdicts AS verdicts
        ON verdicts.verdict_key = sha256(rounds.round_id || '|' || golden.request_key) AND verdicts.status = 'ok'
)
SELECT later.round_id, baseline.round_id AS baseline_round_id, later.judge_id, later.is_latest,
       concat_ws(', ',
           CASE WHEN later.judge_id <> baseline.judge_id
                THEN 'judge ' || baseline.judge_id || ' → ' || later.judge_id END,
           CASE WHEN (later.engine, later.engine_version) <> (baseline.engine, baseline.engine_version)
                THEN baseline.engine || ' ' || baseline.engine_version || ' → ' || later.engine || ' '
                     || later.engine_version END,
           CASE WHEN later.arguments <> baseline.arguments
                THEN 'flags ''' || baseline.arguments || ''' → ''' || later.arguments || '''' END
       ) AS what_changed,
       new.prompt_id, new.criterion_id, new.criteria_name, old.score AS earlier, new.score AS later
FROM rounds AS baseline
JOIN rounds AS later ON baseline.is_baseline AND later.model = baseline.model AND later.round_id <> baseline.round_id
JOIN judged AS old ON old.round_id = baseline.round_id
JOIN judged AS new ON new.round_id = later.round_id AND new.request_key = old.request_key
ORDER BY later.position, new.request_key
"""
