"""Arena files: arena-hard's questions and answers, and battles of two models.

arena-hard-auto (lmarena/arena-hard-auto on GitHub, gen_answer.py and data/arena-hard-v0.1 and -v2.0): questions of
`uid, category, prompt`, answers of `uid, model, messages`, where the model's content is `{"answer": text}`.
Battles: lmarena-ai's and lmsys' data sets on huggingface.co with `model_a, model_b, conversation_a, conversation_b`,
and the Kaggle form with `prompt, response_a, response_b` as JSON lists of turns.
"""

from __future__ import annotations

import json
from typing import Any

from pollux_dagster.ingest import rows
from pollux_dagster.ingest.formats.chat import MODEL, USER, asked_text, messages_of, reply_of, split_conversation
from pollux_dagster.ingest.formats.context import FileContext, text_id
from pollux_dagster.ingest.formats.failures import answered
from pollux_dagster.ingest.formats.fastchat import output_of_turns, transcript
from pollux_dagster.ingest.landing_records import Instruction, ModelOutput, Record
from pollux_dagster.ingest.rows import Reason, RowRejected

_BATTLE_IDS = ("prompt_id", "question_id", "id", "conversation_id")


def read_question(fields: dict[str, Any], context: FileContext) -> list[Record]:
    """An arena-hard question; `cluster` is v0.1's name for what v2.0 calls `subcategory`."""
    prompt_id = rows.prompt_id(fields.get("uid"), "uid")
    subtype = rows.label(fields, "subcategory") or rows.label(fields, "cluster")
    text = rows.required_text(fields, "prompt")
    return [Instruction(prompt_id, text, None, rows.label(fields, "category"), subtype, None, None, None)]


def read_answer(fields: dict[str, Any], context: FileContext) -> list[Record]:
    """An arena-hard answer with the question it answers."""
    prompt_id = rows.prompt_id(fields.get("uid"), "uid")
    asked, message = split_conversation(messages_of(fields.get("messages"), "messages"), "messages")
    reply = reply_of(message.fields, message.content, "messages[].content")
    return [
        Instruction(prompt_id, asked, None, None, None, None, None, None),
        ModelOutput(context.model_of(fields), prompt_id, asked, 0, reply.text, reply.reasoning),
    ]


def read_battle(fields: dict[str, Any], context: FileContext) -> list[Record]:
    """One battle: two models' answers to the same turns. Several turns are numbered, as in FastChat's files."""
    sides: list[tuple[str, str, list[str | None], str | None]] = []
    for side in "ab":
        model = rows.model_id(fields.get(f"model_{side}"), f"model_{side}")
        if f"conversation_{side}" in fields:
            asked, turns, reasoning = _turns(fields[f"conversation_{side}"], f"conversation_{side}")
        else:
            asked = transcript([text or "" for text in _json_turns(fields.get("prompt"), "prompt")]) or ""
            turns = [answered(t) for t in _json_turns(fields.get(f"response_{side}"), f"response_{side}")]
            reasoning = None
        sides.append((model, asked, turns, reasoning))
    asked = sides[0][1]
    if not asked.strip():
        raise RowRejected(Reason.MISSING_FIELD, "expected a message of the user with text, got blank ones")
    if sides[1][1] != asked:
        raise RowRejected(Reason.WRONG_TYPE, "expected both conversations to ask the same, got different user turns")
    named = next((f for f in _BATTLE_IDS if fields.get(f) is not None), None)
    prompt_id = rows.prompt_id(fields[named], named) if named else text_id(asked)
    same = sides[0][0] == sides[1][0]
    outputs = [
        output_of_turns(ModelOutput(model, prompt_id, asked, number if same else 0, None, reasoning), turns)
        for number, (model, _, turns, reasoning) in enumerate(sides)
    ]
    return [Instruction(prompt_id, asked, None, None, None, None, None, None), *outputs]


def _turns(conversation: object, field: str) -> tuple[str, list[str | None], str | None]:
    """The user's turns, the model's turns and its reasoning."""
    messages = messages_of(conversation, field)
    asked = [asked_text(m.content, field) for m in messages if m.role != MODEL]
    replies = [reply_of(m.fields, m.content, field) for m in messages if m.role == MODEL]
    if not replies or not any(m.role == USER for m in messages):
        raise RowRejected(Reason.MISSING_FIELD, f"expected messages of a user and of a model in {field}")
    reasoning = "\n\n".join(reply.reasoning for reply in replies if reply.reasoning) or None
    return transcript([*asked]) or "", [reply.text for reply in replies], reasoning


def _json_turns(value: object, field: str) -> list[str | None]:
    """Turns as a list, as JSON text of a list, or a single turn as text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise rows.reject_type(field, "a JSON list of turns", value) from None
    turns = [value] if isinstance(value, str) else value
    if not isinstance(turns, list) or not turns or not all(t is None or isinstance(t, str) for t in turns):
        raise rows.reject_type(field, "a list of turns of text", value)
    for turn in turns:
        rows.check_text(turn)
    return turns
