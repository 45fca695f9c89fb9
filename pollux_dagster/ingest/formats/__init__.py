"""What the rows of each landing format mean, one module per family of formats. `containers` reads the files.

Each reader is a function of one row and the file's context; it returns records or raises RowRejected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pollux_dagster.ingest.detect import Format
from pollux_dagster.ingest.formats import alpaca_eval, fastchat, lm_eval, openai_batch, pollux
from pollux_dagster.ingest.formats.context import FileContext
from pollux_dagster.ingest.landing_records import Record

RowReader = Callable[[dict[str, Any], FileContext], list[Record]]

READERS: dict[Format, RowReader] = {
    Format.POLLUX_INSTRUCTIONS: pollux.read_instruction,
    Format.POLLUX_WIDE: pollux.read_wide,
    Format.ANSWERS: pollux.read_answer,
    Format.HUMAN_SCORES: pollux.read_human_score,
    Format.FASTCHAT_QUESTIONS: fastchat.read_question,
    Format.FASTCHAT_ANSWERS: fastchat.read_answers,
    Format.ALPACA_EVAL: alpaca_eval.read_output,
    Format.LM_EVAL: lm_eval.read_sample,
    Format.OPENAI_BATCH: openai_batch.read_response,
}
