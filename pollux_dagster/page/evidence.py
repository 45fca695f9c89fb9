"""The answers that the report carries: instructions, answers, verdicts and people's scores, packed for its browser.

All of them where they fit. Otherwise as many instructions as fit, with every model's answer to each, chosen in turn
from each task by a hash of their ids: the same ones each time, and none for its score.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import duckdb
import orjson

MAX_TEXT = 6_000  # characters of an instruction, a reference or an answer
MAX_RATIONALE = 2_000  # characters of what the judge wrote about a score
MAX_NAME = 300  # characters of the name of a model, a criterion, a task or a file
MAX_UNPACKED = 24_000_000  # bytes that a browser has to read before it shows the first answer
END = 64  # bytes that the end of a gzip file takes at most
ANSWERS_AT_A_TIME = 3_000  # that one query fetches


@dataclass(frozen=True, slots=True)
class Evidence:
    """`packed` is gzip in base64, of JSON; `shown` of all `instructions` are in it."""

    packed: bytes
    shown: int
    instructions: int


def collect(
    con: duckdb.DuckDBPyConnection,
    judges: Sequence[Mapping[str, Any]],
    models: Sequence[str],
    criteria: Sequence[Mapping[str, Any]],
    tasks: Sequence[str],
    room: int,
) -> Evidence | None:
    """The evidence in at most `room` bytes of base64; None where an earlier version's publication lacks what it needs.

    judges, criteria: rows of `figures.JUDGES` and `figures.CRITERIA`. models: those to show, best first. tasks: all
    task types. The page names a judge, a model, a criterion and a task by its place in these lists.
    """
    try:
        chosen = [row[0] for row in con.execute(_CHOSEN, {"models": list(models)}).fetchall()]
        fetched = _instructions(con, chosen, judges, models, criteria, tasks)
        packed, shown = _pack(_head(judges, models, criteria, tasks, len(chosen)), fetched, room)
    except (duckdb.CatalogException, duckdb.BinderException):
        return None
    return Evidence(base64.b64encode(packed), shown, len(chosen))


def _head(
    judges: Sequence[Mapping[str, Any]],
    models: Sequence[str],
    criteria: Sequence[Mapping[str, Any]],
    tasks: Sequence[str],
    total: int,
) -> bytes:
    """Everything but the instructions, without its closing bracket."""
    about = {
        "judges": [judge["judge_name"] for judge in judges],
        "models": [model[:MAX_NAME] for model in models],
        "tasks": [task[:MAX_NAME] for task in tasks],
        "criteria": [
            {
                "name": criterion["criteria_name"][:MAX_NAME],
                "gate": criterion["is_gate"],
                "levels": criterion["levels"],
                "rubrics": (criterion["rubrics"] or "")[:MAX_RATIONALE],
            }
            for criterion in criteria
        ],
        "total": total,
        "longest": MAX_TEXT,
    }
    return orjson.dumps(about)[:-1] + b',"instructions":['


def _pack(head: bytes, instructions: Iterator[dict[str, Any]], room: int) -> tuple[bytes, int]:
    """Add instruction after instruction while they fit, and return what is packed and how many they are."""
    gzip = zlib.compressobj(wbits=31)
    packed = [gzip.compress(head) + gzip.flush(zlib.Z_SYNC_FLUSH)]
    size, unpacked = len(packed[0]), len(head)
    for instruction in instructions:
        encoded = (b"," if len(packed) > 1 else b"") + orjson.dumps(instruction)
        with_it = gzip.copy()
        more = with_it.compress(encoded) + with_it.flush(zlib.Z_SYNC_FLUSH)
        size, unpacked = size + len(more), unpacked + len(encoded)
        if 4 * (size + END) > 3 * room or unpacked > MAX_UNPACKED:
            break
        gzip = with_it
        packed.append(more)
    return b"".join([*packed, gzip.compress(b"]}"), gzip.flush()]), len(packed) - 1


def _instructions(
    con: duckdb.DuckDBPyConnection,
    chosen: Sequence[str],
    judges: Sequence[Mapping[str, Any]],
    models: Sequence[str],
    criteria: Sequence[Mapping[str, Any]],
    tasks: Sequence[str],
) -> Iterator[dict[str, Any]]:
    places = {task: number for number, task in enumerate(tasks)}
    at_a_time = max(1, ANSWERS_AT_A_TIME // max(1, len(models)))
    numbers = {
        "judges": {judge["judge_id"]: number for number, judge in enumerate(judges)},
        "models": {model: number for number, model in enumerate(models)},
        "criteria": {criterion["criterion_id"]: number for number, criterion in enumerate(criteria)},
    }
    for start in range(0, len(chosen), at_a_time):
        some = chosen[start : start + at_a_time]
        answers = _answers(con, some, numbers)
        rows = con.execute(_INSTRUCTIONS, {"prompts": some, "longest": MAX_TEXT}).fetchall()
        by_id = {row[0]: row for row in rows}
        for prompt in some:
            prompt_id, task, text, length, reference = by_id[prompt]
            yield {
                "id": prompt_id[:MAX_NAME],
                "task": places[task],
                "text": text,
                "cut": length > MAX_TEXT,
                "reference": reference,
                "answers": answers.get(prompt, []),
            }


def _answers(
    con: duckdb.DuckDBPyConnection, prompts: Sequence[str], numbers: Mapping[str, Mapping[str, int]]
) -> dict[str, list[dict[str, Any]]]:
    """The answers to each prompt. Judges, models and criteria are given by their place in the lists of the head."""
    bounds = {"prompts": prompts, "models": list(numbers["models"])}
    judges = {"judges": list(numbers["judges"])}
    verdicts = _grouped(con.execute(_VERDICTS, bounds | judges | {"longest": MAX_RATIONALE}).fetchall())
    means = _grouped(con.execute(_MEANS, bounds | judges).fetchall())
    people = _grouped(con.execute(_PEOPLE, bounds).fetchall())
    found: dict[str, list[dict[str, Any]]] = {}
    for prompt, model, sample, text, length, suspicion, file, row in con.execute(
        _ANSWERS, bounds | {"longest": MAX_TEXT}
    ).fetchall():
        key = (prompt, model, sample)
        found.setdefault(prompt, []).append(
            {
                "model": numbers["models"][model],
                "sample": sample,
                "text": text,
                "cut": length > MAX_TEXT,
                "suspicion": suspicion,
                "file": file[:MAX_NAME],
                "row": row,
                "means": [[numbers["judges"][judge], mean] for judge, mean in means.get(key, ()) if mean is not None],
                "verdicts": [
                    [numbers["judges"][judge], numbers["criteria"][criterion], *rest]
                    for judge, criterion, *rest in verdicts.get(key, ())
                ],
                "people": people.get(key, ()),
            }
        )
    return found


def _grouped(rows: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], list[tuple[Any, ...]]]:
    """Rows by their first three columns, by which they are in order; those columns are left out."""
    return {key: [row[3:] for row in own] for key, own in groupby(rows, key=lambda row: row[:3])}


_CHOSEN = """
SELECT prompt_id FROM raw.instructions
WHERE prompt_id IN (SELECT prompt_id FROM raw.model_outputs WHERE list_contains($models, model_id))
ORDER BY row_number() OVER (PARTITION BY task_type ORDER BY md5(prompt_id)), task_type, prompt_id
"""
_INSTRUCTIONS = """
SELECT prompt_id, coalesce(task_type, '—'), left(instruction, $longest), length(instruction),
       left(reference_answer, $longest)
FROM raw.instructions WHERE list_contains($prompts, prompt_id)
"""
_ANSWERS = """
SELECT prompt_id, model_id, sample_index, left(answer, $longest), length(answer),
       if(injection_suspected, injection_reasons, NULL), file_path, row_number
FROM raw.model_outputs WHERE list_contains($prompts, prompt_id) AND list_contains($models, model_id)
ORDER BY prompt_id, model_id, sample_index
"""
_VERDICTS = """
SELECT prompt_id, model_id, sample_index, scores.judge_id, criterion_id, repeat_index, scores.status, scores.score,
       normalized_score, left(coalesce(nullif(rationale, ''), error, raw_text), $longest)
FROM staging.scores AS scores LEFT JOIN judging.verdicts USING (verdict_key)
WHERE list_contains($prompts, prompt_id) AND list_contains($models, model_id)
  AND list_contains($judges, scores.judge_id)
ORDER BY prompt_id, model_id, sample_index, scores.judge_name, is_gate DESC, criteria_name, criterion_id, repeat_index
"""
_MEANS = """
SELECT prompt_id, model_id, sample_index, judge_id, avg(answer_score)
FROM staging.answers
WHERE list_contains($prompts, prompt_id) AND list_contains($models, model_id) AND list_contains($judges, judge_id)
GROUP BY ALL ORDER BY ALL
"""
_PEOPLE = """
SELECT prompt_id, model_id, coalesce(sample_index, 0) AS sample_index, left(criteria_name, 300),
       list(score ORDER BY annotator)
FROM (FROM raw.human_scores UNION ALL BY NAME SELECT 0 AS sample_index WHERE FALSE)
WHERE list_contains($prompts, prompt_id) AND list_contains($models, model_id)
GROUP BY ALL ORDER BY ALL
"""
