"""The distribution of a score: what is asked of the server, how often, and what becomes of failures on the way.

Held against a real engine's own log-probabilities in `test_server_vllm`.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from pollux_dagster.core.replies import MessageParts
from pollux_dagster.judge.client import JudgeClient
from pollux_dagster.judge.distribution import ScoreDistribution
from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.judge.next_tokens import NextTokens
from pollux_dagster.judge.responses import Completion, Failure, FailureKind, read_logprobs
from tests.fakes.fake_judge import KEY, FakeJudge, Raw, as_json
from tests.judge.judged_world import PROFILE

END = 9
IDS = {"0": (20,), "1": (21,), "2": (22,), "10": (21, 20), "-1": (30, 21)}


def logprob(prefix: list[int], token: int) -> float:
    """Of the server below, in which every prefix has others."""
    return -1.0 - (sum(prefix) * 7 + token * 3) % 11


class CompletionsServer(FakeJudge):
    """Answers `/tokenize` and `/completions` as vLLM does: an array of prompts has a choice for each."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []
        self.before: list[Raw] = []
        self.minds: Callable[[list[int]], bool] = lambda prefix: False
        self.shape: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda choices: choices[::-1]
        self.hung = False

    async def _answer(self, path: str, headers: dict[str, str], body: bytes) -> Raw:
        document = json.loads(body)
        if path == "/tokenize":
            return as_json({"tokens": IDS[document["prompt"]]})
        self.asked.append(document)
        await asyncio.sleep(0.01)
        while self.hung:
            await asyncio.sleep(0.01)
        if self.before:
            return self.before.pop(0)
        if any(map(self.minds, document["prompt"])):
            return as_json({"error": {"message": "not this one"}}, status=400)
        choices = [
            {
                "index": index,
                "logprobs": {
                    "top_logprobs": [
                        {f"token_id:{token}": logprob(prefix, token) for token in document["logprob_token_ids"]}
                    ]
                },
            }
            for index, prefix in enumerate(document["prompt"])
        ]
        return as_json({"choices": self.shape(choices)})


@pytest.fixture
def server() -> Iterator[CompletionsServer]:
    with CompletionsServer() as server:
        yield server


def client_of(server: FakeJudge) -> JudgeClient:
    return JudgeClient(Endpoint(server.url, KEY, "judge", 8_192, "fake", "1", "fake#1"), PROFILE, connections=50)


def answers(server: CompletionsServer, prefixes: Sequence[tuple[int, ...]], tokens: tuple[int, ...]) -> list[Any]:
    async def asked() -> list[Any]:
        client, together = client_of(server), NextTokens()
        try:
            return await asyncio.gather(*(together.logprobs(client, prefix, tokens) for prefix in prefixes))
        finally:
            await client.aclose()

    return asyncio.run(asked())


def test_those_who_wait_share_a_request_and_each_gets_its_own(server: CompletionsServer) -> None:
    prefixes = [(number,) * 1_200 for number in range(100)]
    found = answers(server, prefixes, (20, 21))
    assert found == [{token: logprob(list(prefix), token) for token in (20, 21)} for prefix in prefixes]
    assert [len(each["prompt"]) for each in server.asked] == [83, 17]  # 100,000 tokens at most


def test_a_prefix_that_is_refused_costs_no_other_its_answer(server: CompletionsServer) -> None:
    server.minds = lambda prefix: prefix == [3]
    found = answers(server, [(number,) for number in range(6)], (20,))
    assert [isinstance(each, Failure) for each in found] == [number == 3 for number in range(6)]
    assert found[3].kind is FailureKind.REFUSED
    assert found[4] == {20: logprob([4], 20)}


@pytest.mark.parametrize("passing", [Raw(body=None), as_json({}, status=503), as_json({"choices": []})])
def test_a_failure_that_passes_costs_no_answer(server: CompletionsServer, passing: Raw) -> None:
    server.before = [passing]
    assert answers(server, [(1,), (2,)], (20,)) == [{20: logprob([1], 20)}, {20: logprob([2], 20)}]


@pytest.mark.parametrize(
    "shape",
    [
        lambda choices: choices[:1],
        lambda choices: [{"logprobs": each["logprobs"]} for each in choices],
        lambda choices: [{**each, "index": 0} for each in choices],
    ],
)
def test_a_server_that_answers_several_prompts_in_a_way_of_its_own_is_asked_one_by_one(
    server: CompletionsServer, shape: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> None:
    server.shape = shape
    found = answers(server, [(number,) for number in range(4)], (20,))
    assert found == [{20: logprob([number], 20)} for number in range(4)]
    assert [len(each["prompt"]) for each in server.asked] == [4, 4, 4, 1, 1, 1, 1]


def test_a_server_that_never_answers_is_not_asked_for_each_prefix(server: CompletionsServer) -> None:
    server.shape = lambda choices: []
    assert all(isinstance(each, Failure) for each in answers(server, [(1,), (2,), (3,)], (20,)))
    assert [len(each["prompt"]) for each in server.asked] == [3, 3, 3, 1, 1, 1]


def test_a_server_that_hangs_holds_up_no_other(server: CompletionsServer) -> None:
    async def asked(other: CompletionsServer) -> Any:
        slow, fast, together = client_of(server), client_of(other), NextTokens()
        waiting = asyncio.create_task(together.logprobs(slow, (1,), (20,)))
        try:
            while not server.asked:
                await asyncio.sleep(0.001)
            found = await asyncio.wait_for(together.logprobs(fast, (2,), (20,)), 10)
            assert not waiting.done()
            server.hung = False
            return await waiting, found
        finally:
            server.hung = False
            await slow.aclose()
            await fast.aclose()

    server.hung = True
    with CompletionsServer() as other:
        assert asyncio.run(asked(other)) == ({20: logprob([1], 20)}, {20: logprob([2], 20)})


def test_who_gives_up_while_asking_leaves_the_others_to_ask_themselves(server: CompletionsServer) -> None:
    async def asked() -> list[Any]:
        client, together = client_of(server), NextTokens()
        tasks = [asyncio.create_task(together.logprobs(client, (number,), (20,))) for number in range(3)]
        while not server.asked:
            await asyncio.sleep(0.001)
        tasks[0].cancel()
        try:
            return await asyncio.gather(*tasks[1:])
        finally:
            await client.aclose()

    assert asyncio.run(asked()) == [{20: logprob([1], 20)}, {20: logprob([2], 20)}]


def test_levels_of_several_tokens_are_told_apart_in_one_request(server: CompletionsServer) -> None:
    levels, log = (-1.0, 0.0, 1.0, 2.0, 10.0), list[str]()
    reply = Completion(MessageParts("1", "Потому."), "stop", 2, 3, None, None, "1", (1, 2), (5, 21, END))

    async def asked() -> tuple[float, ...] | None:
        client = client_of(server)
        try:
            return await ScoreDistribution(log.append).of(client, reply, 1.0, levels)
        finally:
            await client.aclose()

    found = asyncio.run(asked())
    assert log == []
    assert len(server.asked) == 1
    first = {token: math.exp(logprob([1, 2, 5], token)) for token in (20, 21, 22, 30)}
    second = {token: math.exp(logprob([1, 2, 5, 21], token)) for token in (END, 20)}
    one, ten = (first[21] * second[token] / sum(second.values()) for token in (END, 20))
    expected = [each / sum(first.values()) for each in (first[30], first[20], one, first[22], ten)]
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("content", "ids", "why"),
    [
        ("2/2", (5, 22, 7, 22, END), "not the bare number"),
        ('{"score": 2}', (5, 22, END), "not the bare number"),
        ("2", (5, 33, END), "do not end in those of the score"),
        ("2", (), "does not return the tokens"),
    ],
)
def test_why_a_score_has_no_distribution_is_said_once(
    server: CompletionsServer, content: str, ids: tuple[int, ...], why: str
) -> None:
    reply, log = Completion(MessageParts(content, "Потому."), "stop", 2, 3, None, None, "1", (1, 2), ids), list[str]()

    async def asked() -> list[Any]:
        client, distribution = client_of(server), ScoreDistribution(log.append)
        try:
            return [await distribution.of(client, reply, 2.0, (0.0, 1.0, 2.0)) for _ in range(2)]
        finally:
            await client.aclose()

    assert asyncio.run(asked()) == [None, None]
    assert len(log) == 1
    assert why in log[0]
    assert server.asked == []


@pytest.mark.parametrize(
    "choices",
    [
        [{"index": 0, "logprobs": {"top_logprobs": [{"token_id:20": -1.0}]}}],
        [{"index": 0, "logprobs": {"top_logprobs": [{"token_id:20": -1.0}]}}] * 2,
        [{"index": number, "logprobs": {"top_logprobs": [{"token_id:20": -1.0}]}} for number in range(3)],
        [{"index": number, "logprobs": {"top_logprobs": [{"token_id:21": -1.0}]}} for number in range(2)],
        [{"index": number, "logprobs": {"top_logprobs": [{"token_id:20": 0.5}]}} for number in range(2)],
        [{"index": number, "logprobs": None} for number in range(2)],
    ],
)
def test_answers_to_other_questions_than_those_asked_are_none(choices: list[Any]) -> None:
    assert isinstance(read_logprobs(json.dumps({"choices": choices}).encode(), 2, (20,)), Failure)
