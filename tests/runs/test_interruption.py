"""A signal that arrives where Python ignores errors stops the program all the same."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable

import dagster as dg
import duckdb
import pytest

from pollux_dagster.defs.judging import _retried_while_the_server_is_away
from pollux_dagster.judge.server import ServerError
from pollux_dagster.runs.interruption import no_interruption_lost
from pollux_dagster.runs.terminal import is_interruption


class _Referent:
    """Something to drop."""


class _Finalized:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def _stopped_in_a_callback() -> None:
    referent = _Referent()
    kept = weakref.ref(referent, lambda _: signal.raise_signal(signal.SIGINT))
    del referent  # the callback runs, and Python ignores what it raises
    assert kept() is None


def _stopped_in_a_finalizer() -> None:
    _Finalized()


def _work() -> None:
    for _ in range(1_000):  # what would go on to publish
        time.sleep(0.01)


@pytest.mark.parametrize("stop", [_stopped_in_a_callback, _stopped_in_a_finalizer])
def test_a_signal_that_is_ignored_where_it_arrives_is_delivered_again(stop: Callable[[], None]) -> None:
    def run() -> None:
        with no_interruption_lost():
            stop()
            _work()
            pytest.fail("the work was done although somebody had stopped it")

    before = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt):
        run()
    assert sys.unraisablehook is before


def test_one_that_comes_last_is_not_lost_either() -> None:
    with pytest.raises(KeyboardInterrupt), no_interruption_lost():
        _stopped_in_a_callback()


def test_a_step_of_dagster_that_swallowed_it_fails_as_stopped() -> None:
    @dg.op
    def step() -> None:
        _stopped_in_a_callback()
        _work()

    @dg.job
    def job() -> None:
        step()

    with no_interruption_lost():
        result = job.execute_in_process(raise_on_error=False)
    failed = [event for event in result.all_events if event.is_step_failure]
    assert not result.success
    assert is_interruption(failed[0].step_failure_data.error)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_waits_to_retry_is_stopped_at_once(number: signal.Signals) -> None:
    """Left to Dagster, the wait goes on to its end and the step begins again before it is stopped."""

    @dg.asset
    def verdicts() -> None:
        main = threading.main_thread().ident or 0
        threading.Timer(0.3, signal.pthread_kill, (main, number)).start()
        with _retried_while_the_server_is_away(dg.AssetExecutionContext.get()):
            raise ServerError("the engine died")

    result = dg.materialize([verdicts], raise_on_error=False)
    kinds = [event.event_type_value for event in result.all_events]
    assert not {"STEP_UP_FOR_RETRY", "STEP_RESTARTED"} & set(kinds)
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert is_interruption(failed.step_failure_data.error)


def test_a_query_that_a_signal_ends_is_no_failure_of_the_query() -> None:
    """In a process of its own, which the signal reaches while DuckDB works."""
    code = (
        "import duckdb, threading, os, signal\n"
        "from pollux_dagster.runs.interruption import no_interruption_lost\n"
        "with no_interruption_lost():\n"
        "    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "    duckdb.sql('SELECT count(*) FROM range(1000000000) a, range(1000) b').fetchall()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt", done.stderr


def test_other_ignored_errors_are_reported_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda ignored: seen.append(ignored.exc_type))

    def fail(_: object) -> None:
        raise duckdb.Error

    with no_interruption_lost():
        referent = _Referent()
        kept = weakref.ref(referent, fail)
        del referent
    assert kept() is None
    assert seen == [duckdb.Error]
