"""Judging against a peer that misbehaves: every fault costs an attempt or becomes a typed failure, never a score."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pollux_dagster.judge.retry import RetryPolicy
from tests.fakes.fake_judge import (
    Answering,
    Call,
    Raw,
    answer_well,
    as_json,
    completion,
    error,
    replying,
)
from tests.judge.judged_world import QUICK, World, make_answers, right_scores

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


def test_a_reply_of_another_shape_is_asked_for_once_more_and_named(world: World) -> None:
    world.judge.otherwise = replying(content={"text": "1"})
    world.evaluate(make_answers(1))
    assert {(row["status"], row["attempts"]) for row in world.rows().values()} == {("transport_error", 2)}
    assert all("choices[0].message.content" in row["error"] for row in world.rows().values())


def test_a_prompt_that_the_server_cut_has_no_score(world: World) -> None:
    world.judge.otherwise = replying(usage={"prompt_tokens": 5, "completion_tokens": 3})
    world.evaluate(make_answers(1))
    assert {row["status"] for row in world.rows().values()} == {"context_overflow"}
    assert all("it cut the prompt" in row["error"] for row in world.rows().values())


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
    asked = [call.prompt for call in world.judge.calls]
    assert len(asked) == len(set(asked)) == 3 + 1  # and a harmless one, because nothing had been answered yet


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
