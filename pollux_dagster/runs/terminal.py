"""What a run prints: one plain line per message of the project; Dagster's engine events only when requested."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping

import dagster as dg

from pollux_dagster.core.text import escaped
from pollux_dagster.runs.dagster_internals.execution import SerializableErrorInfo
from pollux_dagster.runs.interruption import INTERRUPTIONS

_OUR_CLASS = re.compile(r"\Apollux_dagster(?:\.\w+)+: ")


class _Line(logging.Formatter):
    """Time and message. Control characters are shown as escapes, because messages may quote text from outside."""

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        message = str(meta.get("orig_message") or record.getMessage())
        event = meta.get("dagster_event")
        if event is not None and event.is_step_failure:
            message = f"{message} {cause(event.step_failure_data.error)}"
        # Indented, so that no line inside a message looks like a message of its own.
        shown = escaped(message, keep="\n").replace("\n", "\n" + " " * 10)
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"{self.formatTime(record, '%H:%M:%S')}  {level}{shown}"


def _own_or_failure(record: logging.LogRecord) -> bool:
    """Of the engine's events, pass only the failure that started it; the ones that follow add nothing."""
    meta = getattr(record, "dagster_meta", {})
    event = meta.get("dagster_event")
    if event is not None:
        return bool(event.is_step_failure)
    return not str(meta.get("orig_message", "")).startswith("Dependencies for step ")


def is_interruption(error: SerializableErrorInfo | None) -> bool:
    """Whether somebody stopped the process of the run (Ctrl-C, SIGTERM)."""
    while error is not None:
        in_duckdb = error.cls_name == "RuntimeError" and error.message.strip().endswith("Query interrupted")
        if in_duckdb or error.cls_name in INTERRUPTIONS:
            return True
        error = error.cause
    return False


def cause(error: SerializableErrorInfo | None) -> str:
    """The message of the outermost error that is not Dagster's wrapper: ours say what to do, their causes do not.

    Without the name of the error's class where it is ours: the sentence says it all.
    """
    while error is not None and error.cause is not None and _is_wrapping(error):
        error = error.cause
    if is_interruption(error):
        return "it was stopped; what was judged is kept, and the next run goes on from there"
    return _OUR_CLASS.sub("", error.message.strip()) if error is not None else ""


def _is_wrapping(error: SerializableErrorInfo) -> bool:
    return (error.cls_name or "").startswith(("Dagster", "RetryRequested"))


@dg.logger(
    config_schema={"log_level": dg.Field(str, default_value="INFO", is_required=False)},
    description="One line per message on standard error.",
)
def terminal_logger(init_context: dg.InitLoggerContext) -> logging.Logger:
    """The console logger of every job of this project."""
    logger = logging.getLogger("pollux_dagster.run")
    logger.setLevel(init_context.logger_config["log_level"])
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Line())
        handler.addFilter(_own_or_failure)
        logger.addHandler(handler)
    return logger


def with_plain_lines(run_config: Mapping[str, object]) -> Mapping[str, object]:
    """A run's config with the console logger added, unless it names loggers itself.

    Where the config names no logger, as in every run that the daemon launches, Dagster uses a logger of its own, which
    prints everything down to DEBUG.
    """
    return {"loggers": {"console": {"config": {"log_level": "INFO"}}}, **run_config}
