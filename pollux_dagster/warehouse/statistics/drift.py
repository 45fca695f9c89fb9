"""How far the judge moved on the golden set: statistics.golden_drift.

Every round is held against the baseline round of its model, request by request; core.statistics.repeats tests it.
"""

from __future__ import annotations

import duckdb
import polars as pl

from pollux_dagster.core.statistics.repeats import drift
from pollux_dagster.warehouse.statistics.codes import encode

TOLERANCE = 0.02
"""Shift of a mean score in [0, 1] that is let pass: less than two models of a usual evaluation can be told apart by."""


def golden_drift(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """One row a round (the baseline left out) and criterion, of requests with an ok verdict in both."""
    rows = con.execute(_PAIRS).pl()
    tables = []
    for _, part in rows.group_by("round_id", maintain_order=True):
        criteria = encode(part, "criterion_id", "criteria_name")
        found = drift(
            part["earlier"].to_numpy(),
            part["later"].to_numpy(),
            criteria.of,
            encode(part, "prompt_id").of,
            len(criteria),
            tolerance=TOLERANCE,
        )
        tables.append(
            criteria.names.with_columns(
                *(
                    pl.lit(part[column][0]).alias(column)
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
            )
        )
    return pl.concat(tables) if tables else pl.DataFrame()


_PAIRS = """
WITH rounds AS (
    SELECT *, judged_at = max(judged_at) OVER (PARTITION BY model) AS is_latest FROM judging.golden_rounds
), scored AS (
    SELECT rounds.round_id, golden.request_key, golden.prompt_id, golden.criterion_id, golden.criteria_name,
           (verdicts.score - list_min(golden.levels)) / (list_max(golden.levels) - list_min(golden.levels)) AS score
    FROM rounds CROSS JOIN judging.golden_requests AS golden
    JOIN judging.verdicts AS verdicts
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
JOIN scored AS old ON old.round_id = baseline.round_id
JOIN scored AS new ON new.round_id = later.round_id AND new.request_key = old.request_key
ORDER BY later.judged_at, new.request_key
"""
