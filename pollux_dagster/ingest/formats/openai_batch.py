"""OpenAI batch output: JSONL of `custom_id, response{status_code, body}, error` (platform.openai.com/docs).

custom_id is the prompt_id. A failed request has no answer: its row is rejected, not counted as an empty answer.
"""

from __future__ import annotations

from typing import Any

from pollux_dagster.ingest import rows
from pollux_dagster.ingest.formats.context import FileContext
from pollux_dagster.ingest.landing_records import ModelOutput, Record
from pollux_dagster.ingest.rows import Reason, RowRejected


def read_response(fields: dict[str, Any], context: FileContext) -> list[Record]:
    """Each choice of one response as an output; the model is the body's, else the file's."""
    prompt_id = rows.prompt_id(fields.get("custom_id"), "custom_id")
    response = fields.get("response")
    if fields.get("error") is not None or not isinstance(response, dict):
        raise RowRejected(Reason.FAILED_RESPONSE, f"the request failed: {fields.get('error')!r:.500}")
    status = response.get("status_code")
    if status != 200:
        detail = f"expected status_code 200, got {status!r}: {response.get('body')!r:.500}"
        raise RowRejected(Reason.FAILED_RESPONSE, detail)
    body = response.get("body")
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(choices, list) or not choices:
        raise rows.reject_type("response.body.choices", "a list of at least one choice", choices)
    model_id = context.model_of(body)
    outputs: list[ModelOutput] = []
    for position, choice in enumerate(choices):
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise rows.reject_type("choices[].message", "an object", message)
        index = rows.sample_index({"sample_index": choice.get("index", position)})
        outputs.append(ModelOutput(model_id, prompt_id, None, index, rows.optional_text(message, "content")))
    if len({output.sample_index for output in outputs}) != len(outputs):
        raise RowRejected(Reason.WRONG_TYPE, "expected choices with different indexes, got one index twice")
    return [*outputs]
