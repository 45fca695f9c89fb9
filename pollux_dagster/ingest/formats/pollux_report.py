"""POLLUX's Batch Report: JSONL of a judge's verdicts beside the texts that were judged (github.com/ai-forever/POLLUX,
demo/pollux-demo.html and demo/serve_pollux_demo.py).

`judge`, `model`, `score`, `score_raw` and `reasoning` are the judge's and not read: the texts are judged here. A report
does not say who answered, unless a field `model_id` was added to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pollux_dagster.ingest import rows
from pollux_dagster.ingest.formats.context import FileContext
from pollux_dagster.ingest.formats.pollux import read_judged
from pollux_dagster.ingest.formats.prompt_parts import whole_prompt
from pollux_dagster.ingest.landing_records import Record
from pollux_dagster.ingest.rows import Reason, RowRejected

_BY_A_JUDGE = ("judge", "score_raw", "parse_error", "gold_score")
_JUDGES = ("judge", "model")
_ANSWERED_BY = ("model_id", "generator")


def is_verdict(fields: dict[str, Any]) -> bool:
    """Whether a row holds a judge's score of an answer, or of two answers, beside the texts."""
    return (
        {"instruction", "score"} <= fields.keys()
        and ("answer" in fields or "answer_1" in fields)
        and any(name in fields for name in _BY_A_JUDGE)
        and fields.get("annotator") is None  # a person's table, which may name the judge too
    )


def is_reply(fields: dict[str, Any]) -> bool:
    """Whether a row is a judge's reply with what it is about, as src/score.py of the same repository writes them."""
    meta = fields.get("meta")
    return "response" in fields and isinstance(meta, dict) and {"prompt_id", "criteria_name"} <= meta.keys()


def refuse_without_answerer(context: FileContext, first: Sequence[dict[str, Any]]) -> str | None:
    """Why a report is not read in which nothing says who answered."""
    if _stated(context, first) is not None or any(f.get(name) is not None for f in first for name in _ANSWERED_BY):
        return None
    return (
        "a POLLUX Batch Report, in which `judge` and `model` name the judge, and nothing names the model that "
        "answered. Name it in a field `model_id`, or as `model` of this file in a landing.toml"
    )


def read_verdict(fields: dict[str, Any], context: FileContext) -> list[Record]:
    """One judged answer with its instruction and criterion; `gold_score` is a person's score. The context of a RAG row
    stands before its instruction, as the judge was given it. Raises RowRejected for a comparison of two answers.
    """
    if "answer" not in fields:
        raise RowRejected(
            Reason.WRONG_TYPE, "expected one answer, got a comparison of answer_1 and answer_2: write a row for each"
        )
    asked = whole_prompt(fields, rows.required_text(fields, "instruction"))
    model = _answerer(fields) or _stated(context, [fields])
    if model is None:
        raise RowRejected(Reason.MISSING_FIELD, "expected model_id, the model that answered (`model` is the judge)")
    judged = {**fields, "instruction": asked, "model_id": model, "criteria_score": fields.get("gold_score")}
    if judged["criteria_score"] is not None and fields.get("criteria_name") is None:
        raise RowRejected(Reason.MISSING_FIELD, "expected criteria_name: what gold_score is a score of")
    return read_judged(judged, context, annotator="gold")


def _answerer(fields: dict[str, Any]) -> str | None:
    named = next((name for name in _ANSWERED_BY if fields.get(name) is not None), None)
    return rows.model_id(fields[named], named) if named is not None else None


def _stated(context: FileContext, first: Sequence[dict[str, Any]]) -> str | None:
    """The model that a landing.toml states; a document's own `model` is the judge, as the rows' is."""
    judges = {fields.get(name) for fields in first for name in _JUDGES if isinstance(fields.get(name), str)}
    return None if context.document_model in judges else context.document_model
