"""OpenAI batch output: JSONL of `custom_id, response{status_code, body}, error` (platform.openai.com/docs).

custom_id is the prompt_id. The body is a reply of /v1/chat/completions (`choices[].message`), of /v1/completions
(`choices[].text`) or of /v1/responses (`output`, whose items are messages, reasoning and tool calls). A failed request
has no answer: its row is rejected, not counted as an empty answer.
"""

from __future__ import annotations

from typing import Any

from pollux_dagster.ingest import rows
from pollux_dagster.ingest.formats.chat import Reply, content_of, cut_notes, finish_of, refuse_wordless, reply_of
from pollux_dagster.ingest.formats.context import FileContext
from pollux_dagster.ingest.formats.failures import answered, failed
from pollux_dagster.ingest.landing_records import ModelOutput, Record
from pollux_dagster.ingest.rows import Reason, RowRejected


def read_response(fields: dict[str, Any], context: FileContext) -> list[Record]:
    """Each choice of one response as an output; the model is the body's, else the file's."""
    prompt_id = rows.prompt_id(fields.get("custom_id"), "custom_id")
    response = fields.get("response")
    if fields.get("error") is not None or not isinstance(response, dict):
        raise failed(f"the request failed: {fields.get('error')!r:.500}")
    if "status_code" in response or not {"choices", "output"} & response.keys():
        status = response.get("status_code")
        if status != 200:
            raise failed(f"status_code is {status!r}, not 200: {response.get('body')!r:.500}")
        body = response.get("body")
    else:
        body = response  # Fireworks writes the reply itself
    if not isinstance(body, dict):
        raise rows.reject_type("response.body", "an object", body)
    if body.get("error") is not None:
        raise failed(f"the reply is an error: {body['error']!r:.500}")
    model_id = context.model_of(body)
    if "output" in body:
        reply = _responses_reply(body)
        ended = finish_of(body) or next((item.get("type") for item in reversed(body["output"])), None)
        return [ModelOutput(model_id, prompt_id, None, 0, reply.text, reply.reasoning), *cut_notes(ended)]
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise rows.reject_type("response.body.choices", "a list of at least one choice", choices)
    outputs: list[ModelOutput] = []
    for position, choice in enumerate(choices):
        if not isinstance(choice, dict):
            raise rows.reject_type("choices[]", "an object", choice)
        index = rows.sample_index({"sample_index": choice.get("index", position)})
        reply = _choice_reply(choice)
        outputs.append(ModelOutput(model_id, prompt_id, None, index, reply.text, reply.reasoning))
    if len({output.sample_index for output in outputs}) != len(outputs):
        raise RowRejected(Reason.WRONG_TYPE, "expected choices with different indexes, got one index twice")
    return [*outputs, *(note for choice in choices for note in cut_notes(choice.get("finish_reason")))]


def _choice_reply(choice: dict[str, Any]) -> Reply:
    finish = choice.get("finish_reason")
    if "text" in choice and "message" not in choice:
        text = answered(rows.optional_text(choice, "text"))
        if not (text and text.strip()):
            refuse_wordless(finish)
        return Reply(text or "", None)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise rows.reject_type("choices[].message", "an object", message)
    return reply_of(message, message.get("content"), "content", finish=finish)


def _responses_reply(body: dict[str, Any]) -> Reply:
    """The reply of /v1/responses: the text of its messages; reasoning items are the model's reasoning."""
    items = body.get("output")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise rows.reject_type("response.body.output", "a list of items", items)
    texts: list[str] = []
    reasons: list[str] = []
    calls: list[str] = []
    for item in items:
        kind = item.get("type")
        if kind == "message":
            said = content_of(item.get("content"), "output[].content")
            texts += [said.text] if said.text else []
        elif kind == "reasoning":
            reasons += _reasoning_texts(item)
        elif isinstance(kind, str) and kind.endswith("_call"):
            calls.append(item["name"] if isinstance(item.get("name"), str) else kind)
    text = "\n\n".join(texts)
    if not text.strip():
        refuse_wordless(finish_of(body) or body.get("status"), calls=calls)
    return Reply(answered(text), "\n\n".join(reasons) or None)


def _reasoning_texts(item: dict[str, Any]) -> list[str]:
    """A reasoning item's own words where the API gives them, else its summary."""
    for field in ("content", "summary"):
        parts = item.get(field)
        if isinstance(parts, list):
            found = [p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str)]
            if found:
                return found
    return []
