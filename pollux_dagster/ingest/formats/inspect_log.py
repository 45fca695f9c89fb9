"""Samples of Inspect's logs (UKGovernmentBEIS/inspect_ai on GitHub, src/inspect_ai/log/_log.py: EvalLog, EvalSample).

A log is one JSON document with `eval` and `samples`, or an archive `.eval` with the samples as members (`eval_log`). An
epoch is one more answer to the same sample. A sample that ended with an error has no answer.
"""

from __future__ import annotations

from typing import Any

from pollux_dagster.ingest import rows
from pollux_dagster.ingest.formats.chat import Reply, cut_notes, messages_of, reply_of, transcript_of_roles
from pollux_dagster.ingest.formats.context import FileContext
from pollux_dagster.ingest.formats.failures import failed
from pollux_dagster.ingest.formats.references import reference_among
from pollux_dagster.ingest.landing_records import Instruction, ModelOutput, Record
from pollux_dagster.ingest.rows import Reason, RowRejected

_ATTACHMENT = "attachment://"  # src/inspect_ai/log/_condense.py: long texts lie beside the messages


def is_without_samples(document: Any) -> bool:
    """Whether a document is a log whose list of samples is empty or left out."""
    return isinstance(document, dict) and {"version", "eval"} <= document.keys() and not document.get("samples")


def read_sample(fields: dict[str, Any], context: FileContext) -> list[Record]:
    """One sample in one epoch. The prompt_id is the metadata's, else `<task>:<id>`."""
    attachments = fields.get("attachments")
    fields = _attached(fields, attachments) if isinstance(attachments, dict) and attachments else fields
    task = context.document_task
    sample_id = rows.prompt_id(fields.get("id"), "id")
    metadata = fields.get("metadata")
    if isinstance(metadata, dict) and metadata.get("prompt_id") is not None:
        prompt_id = rows.prompt_id(metadata["prompt_id"], "metadata.prompt_id")
    else:
        prompt_id = f"{task}:{sample_id}" if task else sample_id
    if fields.get("error") is not None:
        raise failed(f"Inspect recorded an error of the sample: {_message(fields['error'])!r:.500}")
    output = fields.get("output")
    if output is None:
        raise failed("the sample ended without an output of the model")
    if not isinstance(output, dict):
        raise rows.reject_type("output", "an object with choices", output)
    if output.get("error"):
        raise failed(f"Inspect recorded an error of the model: {output['error']!r:.500}")
    model_id = context.document_model or rows.model_id(output.get("model"), "output.model")
    asked = _asked(fields)
    epoch = rows.sample_index({"sample_index": fields.get("epoch", 1)})
    replies = _replies(output)
    first = (max(epoch, 1) - 1) * len(replies)
    outputs = [
        ModelOutput(model_id, prompt_id, asked, first + number, reply.text, reply.reasoning)
        for number, reply in enumerate(replies)
    ]
    # An agent submits its answer by a call, and Inspect puts what it submitted into the message.
    stops = [stop for choice in output["choices"] if (stop := choice.get("stop_reason")) != "tool_calls"]
    return [
        Instruction(prompt_id, asked, reference_among(fields.get("target")), task, None, None, None, None),
        *outputs,
        *(note for stop in stops for note in cut_notes(stop)),
    ]


def _asked(fields: dict[str, Any]) -> str:
    """The input, with the choices lettered as the multiple-choice solver shows them."""
    given = fields.get("input")
    if isinstance(given, list):
        asked = transcript_of_roles(messages_of(given, "input"), "input")
    else:
        asked = rows.required_text(fields, "input")
    if not asked.strip():
        raise RowRejected(Reason.MISSING_FIELD, "expected input with text, got blank messages")
    choices = fields.get("choices")
    if choices is None or choices == []:
        return asked
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices) or len(choices) > 26:
        raise rows.reject_type("choices", "a list of at most 26 texts", choices)
    return asked + "\n\n" + "\n".join(f"{chr(ord('A') + n)}) {choice}" for n, choice in enumerate(choices))


def _replies(output: dict[str, Any]) -> list[Reply]:
    choices = output.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise rows.reject_type("output.choices", "a list of choices", choices)
    completion = rows.optional_text(output, "completion")  # what an agent submitted, where it ended in a tool call
    if completion and completion.strip() and len(choices) <= 1:
        said = [_reply(choice, "") for choice in choices if _has_words(choice)]
        return said or [Reply(completion, None)]
    if not choices:
        raise failed("the sample ended without an output of the model")
    return [_reply(choice, choice.get("stop_reason")) for choice in choices]


def _has_words(choice: dict[str, Any]) -> bool:
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    return any(isinstance(p, dict) and p.get("type") == "text" and str(p.get("text") or "").strip() for p in parts)


def _reply(choice: dict[str, Any], stop: object) -> Reply:
    message = choice.get("message")
    if not isinstance(message, dict):
        raise rows.reject_type("output.choices[].message", "an object", message)
    return reply_of(message, message.get("content"), "output.choices[].message.content", finish=stop)


def _message(error: object) -> object:
    return error.get("message", error) if isinstance(error, dict) else error


def _attached(value: Any, attachments: dict[str, Any], depth: int = 0) -> Any:
    """`value` with its references to attachments replaced by their texts."""
    if isinstance(value, str) and value.startswith(_ATTACHMENT):
        text = attachments.get(value.removeprefix(_ATTACHMENT))
        if not isinstance(text, str):
            raise RowRejected(Reason.MISSING_FIELD, f"expected {value!r:.80} among the sample's attachments")
        return text
    if depth > 8:  # deeper than any text of a message
        return value
    if isinstance(value, dict):
        keep = ("id", "epoch", "input", "choices", "target", "output", "error", "metadata") if depth == 0 else value
        return {key: _attached(value[key], attachments, depth + 1) for key in keep if key in value}
    if isinstance(value, list):
        return [_attached(item, attachments, depth + 1) for item in value]
    return value
