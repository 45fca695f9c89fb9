"""Why a model's mean is what it is: what takes points off it, and the answers that lost them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from pollux_dagster.explain.selection import Judge, Row, rows

_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class ExplainedMean:
    """One model under one judge, all of it or the part that `task_type` and `criterion` (id and name) choose.

    published: the row of the mart `source` that has the mean; None where the mart lacks it, and for a task and a
    criterion together, of which no mart has one (`source` is None then). recomputed: `mean_score`, `n` and `n_requests`
    of the scores below, and whether they `agree` with it. losses: by task and criterion, the largest first;
    `off_the_mean` sums to 1 - mean_score. gates: how often each tripped. unscored: requests that are in no mean, by
    reason, each with one `verdict_key`. worst: the answers with the lowest scores, each with the criterion that took
    most off, as in marts.worst_answers.
    """

    judge: Judge
    model_id: str
    task_type: str | None
    criterion: Row | None
    source: str | None
    published: Row | None
    recomputed: Row
    losses: Sequence[Row]
    gates: Sequence[Row]
    unscored: Sequence[Row]
    worst: Sequence[Row]


def explain_mean(
    con: duckdb.DuckDBPyConnection,
    judge: Judge,
    model_id: str,
    task_type: str | None,
    criterion: Row | None,
    worst: int,
) -> ExplainedMean | None:
    """Walk one judge's mean of a model back to its `worst` answers; None where the judge scored nothing of it."""
    chosen = {
        "judge": judge.judge_id,
        "model": model_id,
        "task": task_type,
        "criterion": criterion["criterion_id"] if criterion else None,
    }
    (recomputed,) = rows(con, _CHOSEN + _RECOMPUTED, **chosen)
    if not recomputed["n_rows"]:
        return None
    source, published = _published(con, chosen)
    del recomputed["n_rows"]
    recomputed["agrees"] = source is None or (
        published is not None
        and recomputed["n"] == published["n"]
        and _same(recomputed["mean_score"], published["mean_score"])
    )
    return ExplainedMean(
        judge=judge,
        model_id=model_id,
        task_type=task_type,
        criterion=criterion,
        source=source,
        published=published,
        recomputed=recomputed,
        losses=rows(con, _CHOSEN + _LOSSES, **chosen),
        gates=rows(con, _CHOSEN + _GATES, **chosen),
        unscored=rows(con, _CHOSEN + _UNSCORED, **chosen),
        worst=rows(con, _CHOSEN + _WORST, **chosen, limit=worst),
    )


def _published(con: duckdb.DuckDBPyConnection, chosen: dict[str, str | None]) -> tuple[str | None, Row | None]:
    """The mart that has the mean, and its row."""
    of_model = "judge_id = $judge AND model_id = $model"
    match chosen["task"], chosen["criterion"]:
        case None, None:
            source, where = "marts.leaderboard", of_model
        case _, None:
            source, where = "marts.task_quality", f"{of_model} AND grain = 'model_task' AND task_type = $task"
        case None, _:
            source, where = "marts.criterion_quality", f"{of_model} AND criterion_id = $criterion"
        case _:
            return None, None
    found = rows(con, f"FROM {source} WHERE {where}", **chosen)
    return source, found[0] if found else None


def _same(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else abs(one - other) <= _SAME


# A gate that tripped loses what the answer has; its own row counts for finding the answer and is in no mean.
_CHOSEN = """
WITH chosen AS (
    SELECT scores.*, CASE WHEN is_gate THEN (CASE WHEN score = max_score THEN 1.0 ELSE 0.0 END)
                          ELSE 1 - final_score END AS lost
    FROM staging.scores AS scores
    WHERE judge_id = $judge AND model_id = $model
      AND ($task IS NULL OR task_type = $task) AND ($criterion IS NULL OR criterion_id = $criterion)
)
"""
_RECOMPUTED = """
SELECT avg(final_score) AS mean_score, count(final_score) AS n, count(*) FILTER (NOT is_gate) AS n_requests,
       count(*) AS n_rows
FROM chosen
"""
_LOSSES = """
SELECT task_type, criterion_id, criteria_name, count(*) AS n, avg(final_score) AS mean_score,
       sum(lost) / sum(count(*)) OVER () AS off_the_mean, count(*) FILTER (gate_state = 'tripped') AS n_gated
FROM chosen WHERE final_score IS NOT NULL
GROUP BY task_type, criterion_id, criteria_name ORDER BY off_the_mean DESC, task_type, criteria_name, criterion_id
"""
_GATES = """
SELECT criterion_id, criteria_name, count(*) AS n_requests, count(*) FILTER (score = max_score) AS n_tripped,
       count(*) FILTER (score IS NULL) AS n_undecided
FROM chosen WHERE is_gate
GROUP BY criterion_id, criteria_name ORDER BY n_tripped DESC, criteria_name, criterion_id
"""
_UNSCORED = """
SELECT CASE WHEN status <> 'ok' THEN status WHEN gate_state = 'unknown' THEN 'gate unknown'
            ELSE 'rubric without a best level' END AS reason,
       count(*) AS n, min(verdict_key) AS verdict_key
FROM chosen WHERE NOT is_gate AND final_score IS NULL
GROUP BY reason ORDER BY n DESC, reason
"""
_WORST = """
, answers AS (
    SELECT prompt_id, sample_index, repeat_index, task_type, gate_state, file_path, row_number,
           avg(final_score) AS answer_score, count(final_score) AS n,
           first(verdict_key ORDER BY is_gate DESC, normalized_score, criterion_id)
               FILTER (lost > 0) AS verdict_key,
           first(criteria_name ORDER BY is_gate DESC, normalized_score, criterion_id)
               FILTER (lost > 0) AS worst_criterion,
           first(score ORDER BY is_gate DESC, normalized_score, criterion_id) FILTER (lost > 0) AS worst_score
    FROM chosen GROUP BY prompt_id, sample_index, repeat_index, task_type, gate_state, file_path, row_number
    HAVING sum(lost) > 0
    ORDER BY answer_score NULLS LAST, prompt_id, sample_index, repeat_index LIMIT $limit
)
SELECT answers.*, left(instructions.instruction, 300) AS instruction_excerpt,
       left(outputs.answer, 300) AS answer_excerpt, left(verdicts.rationale, 500) AS rationale_excerpt
FROM answers
LEFT JOIN raw.instructions AS instructions USING (prompt_id)
LEFT JOIN raw.model_outputs AS outputs
    ON outputs.model_id = $model AND outputs.prompt_id = answers.prompt_id
    AND outputs.sample_index = answers.sample_index
LEFT JOIN judging.verdicts AS verdicts USING (verdict_key)
ORDER BY answer_score NULLS LAST, answers.prompt_id, answers.sample_index, repeat_index
"""
