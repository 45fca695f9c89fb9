"""Judging a stream of answers against a peer that misbehaves: every request ends in exactly one verdict."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pollux_dagster.core.profiles import PROFILES
from pollux_dagster.core.prompts import render
from pollux_dagster.judge import recovery
from pollux_dagster.judge.client import WireLimits
from pollux_dagster.judge.evaluate import (
    Answer,
    Criterion,
    EvaluationError,
    EvaluationLimits,
    EvaluationReport,
    evaluate,
)
from pollux_dagster.judge.ledger import Ledger
from pollux_dagster.judge.progress import Progress, RateWindow, format_progress
from pollux_dagster.judge.retry import RetryPolicy
from pollux_dagster.judge.server import (
    RestartRefusedError,
    ServerHandle,
    attached_server,
    cpu_vllm_spec,
    managed_server,
)
from tests.judge.fake_judge import (
    KEY,
    LEVELS,
    Answering,
    Call,
    FakeJudge,
    Raw,
    answer_well,
    as_json,
    completion,
    error,
    replying,
    score_of,
)

PROFILE = PROFILES["pollux-4b"]
PROFILE = replace(PROFILE, sampling=replace(PROFILE.sampling, max_tokens=256))
CRITERIA = {
    name: Criterion(name, f"Критерий {name}", "0: нет\n1: так себе\n2: да", LEVELS, is_gate=name == "gate")
    for name in ("gate", "first", "second")
}
COUNTING = {"generation_tokens_total": 5.0}  # the metrics of an engine that would tell if it wrote something
QUICK = EvaluationLimits(
    wire=WireLimits(connect_s=1.0, first_byte_s=2.0, body_s=0.2, max_reply_bytes=50_000),
    retry=RetryPolicy(first_wait_s=0.005, longest_wait_s=0.05),
)


def make_answers(count: int, start: int = 0) -> Iterator[Answer]:
    for number in range(start, start + count):
        requests = [(f"{number}-{criterion}", criterion) for criterion in CRITERIA]
        yield Answer(f"Задание {number}", "Эталон" if number % 2 else None, f"Ответ {number}", requests)


def prompt_of(answer: Answer, criterion_id: str) -> str:
    criterion = CRITERIA[criterion_id]
    return render(
        PROFILE.template,
        answer.instruction,
        answer.reference_answer,
        answer.answer,
        criterion.criteria_name,
        criterion.rubrics,
    )


def right_scores(count: int) -> dict[str, float]:
    return {
        key: score_of(prompt_of(answer, criterion))
        for answer in make_answers(count)
        for key, criterion in answer.requests
    }


@dataclass
class World:
    judge: FakeJudge
    ledger: Ledger
    lines: list[Progress]

    def evaluate(
        self,
        answers: Sequence[Answer] | Iterator[Answer],
        *,
        server: ServerHandle | None = None,
        limits: EvaluationLimits = QUICK,
        total: int = 0,
        cached: int = 0,
    ) -> EvaluationReport:
        def run(handle: ServerHandle) -> EvaluationReport:
            return evaluate(
                answers,
                CRITERIA,
                server=handle,
                profile=PROFILE,
                judge_id="judge-id",
                ledger=self.ledger,
                run_id="run",
                total=total,
                cached=cached,
                progress=self.lines.append,
                limits=limits,
            )

        if server is not None:
            return run(server)
        with attached_server(self.judge.url, KEY) as handle:
            return run(handle)

    def rows(self) -> dict[str, dict[str, Any]]:
        rows = [row for path in self.ledger.segments() for row in pq.read_table(path).to_pylist()]
        assert len({row["verdict_key"] for row in rows}) == len(rows)
        return {row["verdict_key"]: row for row in rows}

    def scores(self) -> dict[str, float | None]:
        return {key: row["score"] for key, row in self.rows().items()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FakeJudge() as judge:
        yield World(judge, Ledger(tmp_path / "ledger"), [])


def test_every_request_becomes_one_verdict_with_everything_to_trace_it_by(world: World) -> None:
    report = world.evaluate(make_answers(20), total=60)
    assert world.scores() == right_scores(20)
    assert (report.requested, report.by_status, report.retries, report.restarts) == (60, {"ok": 60}, 0, 0)
    assert (report.prompt_tokens, report.completion_tokens, report.cached_tokens) == (6_000, 600, 4_800)
    assert report.prefix_cache_hit_share == 0.8
    row = world.rows()["7-first"]
    assert row["rationale"] == "Потому что."
    assert (row["run_id"], row["judge_id"], row["attempts"]) == ("run", "judge-id", 1)
    assert (row["server"], row["system_fingerprint"]) == (f"127.0.0.1:{world.judge.port}", "fp_test")
    assert row["error"] is None


def test_all_criteria_of_an_answer_go_out_together_and_gates_first(world: World) -> None:
    world.evaluate(make_answers(5), limits=replace(QUICK, max_in_flight=1))
    sent = [call.prompt for call in world.judge.calls]
    assert sent == [prompt_of(answer, name) for answer in make_answers(5) for name in ("gate", "first", "second")]


def test_nothing_to_judge_sends_nothing_and_writes_nothing(world: World) -> None:
    report = world.evaluate([])
    assert report.requested == 0
    assert world.judge.calls == []
    assert world.ledger.segments() == []


def test_answers_are_pulled_as_needed_and_the_server_is_not_flooded(world: World) -> None:
    pulled = 0

    def answers() -> Iterator[Answer]:
        nonlocal pulled
        for answer in make_answers(60):
            pulled += 1
            assert 3 * pulled <= len(world.judge.calls) + 8 + 3 + 8
            yield answer

    world.judge.otherwise = lambda call: replace(answer_well(call), wait_s=0.01)
    world.evaluate(answers(), limits=replace(QUICK, max_in_flight=8))
    assert world.judge.most_in_flight <= 8
    assert pulled == 60


def test_memory_does_not_grow_with_the_number_of_requests(world: World) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        world.evaluate(make_answers(count, start=count), limits=replace(QUICK, max_in_flight=16))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        world.judge.calls.clear()
        return size

    world.judge.calls = _Forgetful()
    peak(10)
    assert peak(150) < peak(30) + 500_000


class _Forgetful(list[Call]):
    def append(self, _: Call) -> None:
        return


Fault = Callable[[Call], Raw]
TRANSIENT: dict[str, Answering] = {
    "reset": lambda _: Raw(body=None),
    "reset mid-body": lambda _: Raw(body=b'{"choices"', declared_length=400),
    "stalled": lambda _: Raw(body=b'{"choices"', declared_length=400, stall_s=1.0),
    "429": error(429),
    "429 with a wish": error(429, retry_after="0.05"),
    "500": error(500),
    "502": error(502),
    "503": error(503),
    "504": error(504),
    "408": error(408),
    "empty body": lambda _: Raw(body=b""),
    "HTML": lambda _: Raw(body=b"<html>Bad Gateway</html>"),
    "no choices": lambda _: as_json({"choices": []}),
    "10 MB": replying(content="2" * 10_000_000),
    "aborted": replying(content=None, reasoning=None, finish_reason="abort"),
}


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_passing_fault_costs_an_attempt_and_no_verdict(world: World, fault: str) -> None:
    world.judge.plan = [TRANSIENT[fault]]
    report = world.evaluate(make_answers(2))
    assert world.scores() == right_scores(2)
    assert sorted(row["attempts"] for row in world.rows().values()) == [1, 1, 1, 1, 1, 2]
    assert report.retries == 1


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_faults_of_every_kind_at_any_rate_change_no_score(world: World, rate: float) -> None:
    source = random.Random(f"faults at {rate}")
    faults = [fault for name, fault in TRANSIENT.items() if name not in ("stalled", "10 MB")]

    def sometimes(call: Call) -> Raw:
        return source.choice(faults)(call) if source.random() < rate else answer_well(call)

    world.judge.otherwise = sometimes
    report = world.evaluate(make_answers(60))
    assert world.scores() == right_scores(60)
    assert report.by_status == {"ok": 180}
    assert report.restarts == 0


def test_a_servers_wish_to_be_left_alone_is_respected(world: World) -> None:
    world.judge.plan = [error(429, retry_after="1")]
    world.evaluate(make_answers(1), limits=replace(QUICK, max_in_flight=1))
    first, second = world.judge.calls[:2]
    assert second.at - first.at >= 1.0


def test_a_refusal_is_not_repeated(world: World) -> None:
    world.judge.plan = [error(400, "bad prompt")]
    world.evaluate(make_answers(1), limits=replace(QUICK, max_in_flight=1))
    row = world.rows()["0-gate"]
    assert (row["status"], row["score"], row["attempts"]) == ("refused_by_server", None, 1)
    assert "bad prompt" in row["error"]
    assert len(world.judge.calls) == 3


def test_a_request_that_never_works_ends_as_a_transport_error_with_the_last_reason(world: World) -> None:
    def poisoned(call: Call) -> Raw:
        return error(500, "poison")(call) if "Задание 3" in call.prompt else answer_well(call)

    world.judge.otherwise = poisoned
    report = world.evaluate(make_answers(20), limits=replace(QUICK, retry=RetryPolicy(4, 0.005, 0.01)))
    assert report.by_status == {"ok": 57, "transport_error": 3}
    row = world.rows()["3-first"]
    assert (row["score"], row["attempts"]) == (None, 4)
    assert "after 4 attempts" in row["error"]
    assert "poison" in row["error"]


@pytest.mark.parametrize(
    ("bad", "status", "changed"),
    [
        (replying(content=None, reasoning="Долго думаю", finish_reason="length"), "truncated", "max_tokens"),
        (
            replying(content=None, reasoning="ой " * 300, finish_reason="length"),
            "repetition",
            "repetition_penalty",
        ),
        (replying(content="два"), "unparseable", "temperature"),
        (replying(content="0 1 2"), "unparseable", "temperature"),
        (replying(content=None, reasoning=None), "unparseable", "temperature"),
    ],
)
def test_a_bad_reply_is_asked_for_once_more_in_another_way(
    world: World, bad: Answering, status: str, changed: str
) -> None:
    world.judge.plan = [bad]
    world.evaluate(make_answers(1), limits=replace(QUICK, max_in_flight=1))
    first, second = world.judge.calls[:2]
    assert first.body[changed] != second.body[changed]
    assert world.scores() == right_scores(1)
    row = world.rows()["0-gate"]
    assert (row["attempts"], row["prompt_tokens"], row["completion_tokens"]) == (2, 200, 20)

    world.judge.plan = [bad, bad]
    world.judge.calls.clear()
    world.evaluate(make_answers(1, start=1), limits=replace(QUICK, max_in_flight=1))
    row = world.rows()["1-gate"]
    assert (row["status"], row["score"], row["attempts"]) == (status, None, 2)
    assert row["error"]
    assert len(world.judge.calls) == 4


def test_a_score_outside_the_rubric_is_kept_as_a_failure_with_its_text(world: World) -> None:
    world.judge.plan = [replying(content="\n\n7")]
    world.evaluate(make_answers(1), limits=replace(QUICK, max_in_flight=1))
    row = world.rows()["0-gate"]
    assert (row["status"], row["score"], row["raw_text"]) == ("off_scale", None, "\n\n7")


def test_a_reply_meant_for_another_request_is_never_taken(world: World) -> None:
    waiting: list[str] = []

    def mixed_up(call: Call) -> Raw:
        waiting.append(call.request_id)
        if len(waiting) % 4 == 3:
            return as_json(completion(waiting[-2], content="\n\n2"))
        return answer_well(call)

    world.judge.otherwise = mixed_up
    world.evaluate(make_answers(20))
    assert world.scores() == right_scores(20)


def test_a_prompt_too_long_for_the_context_is_not_sent_and_not_cut(world: World) -> None:
    world.judge.max_model_len = 600
    world.judge.token_counts = lambda prompt: 500 if "Задание 1" in prompt else 100
    report = world.evaluate(make_answers(3))
    assert report.by_status == {"context_overflow": 3, "ok": 6}
    row = world.rows()["1-gate"]
    assert (row["attempts"], row["error"][:56]) == (
        0,
        "expected prompt and reply within 600 tokens, got 500 + 2",
    )
    assert not [call for call in world.judge.calls if "Задание 1" in call.prompt]


def test_without_a_tokenizer_the_servers_own_refusal_names_the_overflow(world: World) -> None:
    world.judge.max_model_len = 300
    world.judge.plan = [error(400, "This model's maximum context length is 300 tokens.")]
    world.evaluate(make_answers(1), limits=replace(QUICK, max_in_flight=1))
    assert world.rows()["0-gate"]["status"] == "context_overflow"


def test_a_reply_the_server_cut_to_fit_its_context_is_an_overflow(world: World) -> None:
    world.judge.max_model_len = 300
    world.judge.plan = [replying(content=None, finish_reason="length", usage={"prompt_tokens": 290})]
    world.evaluate(make_answers(1), limits=replace(QUICK, max_in_flight=1))
    assert world.rows()["0-gate"]["status"] == "context_overflow"


def test_a_server_that_refuses_everything_ends_the_evaluation_early_and_says_why(world: World) -> None:
    world.judge.otherwise = error(401, "Invalid key")
    with pytest.raises(EvaluationError, match=r"20 requests in a row; the last one: HTTP 401: Invalid key"):
        world.evaluate(make_answers(200), limits=replace(QUICK, max_in_flight=16))
    assert len(world.judge.calls) < 100


def after(count: int, then: Answering) -> Answering:
    """Answers `count` requests well, then as told."""
    numbers = itertools.count()
    return lambda call: answer_well(call) if next(numbers) < count else then(call)


def test_a_key_revoked_half_way_ends_the_evaluation_and_keeps_what_there_is(world: World) -> None:
    world.judge.otherwise = after(30, error(401, "Key revoked"))
    with pytest.raises(EvaluationError, match=r"20 requests in a row; the last one: HTTP 401: Key revoked"):
        world.evaluate(make_answers(1_000), limits=replace(QUICK, max_in_flight=16))
    assert len(world.judge.calls) < 100
    scores = {key: score for key, score in world.scores().items() if score is not None}
    assert len(scores) == 30
    assert scores.items() <= right_scores(20).items()


def test_a_server_that_only_throttles_ends_the_evaluation_instead_of_being_asked_for_ever(world: World) -> None:
    world.judge.otherwise = after(30, error(503, "no server available"))
    with pytest.raises(EvaluationError, match="given up after 16 attempts, the last one: HTTP 503: no server"):
        world.evaluate(make_answers(1_000), limits=replace(QUICK, max_in_flight=16))
    assert len(world.judge.calls) < 1_000


def test_one_answer_that_is_refused_with_all_its_criteria_does_not_end_the_evaluation(world: World) -> None:
    def choosy(call: Call) -> Raw:
        return error(400, "not this text")(call) if "Плохой" in call.prompt else answer_well(call)

    world.judge.otherwise = choosy
    bad = Answer("Задание", None, "Плохой ответ", [(f"bad-{number}", "first") for number in range(60)])
    report = world.evaluate([*make_answers(2), bad, *make_answers(2, start=2)], limits=replace(QUICK, max_in_flight=4))
    assert report.by_status == {"ok": 12, "refused_by_server": 60}


def test_one_instruction_that_is_refused_with_all_its_answers_does_not_end_the_evaluation(world: World) -> None:
    def choosy(call: Call) -> Raw:
        return error(400, "not this text")(call) if "Запретное" in call.prompt else answer_well(call)

    world.judge.otherwise = choosy
    bad = [replace(answer, instruction="Запретное задание") for answer in make_answers(20, start=4)]
    report = world.evaluate([*make_answers(2), *bad, *make_answers(2, start=2)], limits=replace(QUICK, max_in_flight=4))
    assert report.by_status == {"ok": 12, "refused_by_server": 60}


def test_replies_stopped_by_a_content_filter_are_replies(world: World) -> None:
    world.judge.otherwise = replying(content=None, finish_reason="content_filter")
    assert world.evaluate(make_answers(20)).by_status == {"refused_by_server": 60}


def test_an_unknown_criterion_is_an_error_that_names_it(world: World) -> None:
    with pytest.raises(EvaluationError, match="names criterion 'elsewhere'"):
        world.evaluate([Answer("И", None, "О", [("key", "elsewhere")])])


def test_an_error_in_the_work_order_keeps_the_verdicts_made_before_it(world: World) -> None:
    def answers() -> Iterator[Answer]:
        yield from make_answers(60)
        raise ValueError("broken work order")

    with pytest.raises(ValueError, match="broken work order"):
        world.evaluate(answers(), limits=replace(QUICK, max_in_flight=16))
    scores = world.scores()
    assert len(scores) >= 180 - 16
    assert scores.items() <= right_scores(60).items()


class Restartable:
    """A handle on fake judges that are started for real, one after another, as a managed server is."""

    def __init__(self, first: FakeJudge, restarts: int) -> None:
        self.judge = first
        self.reasons: list[str] = []
        self._left = restarts
        with attached_server(first.url, KEY) as handle:
            self._handle = handle

    @property
    def endpoint(self) -> Any:
        return self._handle.endpoint

    @property
    def generation(self) -> int:
        return len(self.reasons)

    def restart(self, reason: str) -> Any:
        self.reasons.append(reason)
        if len(self.reasons) > self._left:
            raise RestartRefusedError(f"no restarts left: {reason}")
        self.judge.stop()
        self.judge = FakeJudge().__enter__()
        with attached_server(self.judge.url, KEY) as handle:
            self._handle = handle
        return self.endpoint

    def is_healthy(self) -> bool:
        return self._handle.is_healthy()

    def log_tail(self, lines: int = 40) -> str:
        return ""

    def metrics(self) -> dict[str, float]:
        return self._handle.metrics()


def test_a_server_that_dies_is_restarted_once_and_loses_nothing(world: World) -> None:
    server = Restartable(world.judge, restarts=1)

    def dying(call: Call) -> Raw:
        if len(world.judge.calls) == 40:
            threading.Thread(target=world.judge.stop).start()
        return replace(answer_well(call), wait_s=0.02)

    world.judge.otherwise = dying
    report = world.evaluate(make_answers(40), server=server)
    server.judge.stop()
    assert world.scores() == right_scores(40)
    assert (report.restarts, len(server.reasons)) == (1, 1)
    assert server.reasons[0].startswith("unhealthy, and ")


class Mortal(Restartable):
    """Each of its servers dies of one prompt, and takes with it whatever else it was answering.

    The first takes `first_reply_s` for a reply.
    """

    def __init__(self, first: FakeJudge, poison: str, *, first_reply_s: float) -> None:
        super().__init__(first, restarts=3)
        self._poison = poison
        self.judges = [first]
        first.otherwise = self._dying(first, first_reply_s)

    def restart(self, reason: str) -> Any:
        endpoint = super().restart(reason)
        self.judge.otherwise = self._dying(self.judge, 0.05)
        self.judges.append(self.judge)
        return endpoint

    def _dying(self, judge: FakeJudge, reply_s: float) -> Answering:
        def answer(call: Call) -> Raw:
            if call.prompt == self._poison:
                threading.Thread(target=judge.stop).start()
                return Raw(body=None)
            return replace(answer_well(call), wait_s=reply_s)

        return answer


@pytest.mark.parametrize("max_in_flight", [1, 8, 512])
def test_a_prompt_that_kills_the_server_is_found_within_three_restarts_and_its_neighbours_are_judged(
    world: World, monkeypatch: pytest.MonkeyPatch, max_in_flight: int
) -> None:
    monkeypatch.setattr(recovery, "_SILENT_S", 0.2)
    monkeypatch.setattr(recovery, "_HEALTH_PAUSE_S", 0.05)
    answers = list(make_answers(60))
    # Where many may be under way at once, none is done before the deadly one is asked.
    first_reply_s = 5.0 if max_in_flight == 512 else 0.05
    server = Mortal(world.judge, prompt_of(answers[40], "first"), first_reply_s=first_reply_s)
    report = world.evaluate(answers, server=server, limits=replace(QUICK, max_in_flight=max_in_flight))
    server.judge.stop()
    assert report.by_status == {"ok": 179, "transport_error": 1}
    assert (report.restarts, len(server.reasons)) == (3, 3)
    row = world.rows()["40-first"]
    assert (row["status"], row["score"]) == ("transport_error", None)
    assert row["error"].startswith("the server died 3 times while answering this, the last time: ")
    assert {key: score for key, score in world.scores().items() if score is not None}.items() <= (
        right_scores(60).items()
    )
    if max_in_flight == 512:
        assert server.judges[0].most_in_flight > 100
        assert server.judges[1].most_in_flight <= 16  # all suspects
        assert server.judges[2].most_in_flight <= 17


class SlowToRestart(Restartable):
    """Its next server needs nearly as long to start as a server may be silent, and is not quick to answer."""

    def restart(self, reason: str) -> Any:
        time.sleep(6.0)
        endpoint = super().restart(reason)
        self.judge.otherwise = lambda call: replace(answer_well(call), wait_s=5.0)
        self.judge.metrics = COUNTING
        return endpoint


def test_the_time_a_restart_takes_is_not_held_against_the_new_server(world: World) -> None:
    server = SlowToRestart(world.judge, restarts=1)

    def dying(call: Call) -> Raw:
        if len(world.judge.calls) == 40:
            threading.Thread(target=world.judge.stop).start()
        return replace(answer_well(call), wait_s=0.02)

    world.judge.otherwise = dying
    world.judge.metrics = COUNTING
    # Only silence is on trial: replies may take their time on a busy machine.
    patient = replace(QUICK, no_progress_s=12.0, wire=replace(QUICK.wire, first_byte_s=60.0, body_s=60.0))
    report = world.evaluate(make_answers(16), server=server, limits=patient)
    server.judge.stop()
    assert world.scores() == right_scores(16)
    assert (report.restarts, len(server.reasons)) == (1, 1)


def test_a_server_that_hangs_while_healthy_is_restarted_and_loses_nothing(world: World) -> None:
    server = Restartable(world.judge, restarts=1)
    world.judge.metrics = COUNTING
    world.judge.otherwise = lambda call: replace(
        answer_well(call), wait_s=3_600.0 if len(world.judge.calls) > 30 else 0.0
    )
    patient = replace(QUICK, no_progress_s=1.5, wire=replace(QUICK.wire, first_byte_s=600.0))
    report = world.evaluate(make_answers(30), server=server, limits=patient)
    server.judge.stop()
    assert world.scores() == right_scores(30)
    assert report.restarts == 1
    assert "no verdict and no generated token for" in server.reasons[0]


def test_a_slow_server_that_counts_no_tokens_is_given_the_time_of_a_reply(world: World) -> None:
    world.judge.otherwise = lambda call: replace(answer_well(call), wait_s=4.0)
    patient = replace(QUICK, no_progress_s=1.0, wire=replace(QUICK.wire, first_byte_s=30.0))
    report = world.evaluate(make_answers(1), limits=patient)
    assert (report.by_status, report.restarts) == ({"ok": 3}, 0)


def test_a_slow_server_that_still_writes_tokens_is_left_alone(world: World) -> None:
    world.judge.otherwise = lambda call: replace(answer_well(call), wait_s=6.0)
    ticks = iter(range(10**6))

    class Writing(dict[str, float]):
        def items(self) -> Any:
            return [("generation_tokens_total", float(next(ticks)))]

    world.judge.metrics = Writing(generation_tokens_total=0.0)
    patient = replace(QUICK, no_progress_s=4.5, wire=replace(QUICK.wire, first_byte_s=600.0))
    assert world.evaluate(make_answers(1), limits=patient).restarts == 0


def test_a_server_that_cannot_be_had_back_ends_the_evaluation_and_keeps_what_there_is(world: World) -> None:
    def dying(call: Call) -> Raw:
        if len(world.judge.calls) == 40:
            threading.Thread(target=world.judge.stop).start()
        return replace(answer_well(call), wait_s=0.02)

    world.judge.otherwise = dying
    with pytest.raises(RestartRefusedError, match="attached, not managed"):
        world.evaluate(make_answers(40), limits=replace(QUICK, max_in_flight=8))
    assert len(world.scores()) >= 20


RUN = """
    import signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
    from pathlib import Path
    from tests.judge.test_evaluate import CRITERIA, KEY, PROFILE, make_answers
    from pollux_dagster.judge.evaluate import evaluate
    from pollux_dagster.judge.ledger import Ledger
    from pollux_dagster.judge.server import attached_server
    with attached_server(sys.argv[2], KEY) as server:
        evaluate(make_answers(10**6), CRITERIA, server=server, profile=PROFILE, judge_id="j",
                 ledger=Ledger(Path(sys.argv[1])), run_id="run", total=0, cached=0, progress=lambda _: None)
"""


@pytest.mark.parametrize(("sent", "may_lose"), [(signal.SIGKILL, True), (signal.SIGINT, False)])
def test_a_stopped_run_keeps_its_verdicts(world: World, sent: signal.Signals, may_lose: bool) -> None:
    answered: list[str] = []

    def counting(call: Call) -> Raw:
        answered.append(call.request_id)
        return answer_well(call)

    world.judge.otherwise = counting
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RUN), str(world.ledger.root), world.judge.url],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.DEVNULL,
        env=os.environ,
    )
    while len(answered) < 1_000:
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(sent)
    run.wait(timeout=30)
    sealed_itself = len(world.ledger.segments()) > 0
    world.ledger.seal_leftovers()
    assert sealed_itself != may_lose
    in_flight, unflushed = 512, 256 if may_lose else 0
    assert len(world.scores()) >= len(answered) - in_flight - unflushed


def test_progress_tells_done_total_rate_and_failures(world: World) -> None:
    world.judge.otherwise = lambda call: replace(answer_well(call), wait_s=0.3)
    world.judge.plan = [error(400)]
    world.evaluate(make_answers(20), limits=replace(QUICK, max_in_flight=8), total=100, cached=40)
    assert len(world.lines) >= 2
    assert [line.done for line in world.lines] == sorted(line.done for line in world.lines)
    last = world.lines[-1]
    assert (last.done, last.total, last.from_ledger) == (100, 100, 0.4)
    assert last.failures == {"refused_by_server": 1}
    assert last.rate_per_s > 0
    assert last.eta_s == 0


def test_a_progress_line_reads_well() -> None:
    progress = Progress(1_234, 5_000, 0.1, 182.4, 3_725.0, 0.81, {"truncated": 3, "off_scale": 0}, 128, 9.0, 2, 1)
    assert format_progress(progress) == (
        "judged 1,234/5,000 (24.7%) · 182.4/s · 1:02:05 left · 10.0% from the ledger · prefix cache 81% · "
        "128 in flight · 2 retries, 1 restarts · failures: truncated 3"
    )
    nothing = Progress(0, 0, 0.0, 0.0, None, None, {}, 0, 0.0, 0, 0)
    assert format_progress(nothing) == (
        "judged 0/0 (100.0%) · 0.0/s · 0.0% from the ledger · 0 in flight · failures: none"
    )


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    window = RateWindow(started=0.0)
    assert window.add(10, now=1.0) == 10.0
    for second in range(2, 61):
        rate = window.add(10 + 100 * (second - 1), now=float(second))
    assert rate == pytest.approx(100.0, rel=0.02)


def test_cache_hits_come_from_the_servers_counters_where_replies_do_not_tell(world: World) -> None:
    world.judge.metrics = {"prefix_cache_queries_total": 1_000.0, "prefix_cache_hits_total": 100.0}

    def silent(call: Call) -> Raw:
        world.judge.metrics = {"prefix_cache_queries_total": 2_000.0, "prefix_cache_hits_total": 700.0}
        return as_json(completion(call.request_id, usage={"prompt_tokens": 100, "completion_tokens": 1}))

    world.judge.otherwise = silent
    assert world.evaluate(make_answers(2)).prefix_cache_hit_share == pytest.approx(0.6)


@pytest.mark.vllm
@pytest.mark.timeout(420)
def test_the_packaged_judge_gives_usable_verdicts_through_vllm(shared_servers: Path, tmp_path: Path) -> None:
    demo = PROFILES["demo"]
    if demo.weights is None or not (demo.weights / "model.safetensors").is_file():
        pytest.skip("the demonstration judge is not trained: run tools/train_demo_judge.py")
    name = "Отказ или заглушка вместо ответа"
    rubrics = "0: Ответ дан по существу.\n1: Вместо ответа отказ, заглушка или пустота."
    refusal = Criterion("refusal", name, rubrics, (0.0, 1.0), is_gate=True)
    texts = [f"Ответ номер {number}: Париж." for number in range(12)]
    answers = [Answer("Назови столицу Франции.", "Париж", text, [(text, "refusal")]) for text in texts]
    ledger = Ledger(tmp_path / "ledger")
    spec = cpu_vllm_spec(demo.served_model, max_model_len=demo.max_model_len)
    with managed_server(spec, shared_servers, lambda _: None) as server:
        report = evaluate(
            answers,
            {"refusal": refusal},
            server=server,
            profile=demo,
            judge_id=demo.identity().judge_id,
            ledger=ledger,
            run_id="run",
            total=12,
            cached=0,
            progress=lambda _: None,
        )
    assert report.by_status == {"ok": 12}
    rows = [row for path in ledger.segments() for row in pq.read_table(path).to_pylist()]
    assert {row["verdict_key"] for row in rows} == set(texts)
    assert all(row["rationale"] and row["completion_tokens"] > 0 for row in rows)
    assert report.prefix_cache_hit_share is not None
