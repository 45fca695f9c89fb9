"""One exchange with a judge: whatever a server, a proxy or the network does comes back as a typed value."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pollux_dagster.core.profile_files import packaged_profile
from pollux_dagster.core.profiles import JudgeProfile, Sampling
from pollux_dagster.core.verdicts import VerdictStatus
from pollux_dagster.judge.client import JudgeClient, WireLimits, _spellings_of
from pollux_dagster.judge.concurrency import AdaptiveConcurrency
from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.judge.responses import (
    Completion,
    Failure,
    FailureKind,
    read_completion,
    read_error,
    read_retry_after,
)
from pollux_dagster.judge.retry import RetryPolicy, altered
from tests.fakes.fake_judge import (
    KEY,
    Answering,
    Call,
    FakeJudge,
    Raw,
    answer_well,
    as_json,
    completion,
    error,
    replying,
)

PROFILE = packaged_profile("pollux-4b")
QUICK = WireLimits(connect_s=1.0, first_byte_s=0.5, body_s=0.3, max_reply_bytes=100_000)


@pytest.fixture
def judge() -> Iterator[FakeJudge]:
    with FakeJudge() as peer:
        yield peer


def endpoint_of(judge: FakeJudge, **changes: Any) -> Endpoint:
    values = {
        "base_url": judge.url,
        "api_key": KEY,
        "model": "judge",
        "max_model_len": judge.max_model_len,
        "engine": "fake",
        "engine_version": "1",
        "server": f"127.0.0.1:{judge.port}",
    }
    return Endpoint(**{**values, **changes})


def ask(judge: FakeJudge, *prompts: str, profile: JudgeProfile = PROFILE, **changes: Any) -> list[Completion | Failure]:
    async def run() -> list[Completion | Failure]:
        client = JudgeClient(endpoint_of(judge, **changes), profile, connections=8, limits=QUICK)
        try:
            return [await client.ask(prompt, profile.sampling, (0.0, 1.0, 2.0)) for prompt in prompts]
        finally:
            await client.aclose()

    return asyncio.run(run())


def test_a_request_carries_the_prompt_the_key_and_every_sampling_field(judge: FakeJudge) -> None:
    [reply] = ask(judge, "Промпт")
    assert isinstance(reply, Completion)
    [call] = judge.calls
    assert call.body == {
        "model": "judge",
        "messages": [{"role": "user", "content": "Промпт"}],
        **PROFILE.sampling.as_request_fields(),
    }
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert not [name for name in call.headers if name.startswith("x-stainless")]


def test_a_constrained_profile_sends_its_schema_and_its_system_message(judge: FakeJudge) -> None:
    ask(judge, "Промпт", profile=packaged_profile("json"))
    [call] = judge.calls
    assert call.body["response_format"]["json_schema"]["schema"]["required"] == ["rationale", "score"]
    assert [message["role"] for message in call.body["messages"]] == ["system", "user"]


def test_a_completion_brings_message_tokens_and_fingerprint(judge: FakeJudge) -> None:
    [reply] = ask(judge, "Промпт")
    assert isinstance(reply, Completion)
    assert reply.message.reasoning == "Потому что."
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens) == (100, 10, 80)
    assert (reply.finish_reason, reply.system_fingerprint) == ("stop", "fp_test")


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "Думаю."}]}


@pytest.mark.parametrize(
    ("content", "reasoning"),
    [
        ([THINKING, {"type": "text", "text": "1"}], "Думаю."),
        ([{"type": "output_text", "text": "1"}], None),
        (["1"], None),
        ({"type": "text", "text": "1"}, None),
    ],
)
def test_content_in_parts_is_the_text_of_its_parts(content: Any, reasoning: str | None) -> None:
    document = completion("r")
    document["choices"][0]["message"] = {"content": content}
    reply = read_completion(json.dumps(document).encode())
    assert isinstance(reply, Completion)
    assert (reply.message.content, reply.message.reasoning) == ("1", reasoning)


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"error": {"message": "boom", "code": "rate_limit_exceeded"}}, FailureKind.THROTTLED),
        ({"error": {"message": "input tokens per minute: too many requests"}}, FailureKind.THROTTLED),
        ({"object": "error", "message": "maximum context length is 4096", "code": 400}, FailureKind.OVERFLOW),
        ({"success": False, "errors": [{"message": "context length exceeded"}]}, FailureKind.OVERFLOW),
        ({"choices": None, "base_resp": {"status_msg": "insufficient balance"}}, FailureKind.UNUSABLE),
        ({"choices": "an insufficient balance"}, FailureKind.BAD_BODY),  # no error, whatever it says
    ],
)
def test_an_error_with_status_200_is_what_its_words_say(document: Any, kind: FailureKind) -> None:
    failure = read_completion(json.dumps(document).encode())
    assert isinstance(failure, Failure)
    assert failure.kind is kind


@pytest.mark.parametrize(
    "message",
    [
        "Input too long: 9000 tokens, limit 4096",
        "The input (5000 tokens) exceeds the model's limit of 4096",
        "input is too large for the model",
        "Total message token length exceed model limit",
        "prompt is longer than max_position_embeddings",
        "Слишком длинный запрос",
        "输入过长",
    ],
)
def test_a_prompt_that_is_too_long_is_told_in_many_words(message: str) -> None:
    body = json.dumps({"error": {"message": message}}).encode()
    assert read_error(400, {}, body, now=0.0).kind is FailureKind.OVERFLOW


@pytest.mark.parametrize("message", ["max_tokens must be no more than 8192 tokens", "top_p is larger than 1"])
def test_a_limit_of_a_field_is_no_prompt_that_is_too_long(message: str) -> None:
    assert read_error(400, {}, json.dumps({"error": message}).encode(), now=0.0).kind is FailureKind.REFUSED


def test_reasoning_of_an_older_server_is_found_under_its_older_name() -> None:
    document = completion("r")
    document["choices"][0]["message"] = {"content": None, "reasoning_content": "2"}
    reply = read_completion(json.dumps(document).encode())
    assert isinstance(reply, Completion)
    assert (reply.message.content, reply.message.reasoning) == (None, "2")


def _other_request(call: Call) -> Raw:
    prefix, _, number = call.request_id.rpartition("-")
    return as_json(completion(f"{prefix}-{int(number) + 1}"))


@pytest.mark.parametrize(
    ("answering", "kind", "words"),
    [
        (lambda _: Raw(body=b""), FailureKind.BAD_BODY, "got 0 bytes"),
        (lambda _: Raw(body=b"<html><body>502</body></html>"), FailureKind.BAD_BODY, "expected JSON"),
        (lambda _: as_json({"object": "chat.completion"}), FailureKind.BAD_BODY, "list of choices"),
        (lambda _: as_json({"choices": []}), FailureKind.BAD_BODY, "list of choices"),
        (lambda _: as_json({"choices": [], "usage": {"prompt_tokens": 9}}), FailureKind.MALFORMED, "list of choices"),
        (lambda _: as_json({"choices": [{"index": 0}]}), FailureKind.MALFORMED, "a message"),
        (lambda _: as_json({"choices": [{"text": "1"}]}), FailureKind.MALFORMED, 'a message, got {"text":"1"}'),
        (lambda _: as_json([1]), FailureKind.MALFORMED, "a JSON object"),
        (replying(content=[{"type": "text"}]), FailureKind.MALFORMED, "parts with text"),
        (replying(content={"text": "1"}), FailureKind.MALFORMED, 'got {"text":"1"}'),
        (lambda _: as_json({"error": "model not loaded"}), FailureKind.MALFORMED, "model not loaded"),
        (lambda _: as_json({"error": {"message": "slow down", "code": 429}}), FailureKind.THROTTLED, "slow down"),
        (
            lambda _: as_json({"error": {"message": "no such model", "code": 404}}),
            FailureKind.UNUSABLE,
            "no such model",
        ),
        (lambda _: Raw(body=b"data: {}\n\n"), FailureKind.BAD_BODY, "stream of events"),
        (lambda _: Raw(body=b'{"choices": [{"message"'), FailureKind.BAD_BODY, "expected JSON"),
        (replying(content="2" * 10_000_000), FailureKind.BAD_BODY, "at most 100000 bytes"),
        (_other_request, FailureKind.BAD_BODY, "expected the reply to"),
        (lambda _: Raw(body=None), FailureKind.UNREACHABLE, "Disconnected"),
        (lambda _: Raw(body=b'{"choi', declared_length=500), FailureKind.UNREACHABLE, "ReadError"),
        (lambda _: Raw(body=b'{"choi', declared_length=500, stall_s=5.0), FailureKind.UNREACHABLE, "stalled"),
        (lambda _: Raw(wait_s=5.0), FailureKind.UNREACHABLE, "no reply within 0.5 s"),
        (error(500), FailureKind.SERVER_ERROR, "HTTP 500: сбой"),
        (error(502), FailureKind.SERVER_ERROR, "HTTP 502"),
        (error(504), FailureKind.SERVER_ERROR, "HTTP 504"),
        (error(429), FailureKind.THROTTLED, "HTTP 429"),
        (error(408), FailureKind.THROTTLED, "HTTP 408"),
        (error(503), FailureKind.THROTTLED, "HTTP 503"),
        (error(400), FailureKind.REFUSED, "HTTP 400: сбой"),
        (error(404), FailureKind.REFUSED, "HTTP 404"),
        (error(302, location="http://127.0.0.1:1/"), FailureKind.REFUSED, "HTTP 302"),
        (error(400, "This model's maximum context length is 32 tokens"), FailureKind.OVERFLOW, "context length"),
        (error(413), FailureKind.OVERFLOW, "HTTP 413"),
        (lambda _: Raw(500, b""), FailureKind.SERVER_ERROR, "empty body"),
    ],
)
def test_every_misbehaviour_has_a_name(judge: FakeJudge, answering: Answering, kind: FailureKind, words: str) -> None:
    judge.otherwise = answering
    [reply] = ask(judge, "Промпт")
    assert isinstance(reply, Failure)
    assert reply.kind is kind
    assert words in reply.error
    assert len(reply.error) < 700


def test_after_any_misbehaviour_the_next_request_works(judge: FakeJudge) -> None:
    judge.plan = [lambda _: Raw(body=None), lambda _: Raw(body=b"x", declared_length=9), error(500)]
    replies = ask(judge, *"абвг")
    assert [type(reply) for reply in replies] == [Failure, Failure, Failure, Completion]


def test_a_refused_connection_is_unreachable(judge: FakeJudge) -> None:
    judge.stop()
    [reply] = ask(judge, "Промпт")
    assert isinstance(reply, Failure)
    assert reply.kind is FailureKind.UNREACHABLE


@pytest.mark.parametrize(
    "echo",
    [
        error(401, f"Incorrect API key provided: {KEY}"),
        error(400, "x" * 490 + KEY),  # an error text is cut at 500 characters
        lambda _: Raw(502, f"<html>Authorization: Bearer {KEY}</html>".encode()),
        lambda _: Raw(200, f"<html>You sent: Authorization: Bearer {KEY}</html>".encode()),
        lambda _: Raw(200, b"x" * 70 + KEY.encode()),
        replying(content=f"debug: {KEY}", reasoning=f"Bearer {KEY}"),
    ],
)
def test_a_key_echoed_by_the_server_is_not_repeated_whole_or_in_part(judge: FakeJudge, echo: Answering) -> None:
    judge.otherwise = echo
    [reply] = ask(judge, "Промпт")
    assert KEY[:6] not in str(reply)
    assert "***" in str(reply)


def test_a_key_is_found_however_json_escapes_it() -> None:
    key = 'sk/se+cr"et=='
    for written in (key, r"sk\/se+cr\"et==", r"sk/se\u002Bcr\u0022et\u003d\u003D"):
        found = _spellings_of(key).sub(b"***", f"({written})".encode())
        assert found == b"(***)"


def test_a_placeholder_for_a_key_leaves_replies_as_they_are(judge: FakeJudge) -> None:
    judge.otherwise = lambda _: Raw(401, b"1")
    [reply] = ask(judge, "Промпт", api_key="1")
    assert isinstance(reply, Failure)
    assert "***" not in reply.error


def test_a_prompt_that_is_no_valid_text_is_refused_and_not_sent(judge: FakeJudge) -> None:
    [reply] = ask(judge, "\ud800")
    assert isinstance(reply, Failure)
    assert reply.kind is FailureKind.REFUSED
    assert judge.calls == []


def test_a_server_that_does_not_echo_request_ids_is_believed(judge: FakeJudge) -> None:
    judge.otherwise = lambda _: as_json(completion("another-naming"))
    assert isinstance(ask(judge, "Промпт")[0], Completion)


def test_tokens_are_counted_by_the_server_where_it_can() -> None:
    async def count(judge: FakeJudge) -> int | Failure:
        client = JudgeClient(endpoint_of(judge), PROFILE, connections=1, limits=QUICK)
        try:
            return await client.count_prompt_tokens("раз два")
        finally:
            await client.aclose()

    with FakeJudge() as judge:
        refusal = asyncio.run(count(judge))
        assert isinstance(refusal, Failure)
        assert refusal.kind is FailureKind.REFUSED
        judge.token_counts = lambda prompt: len(prompt.split())
        assert asyncio.run(count(judge)) == 2


def test_retry_after_is_read_in_both_of_its_forms() -> None:
    assert read_retry_after("1.5", now=0.0) == 1.5
    assert read_retry_after(formatdate(1_000_007, usegmt=True), now=1_000_000.0) == 7.0
    assert read_retry_after(formatdate(999_000, usegmt=True), now=1_000_000.0) == 0.0
    assert read_retry_after("soon", now=0.0) is None
    assert read_retry_after(None, now=0.0) is None


def test_a_wait_is_never_shorter_than_the_server_asked_for_and_never_endless() -> None:
    policy = RetryPolicy()
    asked = read_error(429, {"retry-after": "5"}, b"", now=0.0)
    assert all(policy.wait_s(1, asked, random.Random(seed)) >= 5.0 for seed in range(20))
    for attempt in range(1, 40):
        endless = Failure(FailureKind.THROTTLED, "", 429, retry_after_s=1e9)
        assert policy.wait_s(attempt, endless, random.Random(attempt)) <= 120.0 + policy.longest_wait_s


@settings(max_examples=50)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["choices", "message", "content", "usage", "reasoning", "error"]), inner)
        ),
        max_leaves=12,
    ).map(lambda document: json.dumps(document).encode())
)
def test_no_body_raises(body: bytes) -> None:
    assert isinstance(read_completion(body), Completion | Failure)
    assert read_error(400, {}, body, now=0.0).status == 400


@pytest.mark.parametrize(
    ("status", "changed"),
    [
        (VerdictStatus.TRUNCATED, {"max_tokens"}),
        (VerdictStatus.REPETITION, {"temperature", "seed", "repetition_penalty"}),
        (VerdictStatus.UNPARSEABLE, {"temperature", "seed"}),
    ],
)
def test_a_second_try_changes_what_the_failure_calls_for(status: VerdictStatus, changed: set[str]) -> None:
    sampling = Sampling()
    other = altered(sampling, status, room_tokens=100_000)
    assert other is not None
    before, after = sampling.as_request_fields(), other.as_request_fields()
    assert {name for name in before if before[name] != after[name]} == changed


def test_a_longer_reply_is_only_asked_for_where_the_context_has_room() -> None:
    sampling = Sampling(max_tokens=100)
    assert altered(sampling, VerdictStatus.TRUNCATED, room_tokens=100) is None
    longer = altered(sampling, VerdictStatus.TRUNCATED, room_tokens=150)
    assert longer is not None
    assert longer.max_tokens == 150


def test_capacity_grows_while_the_server_keeps_up_and_not_when_unused() -> None:
    concurrency = AdaptiveConcurrency(start=8, ceiling=16)
    concurrency.on_completion()
    assert concurrency.limit == 8
    for _ in range(50):
        concurrency.in_flight = int(concurrency.limit)
        concurrency.on_completion()
    assert concurrency.limit == 16


def test_capacity_falls_on_throttling_once_for_one_wave_and_never_below_its_floor() -> None:
    concurrency = AdaptiveConcurrency(start=128)
    for _ in range(50):
        concurrency.on_throttle()
    assert concurrency.limit == 64
    low = AdaptiveConcurrency(start=5, floor=4)
    low.on_throttle()
    assert low.limit == 4


@pytest.mark.parametrize(
    ("metrics", "moves"),
    [
        ({}, 0),
        ({"num_requests_running": 100.0, "num_requests_waiting": 20.0, "num_preemptions_total": 0.0}, 0),
        ({"num_requests_running": 100.0, "num_requests_waiting": 80.0, "num_preemptions_total": 0.0}, -1),
        ({"num_requests_running": 100.0, "num_requests_waiting": 0.0, "num_preemptions_total": 3.0}, -1),
        ({"num_requests_running": 128.0, "num_requests_waiting": 0.0, "num_preemptions_total": 0.0}, 1),
    ],
)
def test_capacity_follows_queue_and_preemptions(metrics: dict[str, float], moves: int) -> None:
    concurrency = AdaptiveConcurrency(start=128)
    concurrency.on_metrics({"num_preemptions_total": 0.0})
    concurrency.on_metrics(metrics)
    assert (concurrency.limit > 128) - (concurrency.limit < 128) == moves


@pytest.mark.parametrize(
    "body", [{"messages": "too long"}, "messages[0].content: string too long", ["body", "messages", 0]]
)
def test_a_refusal_that_speaks_of_the_messages_is_one(judge: FakeJudge, body: object) -> None:
    judge.otherwise = lambda _: as_json({"error": {"message": body}}, status=400)
    [refused] = ask(judge, "Промпт")
    assert isinstance(refused, Failure)
    assert refused.kind is FailureKind.REFUSED


def test_a_refusal_that_quotes_the_prompt_teaches_nothing(judge: FakeJudge) -> None:
    quoted = "Для llama задайте repetition_penalty, top_p, top_k, min_p и seed"

    def choosy(call: Call) -> Raw:
        return error(400, f"invalid: {call.prompt}")(call) if quoted in call.prompt else answer_well(call)

    judge.otherwise = choosy
    [refused, answered] = ask(judge, quoted, "Промпт")
    assert isinstance(refused, Failure)
    assert isinstance(answered, Completion)
    assert judge.calls[-1].body.keys() >= PROFILE.sampling.as_request_fields().keys()


def test_a_refusal_to_reply_is_none_of_the_judges_numbers(judge: FakeJudge) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I cannot judge this."}
    judge.otherwise = lambda call: as_json(
        {**completion(call.request_id), "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    )
    [refused] = ask(judge, "Промпт")
    assert isinstance(refused, Failure)
    assert (refused.kind, refused.status) == (FailureKind.REFUSED, 200)
    assert "I cannot judge this." in refused.error


def answering_as(model: str) -> Answering:
    return lambda call: as_json({**completion(call.request_id, content="1"), "model": model})


def test_another_model_that_answers_is_said_once(judge: FakeJudge) -> None:
    lines: list[str] = []

    async def run() -> None:
        client = JudgeClient(endpoint_of(judge), PROFILE, connections=1, limits=QUICK, log=lines.append)
        for named in ("judge", "org/judge-2024-08-06", "TinyLlama-1.1B", "TinyLlama-1.1B"):
            judge.otherwise = answering_as(named)
            assert isinstance(await client.ask("Промпт", PROFILE.sampling, (0.0, 1.0)), Completion)
        await client.aclose()

    asyncio.run(run())
    assert len(lines) == 1
    assert "says that 'TinyLlama-1.1B' answered" in lines[0]


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
@pytest.mark.parametrize(
    "words", ["Invalid API key", "insufficient credits", "context length", "the model", "try again in 90 s"]
)
def test_the_words_of_a_quoted_answer_do_not_say_what_is_wrong(status: int, words: str) -> None:
    """A server may quote the prompt that it refuses, and people ask about errors."""
    body = json.dumps({"error": {"message": f"rejected by policy: «Сервер пишет: {words}»"}}).encode()
    plain = json.dumps({"error": {"message": "rejected by policy: «»"}}).encode()
    found = read_error(status, {}, body, now=0.0, prompt=f"Сервер пишет: {words.upper()}. Почему?")
    assert (found.kind, found.retry_after_s) == (read_error(status, {}, plain, now=0.0).kind, None)
    own = read_error(status, {}, body, now=0.0, prompt="Столица?")
    # Each of them speaks with some status.
    speaks = {"Invalid API key": (400, 403), "context length": (400, 404, 500), "the model": (404,)}
    if status in speaks.get(words, ()):
        assert own.kind is not found.kind
