"""The golden set: answers pinned once and judged again whenever engine, weights, template or flags have changed.

This module stores what is pinned and which rounds there were; `statistics.drift` computes how far they differ.
"""

from __future__ import annotations

import duckdb

from pollux_dagster.core.fixed_requests import FixedRequest, Round
from pollux_dagster.core.transactions import transaction


class GoldenRound(Round):
    """A state of a judge in which the golden set is judged, compared with the baseline of the same `model`."""

    __slots__ = ()
    series = "golden"


class GoldenSetError(ValueError):
    """There is nothing to pin, or no round to accept."""


def pin_golden_set(con: duckdb.DuckDBPyConnection, *, judge_id: str, answers: int) -> int:
    """Pin `answers` answers that the judge has completely judged, replacing the previous set; returns their number of
    requests.

    One answer per instruction, taking the tasks in turn, chosen by hash: the same warehouse always pins the same set.
    Earlier rounds are deleted with the set they judged; the next round is the new baseline.

    Raises:
        GoldenSetError: the judge has not judged any answer completely.
    """
    with transaction(con):
        con.execute("DELETE FROM judging.golden_requests")
        con.execute("DELETE FROM judging.golden_rounds")
        con.execute(_PIN, {"judge_id": judge_id, "answers": answers})
        (pinned,) = con.execute("SELECT count(*) FROM judging.golden_requests").fetchone() or (0,)
        if not pinned:
            raise GoldenSetError(f"judge {judge_id} has no answer with all of its verdicts: judge first, then pin")
    return int(pinned)


def golden_requests(con: duckdb.DuckDBPyConnection) -> list[FixedRequest]:
    """The pinned requests, answer by answer with gates first; a small list that fits in memory."""
    rows = con.execute(
        "SELECT request_key, instruction, reference_answer, answer, criterion_id, criteria_name, rubrics, levels, "
        "is_gate FROM judging.golden_requests ORDER BY prompt_id, is_gate DESC, criterion_id"
    ).fetchall()
    return [
        FixedRequest(key, instruction, reference, answer, criterion_id, name, rubrics, tuple(levels), is_gate)
        for key, instruction, reference, answer, criterion_id, name, rubrics, levels, is_gate in rows
    ]


def record_round(con: duckdb.DuckDBPyConnection, judged: GoldenRound, *, run_id: str) -> None:
    """Record that the set was judged in this state; a model's first round after pinning is its baseline.

    A state that returns (an engine rolled back) becomes the latest again.
    """
    con.execute(
        "INSERT INTO judging.golden_rounds SELECT $round_id, $judge_id, $model, $engine, $engine_version, $arguments, "
        "NOT EXISTS (FROM judging.golden_rounds WHERE model = $model), now(), $run_id, "
        "(SELECT coalesce(max(position), 0) + 1 FROM judging.golden_rounds) "
        "ON CONFLICT DO UPDATE SET judged_at = excluded.judged_at, run_id = excluded.run_id, "
        "position = excluded.position",
        {
            "round_id": judged.round_id,
            "judge_id": judged.judge_id,
            "model": judged.model,
            "engine": judged.engine,
            "engine_version": judged.engine_version,
            "arguments": " ".join(judged.arguments),
            "run_id": run_id,
        },
    )


def accept_latest_round(con: duckdb.DuckDBPyConnection) -> str:
    """Make the latest round its model's baseline, with which later ones are compared. Returns a description of it.

    Raises:
        GoldenSetError: the set has not been judged yet.
    """
    latest = con.execute(
        "SELECT round_id, model, judge_id, engine, engine_version FROM judging.golden_rounds "
        "ORDER BY position DESC LIMIT 1"
    ).fetchone()
    if latest is None:
        raise GoldenSetError("the golden set was not judged yet: pin one, then run an evaluation")
    round_id, model, judge_id, engine, version = latest
    con.execute("UPDATE judging.golden_rounds SET is_baseline = (round_id = ?) WHERE model = ?", [round_id, model])
    return f"{round_id}: {model}, judge {judge_id}, {engine} {version}"


_PIN = """
INSERT INTO judging.golden_requests BY NAME
WITH judged AS (
    SELECT requests.model_id, requests.prompt_id, requests.sample_index, judgeable.answer_key
    FROM judging.requests AS requests
    JOIN judging.judgeable AS judgeable
        ON judgeable.model_id = requests.model_id AND judgeable.prompt_id = requests.prompt_id
        AND judgeable.sample_index = requests.sample_index AND judgeable.criterion_id = requests.criterion_id
    LEFT JOIN judging.verdicts AS verdicts ON verdicts.verdict_key = requests.verdict_key
    WHERE requests.judge_id = $judge_id
    GROUP BY ALL
    HAVING bool_and(coalesce(verdicts.status = 'ok', FALSE))
), one_a_prompt AS (
    SELECT * FROM judged
    QUALIFY row_number() OVER (PARTITION BY prompt_id ORDER BY sha256(answer_key), model_id, sample_index) = 1
), chosen AS (
    SELECT one_a_prompt.*
    FROM one_a_prompt JOIN raw.instructions AS instructions USING (prompt_id)
    ORDER BY row_number() OVER (PARTITION BY instructions.task_type ORDER BY sha256(answer_key)), sha256(answer_key)
    LIMIT $answers
)
SELECT DISTINCT ON (request_key)
    sha256(judgeable.answer_key || '|' || judgeable.criterion_key) AS request_key, chosen.prompt_id,
    instructions.instruction, instructions.reference_answer, outputs.answer, criteria.criterion_id,
    criteria.criteria_name, criteria.rubrics, criteria.levels, criteria.is_gate, now() AS pinned_at,
    criteria.higher_is_better
FROM chosen
JOIN judging.judgeable AS judgeable
    ON judgeable.model_id = chosen.model_id AND judgeable.prompt_id = chosen.prompt_id
    AND judgeable.sample_index = chosen.sample_index
JOIN raw.instructions AS instructions ON instructions.prompt_id = chosen.prompt_id
JOIN raw.model_outputs AS outputs
    ON outputs.model_id = chosen.model_id AND outputs.prompt_id = chosen.prompt_id
    AND outputs.sample_index = chosen.sample_index
JOIN raw.criteria AS criteria ON criteria.criterion_id = judgeable.criterion_id
"""
