"""AlpacaEval's model_outputs.json: `instruction, output, generator` (tatsu-lab/alpaca_eval on GitHub, README.md and
results/*/model_outputs.json).

Such a row identifies its instruction by the text itself. Where that text is a known instruction, the answer is an
answer to it; otherwise the row defines the instruction. `instruction` and `output` without a model is also the form of
every training set after Stanford's Alpaca, which is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pollux_dagster.ingest import rows
from pollux_dagster.ingest.formats.chat_rows import (
    RESPONSE_FIELDS,
    has_response,
    other_answers,
    refuse_null_beside_text,
)
from pollux_dagster.ingest.formats.context import FileContext, names_a_model, text_id
from pollux_dagster.ingest.formats.failures import answered, doubts_about, refuse_errors
from pollux_dagster.ingest.formats.prompt_parts import whole_prompt, with_input
from pollux_dagster.ingest.formats.references import reference_of
from pollux_dagster.ingest.formats.side_files import ALPACA_REFERENCES
from pollux_dagster.ingest.landing_records import Instruction, ModelOutput, Record

_OWN_FIELDS = frozenset({"prompt_id", "answer", "criteria", "criteria_name"})


def is_output(fields: dict[str, Any]) -> bool:
    """Whether a row is an instruction with an answer, and has nothing by which it is of the project's own form."""
    return (
        "instruction" in fields
        and ("output" in fields or "response" in fields or has_response(fields))
        and fields.keys().isdisjoint(_OWN_FIELDS)
    )


def refuse_training_set(context: FileContext, first: Sequence[dict[str, Any]]) -> str | None:
    """Why a file is a training set, or a baseline's, and no model's answers; None for a model's model_outputs.json."""
    if context.holds_references and context.stem.lower().startswith("reference_outputs"):
        return ALPACA_REFERENCES
    named = any(map(names_a_model, first)) or context.document_model is not None
    if named or (context.stem.lower() == "model_outputs" and context.folder and context.side_file is None):
        return None
    return (
        "a training set in Alpaca's form: it has instruction and output, and no row names a model. If these are a "
        "model's answers, name it in a field `generator` or `model`, or name the file model_outputs.json in a folder "
        "that is named after the model"
    )


def read_output(fields: dict[str, Any], context: FileContext) -> list[Record]:
    """One output. A separate `input` is part of the instruction, as in the Alpaca prompts."""
    rows.optional_text(fields, "input")  # refuses what is no text
    instruction = whole_prompt(fields, with_input(fields, rows.required_text(fields, "instruction")))
    model_id = context.model_of(fields)
    # A file of one's own in this form may hold an empty answer; AlpacaEval's own names the generator.
    tool = "AlpacaEval" if "generator" in fields else None
    # Beside an answer that was added to the rows of a training set, its own `output` is the right one.
    named = "output" if tool else next((f for f in RESPONSE_FIELDS if f in fields), "output")
    refuse_null_beside_text(fields, named)
    output = answered(rows.answer(fields, named), by=tool)
    if not (output and output.strip()):
        refuse_errors(fields)
    prompt_id = text_id(instruction)
    dataset = rows.label(fields, "dataset")
    reference, notes = reference_of(fields)
    return [
        Instruction(prompt_id, instruction, reference, dataset, None, None, None, None),
        *notes,
        ModelOutput(model_id, prompt_id, instruction, rows.sample_index(fields), output),
        *other_answers(fields, named),
        *(doubts_about(output, by="AlpacaEval") if tool else ()),
    ]
