"""AlpacaEval model_outputs.json: `instruction, output, generator`, of github.com/tatsu-lab/alpaca_eval.

Such a row identifies its instruction by the text itself. Where that text is a known instruction, the answer is an
answer to it; otherwise the row defines the instruction.
"""

from __future__ import annotations

from typing import Any

from pollux_dagster.ingest import rows
from pollux_dagster.ingest.formats.context import FileContext, text_id
from pollux_dagster.ingest.landing_records import Instruction, ModelOutput, Record


def read_output(fields: dict[str, Any], context: FileContext) -> list[Record]:
    """One output. A separate `input` is part of the instruction, as in the Alpaca prompts."""
    instruction = rows.required_text(fields, "instruction")
    extra = rows.optional_text(fields, "input")
    if extra and extra.strip():
        instruction = f"{instruction}\n\n{extra}"
    output = rows.answer(fields, "output")
    prompt_id = text_id(instruction)
    dataset = rows.label(fields, "dataset")
    return [
        Instruction(prompt_id, instruction, None, dataset, None, None, None, None),
        ModelOutput(context.model_of(fields), prompt_id, instruction, rows.sample_index(fields), output),
    ]
