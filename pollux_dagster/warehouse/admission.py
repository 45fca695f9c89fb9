"""Decides which models the tables include.

A model without a single usable verdict has no number to show: it is left out, by name and with the reason, and the
others are published. For a model with some verdicts but too few, the operator chooses: hold the publication back (a
check does that) or leave the model out as well.
"""

from __future__ import annotations

from collections.abc import Collection

import duckdb

from pollux_dagster.core.transactions import transaction


def decide_admission(
    con: duckdb.DuckDBPyConnection,
    *,
    minimum_coverage: float,
    maximum_rejected_share: float,
    leave_out_failing: bool,
    unasked: Collection[str] = (),
    kept: Collection[str] = (),
) -> list[tuple[str, str, str]]:
    """Replace judging.admission by the current decision; returns the models left out: (judge_id, model_id, reason).

    minimum_coverage: share of a model's requests, in [0, 1], that need a usable verdict. maximum_rejected_share: share
    of its rows, or of one of its files, that may be rejected. leave_out_failing: whether a model beyond one of these
    limits is left out; otherwise it stays in and a check stops the publication. unasked: models that the run did not
    ask about, which are left out where the judge that judged last has too few verdicts on them. kept: models that stay
    in however few it has, so that the check of coverage stops the publication.

    When all models of the judge that judged last would be left out, none is: that is the judge's failure, and the check
    of coverage must see it.
    """
    with transaction(con):
        con.execute("DELETE FROM judging.admission")
        limits = {"minimum_coverage": minimum_coverage, "maximum_rejected_share": maximum_rejected_share}
        con.execute(
            _DECIDE, {**limits, "leave_out_failing": leave_out_failing, "unasked": list(unasked), "kept": list(kept)}
        )
    return con.execute(
        "SELECT judge_id, model_id, reason FROM judging.admission WHERE NOT is_admitted ORDER BY ALL"
    ).fetchall()


_DECIDE = """
INSERT INTO judging.admission BY NAME
WITH outcomes AS (
    SELECT judge_id, model_id, string_agg(status || ' ' || times, ', ' ORDER BY times DESC, status) AS statuses,
           arg_max(example, times) AS example
    FROM (
        SELECT requests.judge_id, requests.model_id, coalesce(verdicts.status, 'not judged') AS status,
               count(*) AS times, left(min(verdicts.error), 200) AS example
        FROM judging.requests AS requests LEFT JOIN judging.verdicts AS verdicts USING (verdict_key)
        WHERE verdicts.score IS NULL
        GROUP BY ALL
    )
    GROUP BY judge_id, model_id
), rejections AS (
    SELECT model_id,
           string_agg(rejected || ' rows of ' || file_path || ': ' || reason, ', ' ORDER BY rejected DESC) AS rows
    FROM raw.rejection_counts WHERE is_counted AND model_id IS NOT NULL
    GROUP BY model_id HAVING max(share) > $maximum_rejected_share
), decided AS (
    SELECT coverage.judge_id, model_id, requests, usable, coverage,
           CASE
               WHEN list_contains($kept::VARCHAR[], model_id) AND last_judge.judge_id IS NOT NULL THEN NULL
               WHEN list_contains($unasked::VARCHAR[], model_id) AND coverage < $minimum_coverage
                   AND last_judge.judge_id IS NOT NULL
                   THEN 'not asked about in this run (--model): ' || usable || ' of its ' || requests
                        || ' requests have a usable verdict'
               WHEN usable = 0 THEN 'none of its ' || requests || ' requests has a usable verdict'
               WHEN $leave_out_failing AND coverage < $minimum_coverage
                   THEN usable || ' of its ' || requests || ' requests have a usable verdict, '
                        || $minimum_coverage || ' of them are needed'
           END || coalesce(' (' || statuses || coalesce(': ' || example, '') || ')', '') AS unjudged,
           CASE WHEN $leave_out_failing THEN 'rejected: ' || left(rejections.rows, 500) END AS rejected,
           nullif(concat_ws('; ', unjudged, rejected), '') AS reason
    FROM judging.coverage AS coverage
    LEFT JOIN outcomes USING (judge_id, model_id)
    LEFT JOIN rejections USING (model_id)
    LEFT JOIN meta.last_judge AS last_judge ON last_judge.judge_id = coverage.judge_id
), nobody_left AS (
    SELECT judge_id FROM decided WHERE judge_id IN (SELECT judge_id FROM meta.last_judge)
    GROUP BY judge_id HAVING count(*) = count(reason)
)
SELECT decided.judge_id, model_id, requests, usable, coverage,
       reason IS NULL OR nobody_left.judge_id IS NOT NULL AS is_admitted,
       CASE WHEN nobody_left.judge_id IS NULL THEN reason END AS reason
FROM decided LEFT JOIN nobody_left ON nobody_left.judge_id = decided.judge_id
"""
