"""What a failure looks like in the terminal: the project's own words, not what they were made from."""

from __future__ import annotations

import logging
import sys

import dagster as dg
import pytest

from pollux_dagster.defs.terminal import terminal_logger


class OurError(RuntimeError):
    """Says what to do."""


@pytest.mark.parametrize("retried", [False, True])
def test_a_failure_is_told_in_our_words_and_not_in_those_of_its_cause(
    retried: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    @dg.op
    def fails() -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            ours = OurError("the disk is full: free space and run again")
            ours.__cause__ = error
            if retried:
                raise dg.RetryRequested(max_retries=1, seconds_to_wait=0) from ours
            raise ours from error

    @dg.job(logger_defs={"console": terminal_logger})
    def job() -> None:
        fails()

    logging.getLogger("pollux_dagster.run").handlers.clear()  # a handler keeps the stream it was made with
    assert sys.stderr is not None
    assert not job.execute_in_process(
        run_config={"loggers": {"console": {"config": {"log_level": "INFO"}}}}, raise_on_error=False
    ).success
    logging.getLogger("pollux_dagster.run").handlers.clear()
    printed = capsys.readouterr().err
    assert "free space and run again" in printed
    assert "No space left" not in printed
