"""The contents of a landing file's row, as records of the landing tables, without their origin.

A record's type is its table, and its fields are the table's columns after file_path and row_number.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from pollux_dagster.core.injection import injection_reasons


class Instruction(NamedTuple):
    prompt_id: str
    instruction: str
    reference_answer: str | None
    task_type: str | None
    task_subtype: str | None
    domain: str | None
    difficulty: str | None
    meta: str | None
    doc_hash: str | None = None  # equal for one question that tools wrapped in different prompts


class ReferenceAnswer(NamedTuple):
    """A reference answer that lies apart from its instruction."""

    prompt_id: str
    reference_answer: str


class InstructionCriterion(NamedTuple):
    prompt_id: str
    position: int
    criteria_name: str
    rubrics: str
    criteria_group: str | None
    levels: tuple[float, ...]
    higher_is_better: bool | None  # as stated
    worded_higher_is_better: bool | None  # as the rubric's wording implies it
    direction_doubt: str | None


class TaxonomyCriterionRecord(NamedTuple):
    criterion_code: str
    criteria_name: str
    rubrics: str
    criteria_group: str
    domain: str | None
    levels: tuple[float, ...]
    needs_reference: bool
    higher_is_better: bool | None
    worded_higher_is_better: bool | None
    direction_doubt: str | None


class TaxonomyTaskRecord(NamedTuple):
    task_type: str
    task_subtype: str | None
    has_gold: bool | None
    domain: str | None
    criterion_codes: tuple[str, ...]


class ModelOutput(NamedTuple):
    """`reasoning` is what the tool kept apart from the answer; None leaves it to be found in the answer's own text."""

    model_id: str
    prompt_id: str | None
    instruction: str | None
    sample_index: int
    answer: str | None
    reasoning: str | None = None


class HumanScore(NamedTuple):
    """`sample_index` is None where the file does not say which of a model's answers the score is for."""

    prompt_id: str
    model_id: str
    criteria_name: str
    annotator: str
    score: float
    sample_index: int | None = None
    feedback: str | None = None


class Note(NamedTuple):
    """Something about a file or row that is used all the same, and that its owner should know."""

    kind: str
    detail: str


class Rejection(NamedTuple):
    reason: str
    detail: str
    raw_text: str | None


Record = (
    Instruction
    | ReferenceAnswer
    | InstructionCriterion
    | TaxonomyCriterionRecord
    | TaxonomyTaskRecord
    | ModelOutput
    | HumanScore
    | Note
    | Rejection
)

_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_TYPES = {
    "position": _INT,
    "sample_index": _INT,
    "score": _FLOAT,
    "levels": pa.list_(_FLOAT),
    "criterion_codes": pa.list_(_TEXT),
    "has_gold": _BOOL,
    "needs_reference": _BOOL,
    "higher_is_better": _BOOL,
    "worded_higher_is_better": _BOOL,
}
TABLES: dict[type[Record], str] = {
    Instruction: "landing.instructions",
    ReferenceAnswer: "landing.reference_answers",
    InstructionCriterion: "landing.instruction_criteria",
    TaxonomyCriterionRecord: "landing.taxonomy_criteria",
    TaxonomyTaskRecord: "landing.taxonomy_tasks",
    ModelOutput: "landing.model_outputs",
    HumanScore: "landing.human_scores",
    Note: "landing.notes",
    Rejection: "landing.rejected_rows",
}


def to_arrow(kind: type[Record], file_path: str, rows: list[tuple[int, Record]]) -> pa.Table:
    """The records of one type as an Arrow table with the columns of its landing table.

    Outputs get one more column, `injection_reasons`, which is computed from the answer here, so that no reader needs
    to.
    """
    columns = {
        "file_path": pa.array([file_path] * len(rows), _TEXT),
        "row_number": pa.array([number for number, _ in rows], _INT),
    }
    for index, field in enumerate(kind._fields):
        values = [record[index] for _, record in rows]
        columns[field] = pa.array(values, _TYPES.get(field, _TEXT))
    if kind is ModelOutput:
        columns["injection_reasons"] = _injection_reasons([record.answer for _, record in rows])  # type: ignore[union-attr]
    return pa.table(columns)


def _injection_reasons(answers: list[str | None]) -> pa.Array:
    """For each answer, why it seems to address the judge. Equal answers, as in the wide set, are read once."""
    found = {answer: injection_reasons(answer or "") for answer in set(answers)}
    return pa.array([found[answer] for answer in answers], pa.list_(_TEXT))


def text_size(record: Record) -> int:
    """Approximate number of characters in a record, by which batches are sized."""
    return sum(len(value) for value in record if isinstance(value, str))
