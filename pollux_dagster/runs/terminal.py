"""What a run prints: one plain line per message of the project; Dagster's engine events only when requested."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import dagster as dg

from pollux_dagster.core.text import escaped
from pollux_dagster.judge.progress import PROGRESS_BEGINS, PROGRESS_SECONDS, every, format_briefly
from pollux_dagster.judge.progress import Progress as Judged
from pollux_dagster.runs.dagster_internals.execution import SerializableErrorInfo
from pollux_dagster.runs.interruption import INTERRUPTIONS

if TYPE_CHECKING:
    from rich.progress import Progress

_OUR_CLASS = re.compile(r"\A(?:pollux_dagster(?:\.\w+)+|dagster\._core\.definitions\.events\.Failure): ")


class _Line(logging.Formatter):
    """Time and message. Control characters are shown as escapes, because messages may quote text from outside.

    `says_causes`: of a failed step, why; otherwise whoever runs it says so at the end.
    """

    def __init__(self, says_causes: bool = True) -> None:
        super().__init__()
        self._says_causes = says_causes

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        message = str(meta.get("orig_message") or record.getMessage())
        event = meta.get("dagster_event")
        if event is not None and event.is_step_failure and not self._says_causes:
            message = f"{event.step_key} failed"
        elif event is not None and event.is_step_failure:
            message = f"{message} {cause(event.step_failure_data.error)}"
        # Indented, so that no line inside a message looks like a message of its own.
        shown = escaped(message, keep="\n").replace("\n", "\n" + " " * 10)
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"{self.formatTime(record, '%H:%M:%S')}  {level}{shown}"


class _Lines(logging.StreamHandler[TextIO]):
    """Writes lines to a stream, or above the bar where one is shown on it, which says itself what is judged."""

    def emit(self, record: logging.LogRecord) -> None:
        if not _shown:
            super().emit(record)
        elif not str(getattr(record, "dagster_meta", {}).get("orig_message", "")).startswith(PROGRESS_BEGINS):
            from rich.text import Text

            _shown[-1].console.print(Text(self.format(record)), soft_wrap=True)


_shown: list[Progress] = []
_screen: list[TextIO] = []


def keep_screen() -> None:
    """Keep the terminal of standard error, if it is one, for the bar: Dagster points the stream to a file in a step."""
    if not _screen and sys.stderr.isatty():
        _screen.append(os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8"))


@contextmanager
def progress_told(say: Callable[[str], None]) -> Iterator[Callable[[Judged], None]]:
    """A listener to the progress of judging while the block lasts: a line for `say` every two seconds, on a kept screen
    a bar instead of the printed lines, and how much is kept where somebody stops it.
    """
    heard: list[Judged] = []
    with _shown_progress(say) as show:

        def listen(judged: Judged) -> None:
            heard[:] = [judged]
            show(judged)

        try:
            yield listen
        except Exception:
            raise
        except BaseException:
            if heard:
                say(f"stopped: {heard[0].done:,} of {heard[0].total:,} verdicts are kept")
            raise


@contextmanager
def _shown_progress(say: Callable[[str], None]) -> Iterator[Callable[[Judged], None]]:
    from rich.console import Console  # most processes that load this module judge nothing
    from rich.progress import BarColumn, Progress, TextColumn

    lines = every(PROGRESS_SECONDS, say)
    if not _screen:
        yield lines
        return
    console = Console(file=_screen[0], force_terminal=True)
    # Transient: what remains on the screen is the last line.
    with Progress(BarColumn(), TextColumn("{task.description}"), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def listen(judged: Judged) -> None:
            bar.update(task, completed=judged.done, total=judged.total, description=format_briefly(judged))
            if judged.done == judged.total and bar in _shown:
                _shown.remove(bar)
                bar.stop()
            lines(judged)

        _shown.append(bar)
        try:
            yield listen
        finally:
            if bar in _shown:
                _shown.remove(bar)


def _own_or_failure(record: logging.LogRecord) -> bool:
    """Of the engine's events, pass only the failure that started it; the ones that follow add nothing. That somebody
    stopped the run is no failure, and whoever did knows it.
    """
    meta = getattr(record, "dagster_meta", {})
    event = meta.get("dagster_event")
    if event is not None:
        return bool(event.is_step_failure) and not is_interruption(event.step_failure_data.error)
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
    config_schema={
        "log_level": dg.Field(str, default_value="INFO", is_required=False),
        "says_causes": dg.Field(bool, default_value=True, is_required=False),
    },
    description="One line per message on standard error.",
)
def terminal_logger(init_context: dg.InitLoggerContext) -> logging.Logger:
    """The console logger of every job of this project."""
    logger = logging.getLogger("pollux_dagster.run")
    logger.setLevel(init_context.logger_config["log_level"])
    logger.propagate = False
    if not logger.handlers:
        handler = _Lines(sys.stderr)
        handler.setFormatter(_Line(init_context.logger_config["says_causes"]))
        handler.addFilter(_own_or_failure)
        logger.addHandler(handler)
    return logger


def with_plain_lines(run_config: Mapping[str, object], *, says_causes: bool = True) -> Mapping[str, object]:
    """A run's config with the console logger added, unless it names loggers itself. `says_causes`: whether its lines
    say why a step failed.

    Where the config names no logger, as in every run that the daemon launches, Dagster uses a logger of its own, which
    prints everything down to DEBUG. Causes are said unless the config forbids it, so that the config of a job whose
    console logger is Dagster's own is valid too.
    """
    silent = {} if says_causes else {"says_causes": False}
    return {"loggers": {"console": {"config": {"log_level": "INFO", **silent}}}, **run_config}
