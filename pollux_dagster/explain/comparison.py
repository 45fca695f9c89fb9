"""Two models side by side: the published difference, where it comes from, and the answers that make most of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from pollux_dagster.core.people_order import among, turned
from pollux_dagster.explain.selection import Judge, Row, rows

_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Comparison:
    """One judge's comparison of `model_id` with `other_model_id`; differences are positive where the first is better.

    means: the rows of marts.leaderboard, the first model's first. turned: the pair as
    `core.people_order.turned` has it, where people's scores put it in another order than the judge's. published: the
    pair's row of marts.pairwise_comparison. recomputed: difference, n and n_clusters of the shared items below, whether
    they `agree` with it, and the instructions on which the first is `n_ahead`, `n_level` or `n_behind`. asked:
    instructions that both were asked (`n_common`) and that only one was. tasks, criteria: the means of the shared items
    of each, without an interval; `contribution` sums to the difference. ahead, behind: the instructions with the
    largest differences either way, with texts.

    A shared item is one criterion of one instruction on which both have a score, averaged over samples and repetitions.
    """

    judge: Judge
    model_id: str
    other_model_id: str
    means: Sequence[Row]
    turned: Sequence[Row]
    published: Row
    recomputed: Row
    asked: Row
    tasks: Sequence[Row]
    criteria: Sequence[Row]
    ahead: Sequence[Row]
    behind: Sequence[Row]


def compare_models(
    con: duckdb.DuckDBPyConnection, judge: Judge, model_id: str, other_model_id: str, answers: int
) -> Comparison | None:
    """Compare two models under one judge, with up to `answers` instructions either way; None where it compared none."""
    pair = {"judge": judge.judge_id, "model": model_id, "other": other_model_id}
    published = rows(con, _PAIR, **pair)
    if not published:
        return None
    (recomputed,) = rows(con, _SHARED + _RECOMPUTED, **pair)
    difference, found = recomputed["difference"], published[0]["difference"]
    recomputed["agrees"] = all(recomputed[name] == published[0][name] for name in ("n", "n_clusters")) and (
        difference == found if difference is None or found is None else abs(difference - found) <= _SAME
    )
    return Comparison(
        judge=judge,
        model_id=model_id,
        other_model_id=other_model_id,
        means=rows(con, _MEANS, **pair),
        turned=[dict(each) for each in among(turned(con, judge.judge_id), (model_id, other_model_id))],
        published=published[0],
        recomputed=recomputed,
        asked=rows(con, _ASKED, **pair)[0],
        tasks=rows(con, _SHARED + _BY_TASK, **pair),
        criteria=rows(con, _SHARED + _BY_CRITERION, **pair),
        ahead=rows(con, _SHARED + _INSTRUCTIONS, **pair, sign=1, limit=answers),
        behind=rows(con, _SHARED + _INSTRUCTIONS, **pair, sign=-1, limit=answers),
    )


def scored_both(con: duckdb.DuckDBPyConnection, judge: Judge, model_id: str, other_model_id: str) -> bool:
    """Whether the judge has a score of each model, on whatever instructions."""
    (found,) = rows(con, _SCORED, judge=judge.judge_id, model=model_id, other=other_model_id)
    return bool(found["n_models"] == 2)


_SCORED = """
SELECT count(DISTINCT model_id) AS n_models FROM staging.scores
WHERE judge_id = $judge AND model_id IN ($model, $other) AND final_score IS NOT NULL
"""
_PAIR = """
FROM marts.pairwise_comparison WHERE judge_id = $judge AND model_id = $model AND other_model_id = $other
"""
_MEANS = """
FROM marts.leaderboard WHERE judge_id = $judge AND model_id IN ($model, $other) ORDER BY model_id <> $model
"""
_ASKED = """
SELECT count(*) FILTER (first AND second) AS n_common, count(*) FILTER (NOT second) AS n_only_model,
       count(*) FILTER (NOT first) AS n_only_other
FROM (
    SELECT bool_or(model_id = $model) AS first, bool_or(model_id = $other) AS second
    FROM staging.answers WHERE judge_id = $judge AND model_id IN ($model, $other) GROUP BY prompt_id
)
"""
# As warehouse/statistics/models.py makes the items of marts.pairwise_comparison.
_SHARED = """
WITH shared AS (
    SELECT prompt_id, criterion_id, any_value(criteria_name) AS criteria_name, any_value(task_type) AS task_type,
           avg(final_score) FILTER (model_id = $model) AS model_score,
           avg(final_score) FILTER (model_id = $other) AS other_score, model_score - other_score AS difference
    FROM staging.scores
    WHERE judge_id = $judge AND model_id IN ($model, $other) AND final_score IS NOT NULL
    GROUP BY prompt_id, criterion_id HAVING difference IS NOT NULL
),
instructions AS (
    SELECT prompt_id, any_value(task_type) AS task_type, count(*) AS n, avg(model_score) AS model_score,
           avg(other_score) AS other_score, avg(difference) AS difference,
           string_agg(criteria_name, '; ' ORDER BY abs(difference) DESC, criteria_name)
               FILTER (abs(difference) > 1e-12) AS differing_criteria
    FROM shared GROUP BY prompt_id
)
"""
_RECOMPUTED = """
SELECT (SELECT avg(difference) FROM shared) AS difference, (SELECT count(*) FROM shared) AS n, count(*) AS n_clusters,
       count(*) FILTER (difference > 1e-12) AS n_ahead, count(*) FILTER (abs(difference) <= 1e-12) AS n_level,
       count(*) FILTER (difference < -1e-12) AS n_behind
FROM instructions
"""
_BY_TASK = """
SELECT task_type, count(*) AS n, count(DISTINCT prompt_id) AS n_clusters, avg(model_score) AS model_score,
       avg(other_score) AS other_score, avg(difference) AS difference,
       sum(difference) / sum(count(*)) OVER () AS contribution
FROM shared GROUP BY task_type ORDER BY difference DESC, task_type
"""
_BY_CRITERION = """
SELECT criterion_id, criteria_name, count(*) AS n, count(DISTINCT prompt_id) AS n_clusters,
       avg(model_score) AS model_score, avg(other_score) AS other_score, avg(difference) AS difference,
       sum(difference) / sum(count(*)) OVER () AS contribution
FROM shared GROUP BY criterion_id, criteria_name ORDER BY difference DESC, criteria_name, criterion_id
"""
_INSTRUCTIONS = """
, chosen AS (
    FROM instructions WHERE $sign * difference > 1e-12 ORDER BY $sign * difference DESC, prompt_id LIMIT $limit
)
SELECT chosen.*, left(texts.instruction, 300) AS instruction_excerpt,
       left(first.answer, 300) AS answer_excerpt, left(second.answer, 300) AS other_answer_excerpt
FROM chosen
LEFT JOIN raw.instructions AS texts USING (prompt_id)
LEFT JOIN (SELECT prompt_id, arg_min(answer, sample_index) AS answer FROM raw.model_outputs WHERE model_id = $model
           GROUP BY prompt_id) AS first USING (prompt_id)
LEFT JOIN (SELECT prompt_id, arg_min(answer, sample_index) AS answer FROM raw.model_outputs WHERE model_id = $other
           GROUP BY prompt_id) AS second USING (prompt_id)
ORDER BY $sign * difference DESC, prompt_id
"""
