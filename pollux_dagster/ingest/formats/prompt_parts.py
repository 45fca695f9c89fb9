"""A prompt that a row keeps in several fields: what the model was given, as one text.

`system` and `history` are those of LLaMA-Factory's Alpaca form (hiyouga/LLaMA-Factory on GitHub, data/README.md),
`context` that of Dolly (huggingface.co/datasets/databricks/databricks-dolly-15k) and of sets of questions about a text,
`retrieved_context` that of POLLUX's Batch Report. Without them a judge would read another question than the model did.
"""

from __future__ import annotations

from typing import Any

from pollux_dagster.ingest.formats.chat import MODEL, SYSTEM, USER, Message, messages_of, transcript_of_roles
from pollux_dagster.ingest.formats.chat_templates import is_default_system
from pollux_dagster.ingest.rows import reject_type

_SYSTEM_FIELDS = ("system_prompt", "system_message", "system")
_CONTEXT_FIELDS = ("context", "contexts", "retrieved_context")


def whole_prompt(fields: dict[str, Any], text: str) -> str:
    """`text` with the context before it, and, where there are a system message or earlier turns, these as a chat.

    What `text` already holds is not repeated. Raises RowRejected for a history that cannot be read.
    """
    for field in _CONTEXT_FIELDS:
        given = _joined(fields.get(field))
        if given.strip() and given.strip() not in text:
            text = f"{given}\n\n{text}"
    messages = [*system_message(fields, text), *_history(fields.get("history"))]
    return transcript_of_roles([*messages, Message(USER, {}, text)], "history") if messages else text


def system_message(fields: dict[str, Any], text: str = "") -> list[Message]:
    """The system message that lies beside a prompt, where it says something that `text` does not; a list of at most 1.

    A single word is the name of a system.
    """
    for field in _SYSTEM_FIELDS:
        value = fields.get(field)
        told = value.strip() if isinstance(value, str) else ""
        if " " in told and told not in text and not is_default_system(told):
            return [Message(SYSTEM, {}, value)]
    return []


def _joined(value: object) -> str:
    """A text, or a list of texts as paragraphs; anything else is about the row and no part of the prompt."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n\n".join(value)
    return value if isinstance(value, str) else ""


def _history(value: object) -> list[Message]:
    """Earlier turns: messages, or pairs of a question and its answer."""
    if not isinstance(value, list) or not value:
        return []
    if isinstance(value[0], dict):
        return messages_of(value, "history")
    turns: list[Message] = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(turn, str) for turn in pair):
            raise reject_type("history", "messages, or pairs of a question and its answer", value)
        turns += [Message(USER, {}, pair[0]), Message(MODEL, {}, pair[1])]
    return turns
