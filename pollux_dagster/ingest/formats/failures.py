"""What tools write where a model gave no answer. Such a text is rejected as `failed_response` and never judged.

Each marker is here once, with the source that writes it. A text counts as a marker only as a whole, or by an opening
that no model writes; a model that mentions one in its answer is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pollux_dagster.ingest.landing_records import ModelOutput, Note, Record
from pollux_dagster.ingest.rows import Reason, RowRejected

# lm-sys/FastChat, llm_judge/common.py: API_ERROR_OUTPUT, after the API failed at every attempt.
_FASTCHAT_API = "$ERROR$"
# lm-sys/FastChat, llm_judge/gen_model_answer.py: the output where generation raised a RuntimeError.
_FASTCHAT_RUNTIME = "ERROR"
# lm-sys/FastChat, constants.py: what serve/gradio_web_server.py and the arena's logs hold in place of an answer. Some
# are followed by an error code or a reason.
_FASTCHAT_SERVER = re.compile(
    r"\s*+(?:"
    r"\*\*NETWORK ERROR DUE TO HIGH TRAFFIC"  # SERVER_ERROR_MSG
    r"|\$MODERATION\$ "  # MODERATION_MSG, TEXT_MODERATION_MSG, IMAGE_MODERATION_MSG
    r"|YOUR INPUT VIOLATES OUR CONTENT MODERATION GUIDELINES"  # MODERATION_MSG of earlier versions
    r"|YOU HAVE REACHED THE CONVERSATION LENGTH LIMIT\."  # CONVERSATION_LIMIT_MSG
    r"|THIS SESSION HAS BEEN INACTIVE FOR TOO LONG\."  # INACTIVE_MSG
    r"|\*\*RATE LIMIT OF THIS MODEL IS REACHED"  # RATE_LIMIT_MSG
    r")"
)
# Microsoft and Google spreadsheets write these into a cell whose formula has no value, the first by opening a text that
# begins with `=`, `+` or `-`. Excel writes them in the language of its user.
SPREADSHEET_ERRORS = frozenset(
    {"#NAME?", "#REF!", "#VALUE!", "#N/A", "#DIV/0!", "#NULL!", "#NUM!", "#SPILL!", "#CALC!", "#ERROR!", "#BUSY!"}
    | {"#GETTING_DATA", "#ИМЯ?", "#ССЫЛКА!", "#ЗНАЧ!", "#Н/Д", "#ДЕЛ/0!", "#ПУСТО!", "#ЧИСЛО!", "#ПЕРЕНОС!"}
)
_ERROR_FIELDS = ("error", "error_message", "errors", "exception")
_NO_ERRORS = frozenset({"", "none", "null", "nan", "false", "no", "0", "нет"})
_FAILED_STATUSES = frozenset({"failed", "fail", "failure", "error", "timeout", "cancelled", "expired"})
_EMPTY = "empty_answer"
_NULL = 'it is null, which is written where no text came; if the model did answer with nothing, write an empty text, ""'
_EMPTY_CELL = (
    "the answer's cell is empty and judged as an empty answer; a table does not tell it from an answer that never "
    "came: delete the row if the request failed"
)
_LONGEST_MARKER = max(map(len, (*SPREADSHEET_ERRORS, _FASTCHAT_API)))
# Tools that record a failed request as an empty text. Local models leave answers empty too (22 of 805 of gemma-2b-it in
# AlpacaEval's repository), and a mean without these would be too high: the text is an answer, and a note names it.
EMPTY_WHEN_FAILED = {
    # tatsu-lab/alpaca_eval, decoders/openai.py and anthropic.py ("Returning empty completion"), cohere.py (" ").
    "AlpacaEval": "AlpacaEval writes an empty output for a failed or filtered request",
    # open-compass/opencompass, models/openai_api.py: `return ''` for a refused or filtered prompt.
    "OpenCompass": "OpenCompass writes an empty prediction for a refused or filtered prompt",
    # huggingface/lighteval, models/endpoints/litellm_model.py and inference_providers_model.py.
    "LightEval": "LightEval writes an empty text for a failed request",
}


def failed(why: str) -> RowRejected:
    """The rejection of a row in place of whose answer something failed."""
    return RowRejected(Reason.FAILED_RESPONSE, f"expected an answer of the model: {why}")


def marker_in(text: str | None) -> str | None:
    """What the text says instead of an answer, whichever format it came in; None where it may be an answer."""
    if not text:
        return None
    if len(text) <= 2 * _LONGEST_MARKER:
        whole = text.strip()
        if whole == _FASTCHAT_API:
            return "$ERROR$ is what FastChat writes where the API failed"
        if whole.startswith("#") and whole.upper() in SPREADSHEET_ERRORS:
            return f"{whole} is a spreadsheet's error: restore the text and import the column as text"
    if _FASTCHAT_SERVER.match(text):
        return f"FastChat's server wrote {text.strip()[:60]!r} in place of an answer"
    return None


def answered(text: str | None, *, by: str | None = None) -> str | None:
    """The text itself. Raises RowRejected where it is the marker of a failure; `by` names the tool, if one is known."""
    found = marker_in(text)
    if found is None and by == "FastChat" and text == _FASTCHAT_RUNTIME:
        found = "ERROR is what FastChat writes where generation raised an error"
    if found is not None:
        raise failed(found)
    return text


def with_every_answer(records: list[Record], *, from_table: bool) -> list[Record]:
    """A row's records, in which no answer is null. Null is written where no text came: it is no answer of the model.

    Null beside reasoning is reasoning that never came to an answer, as a server with a reasoning parser returns it. In
    a text table or a workbook an answer of no words and none at all are the same empty cell: it is judged as empty,
    with a note. Raises RowRejected for any other null.
    """
    found: list[Record] = []
    for record in records:
        if type(record) is ModelOutput and record.answer is None:
            if not (record.reasoning or from_table):
                raise failed(_NULL)
            record = record._replace(answer="", reasoning_unclosed=bool(record.reasoning))
            if not record.reasoning and not any(type(r) is Note and r.kind == _EMPTY for r in records):
                found.append(Note(_EMPTY, _EMPTY_CELL))
        found.append(record)
    return found


def refuse_errors(fields: Mapping[str, Any]) -> None:
    """Raise RowRejected where a row without an answer says in a field of its own that the request failed: scripts that
    ask an API write `error` beside the answer that did not come.
    """
    error = next((fields[name] for name in _ERROR_FIELDS if fields.get(name)), None)
    if error is not None and str(error).strip().lower() not in _NO_ERRORS:
        raise failed(f"the answer is empty and the row says error: {error!r:.300}")
    status = fields.get("status")
    if isinstance(status, str) and status.strip().lower() in _FAILED_STATUSES:
        raise failed(f"the answer is empty and the row says status: {status!r:.50}")


def doubts_about(text: str | None, *, by: str) -> list[Note]:
    """A note on an empty text of a tool that also writes it where the request failed; none on any other."""
    if text and text.strip():
        return []
    return [Note(_EMPTY, f"the answer is empty and judged as that; if the request failed, delete the row: "
                 f"{EMPTY_WHEN_FAILED[by]}")]  # fmt: skip
