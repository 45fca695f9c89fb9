"""lm-eval's samples_*.jsonl (`--log_samples` of github.com/EleutherAI/lm-evaluation-harness).

A sample carries its instruction, its reference (the target) and the answer. The answer is the raw response, not the
filtered one, because a judge reads what the model wrote; several responses are samples.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pollux_dagster.ingest import rows
from pollux_dagster.ingest.formats.context import FileContext, text_id
from pollux_dagster.ingest.landing_records import Instruction, ModelOutput, Record
from pollux_dagster.ingest.rows import Reason, RowRejected

# lm-eval writes <output_path>/<model with "/" as "__">/samples_<task>_<time>.jsonl
_FILE = re.compile(r"samples_(?P<task>.+?)(?:_\d{4}-\d\d-\d\dT[\d\-:.]+)?")


def read_sample(fields: dict[str, Any], context: FileContext) -> list[Record]:
    """One sample. Its prompt_id is `<task>:<doc_id>` when lm-eval named the file, else derived from its text."""
    doc_id = rows.prompt_id(fields.get("doc_id"), "doc_id")
    instruction = _instruction(fields.get("arguments"))
    named = _FILE.fullmatch(context.stem)
    doc = fields.get("doc")
    if isinstance(doc, dict) and doc.get("prompt_id") is not None:
        prompt_id = rows.prompt_id(doc["prompt_id"], "doc.prompt_id")
    else:
        prompt_id = f"{named['task']}:{doc_id}" if named else text_id(instruction)
    model_id = _model(fields, context, named is not None)
    task = named["task"] if named else None
    outputs = [
        ModelOutput(model_id, prompt_id, instruction, index, answer) for index, answer in enumerate(_responses(fields))
    ]
    reference = _reference(fields.get("target"))
    return [Instruction(prompt_id, instruction, reference, task, None, None, None, None), *outputs]


def _model(fields: dict[str, Any], context: FileContext, named: bool) -> str:
    if named and context.folder and not any(fields.get(f) for f in ("model_id", "model")):
        return _unsanitized(context.folder)
    return context.model_of(fields)


def _unsanitized(folder: str) -> str:
    """`org__name` back to `org/name`; any other folder name stays, because "__" is then ambiguous."""
    org, mark, name = folder.partition("__")
    return f"{org}/{name}" if mark and org and name and "__" not in name else folder


def _instruction(arguments: object) -> str:
    """The prompt of the first request: `[[prompt, options]]`, or `{"gen_args_0": {"arg_0": prompt}}`."""
    first = arguments
    if isinstance(first, dict):
        first = next(iter(first.values()), None)
        first = first.get("arg_0") if isinstance(first, dict) else first
    while isinstance(first, list) and first:
        first = first[0]
    if not isinstance(first, str) or not first.strip():
        raise RowRejected(Reason.MISSING_FIELD, f"expected a prompt in arguments, got {arguments!r:.200}")
    return _chat_text(first)


def _chat_text(prompt: str) -> str:
    """The user's message of a prompt logged as a JSON list of chat messages; other prompts unchanged."""
    if not prompt.lstrip().startswith("[{"):
        return prompt
    try:
        messages = json.loads(prompt)
        texts = [m["content"] for m in messages if m["role"] == "user"]
    except (ValueError, KeyError, TypeError):
        return prompt
    return texts[0] if len(texts) == 1 and isinstance(texts[0], str) else prompt


def _responses(fields: dict[str, Any]) -> list[str | None]:
    """Every generated text of the sample, in order."""
    found = fields.get("resps")
    if found is None:
        found = fields.get("filtered_resps")
    while isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    if not isinstance(found, list) or not found:
        raise rows.reject_type("resps", "a list of generated texts", found)
    for text in found:
        if text is not None and not isinstance(text, str):
            raise rows.reject_type("resps", "generated texts (log-likelihood tasks have none)", found)
    return found


def _reference(target: object) -> str | None:
    if isinstance(target, list) and all(isinstance(t, str) for t in target):
        target = "\n".join(target)
    return rows.reference_text({"target": target}, "target")
