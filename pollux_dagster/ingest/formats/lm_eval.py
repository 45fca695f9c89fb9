"""lm-eval's samples_*.jsonl (`--log_samples` of github.com/EleutherAI/lm-evaluation-harness).

A sample carries its instruction, its reference (the target) and the answer. The answer is the raw response, not the
filtered one, because a judge reads what the model wrote; several responses are samples. lm-eval writes responses and
target as text, whatever they were (loggers/evaluation_tracker.py: `sanitize_list`, `str(target)`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from pollux_dagster.ingest import rows
from pollux_dagster.ingest.formats import chat_templates
from pollux_dagster.ingest.formats.context import FileContext, names_a_model, refuse_without_folder, text_id
from pollux_dagster.ingest.formats.failures import answered, failed
from pollux_dagster.ingest.formats.references import is_number_of_choice
from pollux_dagster.ingest.landing_records import Instruction, ModelOutput, Record
from pollux_dagster.ingest.rows import Reason, RowRejected

# lm-eval writes <output_path>/<model with "/" as "__">/samples_<task>_<time>.jsonl
_FILE = re.compile(r"samples_(?P<task>.+?)(?:_\d{4}-\d\d-\d\dT[\d\-:.]+)?")
# Tasks whose target is no text to compare an answer with, by the doc_to_target of their YAML files: a placeholder,
# test code, or the number of the right choice.
_NO_REFERENCE = re.compile(
    r"(?:leaderboard_)?(?:ru_?)?ifeval.*|.*humaneval.*|.*mbpp.*|.*livecodebench.*|.*bigcodebench.*|.*conala.*"
    r"|truthfulqa_gen.*|.*toxigen.*|realtoxicityprompts.*|.*mt_?bench.*|.*alpaca_?eval.*|.*arena_?hard.*"
)
# lm-eval 0.4.0 to 0.4.2, lm_eval/__main__.py: <model arguments>_<task>.jsonl
_NAMED_AFTER_BOTH = (
    "its name holds the model's arguments and the task, as lm-eval before 0.4.3 wrote it, and the two cannot be told "
    "apart: rename it to samples_<task>.jsonl, in a folder that is named after the model"
)
_CODE = re.compile(r"(?m)^\s*(?:def |class |import |from \w+ import |assert |METADATA\b|#include\b|func |public )")


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
    target = fields.get("target")
    reference = None if is_number_of_choice(target, doc) else _reference(target, task or "")
    doc_hash = rows.optional_text(fields, "doc_hash")
    return [Instruction(prompt_id, instruction, reference, task, None, None, None, None, doc_hash), *outputs]


def _model(fields: dict[str, Any], context: FileContext, named: bool) -> str:
    if named and context.model_folder is not None and not any(fields.get(f) for f in ("model_id", "model")):
        return _unsanitized(context.model_folder)
    return context.model_of(fields)


def model_of_file(context: FileContext) -> str | None:
    """The model whose folder a file of lm-eval lies in."""
    if context.model_folder is None or not _FILE.fullmatch(context.stem):
        return None
    return _unsanitized(context.model_folder)


def refuse_without_model(context: FileContext, first: Sequence[dict[str, Any]]) -> str | None:
    """Why a file that lm-eval named after its task is not read; None where a folder or a row names the model."""
    if context.stem.startswith("pretrained__") and not any(map(names_a_model, first)):
        return _NAMED_AFTER_BOTH
    return refuse_without_folder(context, first) if _FILE.fullmatch(context.stem) else None


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
    return chat_templates.text_of(first, "arguments")


def _is_generation(arguments: object) -> bool | None:
    """Whether the first request asked for a text: its second argument is an object of generation options. None where
    the log holds no second argument.
    """
    first = arguments
    if isinstance(first, dict):
        first = next(iter(first.values()), None)
        if not isinstance(first, dict) or "arg_1" not in first:
            return None
        options = first["arg_1"]
    else:
        while isinstance(first, list) and first and isinstance(first[0], list):
            first = first[0]
        if not isinstance(first, list) or len(first) < 2:
            return None
        options = first[1]
    return isinstance(options, dict) or (isinstance(options, str) and options.lstrip().startswith("{"))


def _responses(fields: dict[str, Any]) -> list[str]:
    """Every generated text of the sample, in order."""
    found = fields.get("resps")
    if found is None:
        found = fields.get("filtered_resps")
    while isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    if not isinstance(found, list) or not found:
        raise rows.reject_type("resps", "a list of generated texts", found)
    generation = _is_generation(fields.get("arguments"))
    if generation is False or (generation is None and all(isinstance(text, str) and _number(text) for text in found)):
        detail = f"expected generated texts, got log-likelihoods: {found!r:.200}; tasks that compare choices have none"
        raise RowRejected(Reason.WRONG_TYPE, detail)
    for text in found:
        if text is not None and not isinstance(text, str):
            raise rows.reject_type("resps", "generated texts (log-likelihood tasks have none)", text)
        # An API model whose request failed returns None, which lm-eval's log writes as text.
        if text is None or text == "None":
            raise failed("lm-eval logs None where the API gave no text")
        answered(text)
    return found


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reference(target: object, task: str) -> str | None:
    """The target where it is a text that an answer can be compared with; None for placeholders, code and lists."""
    if isinstance(target, list) and len(target) == 1:
        target = target[0]
    if isinstance(target, list | dict | bool) or _NO_REFERENCE.fullmatch(task.lower()):
        return None
    text = rows.reference_text({"target": target}, "target")
    if text is None or _CODE.search(text):
        return None
    stripped = text.strip()
    if stripped in ("None", "nan", "[]", "{}", "-1") or stripped.startswith("array("):  # NumPy's lists of answers
        return None
    if stripped[0] in "[({" and stripped[-1] in "])}":
        try:
            value = ast.literal_eval(stripped) if len(stripped) < 100_000 else None
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return text
        if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], str):
            return value[0].strip() or None
        if isinstance(value, list | tuple | dict | set):
            return None
    return text
