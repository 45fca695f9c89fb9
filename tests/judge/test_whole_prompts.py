"""A server that reads a part of a prompt is found by its own numbers; one that reads all is not accused."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollux_dagster.judge.client import JudgeClient
from pollux_dagster.judge.context import fewest_tokens
from pollux_dagster.judge.responses import Completion
from pollux_dagster.judge.whole import WholeCheck
from tests.fakes.emulations import tokens_of
from tests.fakes.fake_judge import Answering, Call, FakeJudge, Raw, as_json, completion
from tests.judge.judged_world import PROFILE
from tests.judge.test_client import QUICK, endpoint_of

TEMPLATE = 40  # tokens that a server adds


def reporting(count: Callable[[str], int]) -> Answering:
    def answer(call: Call) -> Raw:
        document = completion(call.request_id, call.prompt, content="1")
        document["usage"] = {"prompt_tokens": count(call.prompt), "completion_tokens": 1}
        return as_json(document)

    return answer


def checked(
    judge: FakeJudge, prompts: Sequence[str], engine: str = "openai-compatible"
) -> tuple[list[bool], list[str]]:
    """Whether each prompt was found cut, and what was logged."""

    async def run() -> tuple[list[bool], list[str]]:
        log: list[str] = []
        client = JudgeClient(endpoint_of(judge, engine=engine), PROFILE, connections=8, limits=QUICK)
        check = WholeCheck(PROFILE.sampling, log.append)
        found = []
        for prompt in prompts:
            reply = await client.ask(prompt, PROFILE.sampling, (0.0, 1.0))
            assert isinstance(reply, Completion)
            found.append(await check.problem(client, prompt, reply) is not None)
        await client.aclose()
        return found, log

    return asyncio.run(run())


def words(number: int, word: str = "слово") -> str:
    return " ".join(f"{word}{index % 7}" for index in range(number))


def cutting(context: int, to: int | None = None) -> Callable[[str], int]:
    """Counts two tokens a word, and `to` of a prompt that is longer than the context."""

    def count(prompt: str) -> int:
        tokens = tokens_of(prompt) + TEMPLATE
        return tokens if tokens <= context else to or context

    return count


@pytest.mark.parametrize("to", [None, 1_026, 1_600])
def test_a_prompt_cut_to_what_its_words_alone_have_is_found(to: int | None) -> None:
    with FakeJudge(reporting(cutting(2_048, to))) as judge:
        found, _ = checked(judge, [words(300), words(600), words(1_400), words(900), words(1_500), words(500)])
    assert found == [False, False, True, False, True, False]


def test_it_is_found_where_every_prompt_is_cut() -> None:
    with FakeJudge(reporting(cutting(512))) as judge:
        found, _ = checked(judge, [words(400 + 10 * index) for index in range(20)])
    assert found == [True] * 20


def test_a_server_that_counts_tokens_is_asked_for_the_number() -> None:
    with FakeJudge(reporting(cutting(2_048))) as judge:
        judge.token_counts = lambda prompt: tokens_of(prompt) + TEMPLATE
        found, _ = checked(judge, [words(900), words(1_500)])
        assert len(judge.calls) == 3  # the last one is the second prompt anew
    assert found == [False, True]


def text_of(kind: str, size: int, source: random.Random) -> str:
    match kind:
        case "digits":
            return " ".join(str(source.randrange(10**9)) for _ in range(size))
        case "chinese":
            return "".join(chr(source.randrange(0x4E00, 0x9FA5)) for _ in range(size * 4))
        case "code":
            return "".join(f"{' ' * source.randrange(40)}x_{index} = y[{index}];\n" for index in range(size))
        case "noise":
            return "".join(source.choice("abcdefgh0123456789+/=") for _ in range(size * 8))
        case "spaces":
            return "\n".join(" " * source.randrange(200) + "x" for _ in range(size))
        case _:
            return words(size, {"russian": "словосочетание", "english": "word"}[kind])


@given(st.text(st.sampled_from("аб1_ .,!—\n\t\u00a0\x1c\u2028²½ⅷ٣中😀\u0301"), max_size=40), st.integers(1, 9))
def test_the_fewest_tokens_are_of_the_pieces_that_no_token_joins(text: str, times: int) -> None:
    prompt = "".join(char * times if index % 3 else char for index, char in enumerate(text))
    collapsed = re.sub(r"(.)\1{4,}", r"\1\1\1\1", prompt, flags=re.DOTALL)
    pieces = len(re.findall(r"\S*\w|[^\w\s]+(?!\S)", collapsed))
    assert fewest_tokens(prompt, prompt.split()) == max(0.9 * pieces, len(collapsed.encode()) / 16)


KINDS = ("russian", "english", "digits", "chinese", "code", "noise", "spaces")
HONEST: dict[str, Callable[[str], int]] = {
    "two tokens a word": lambda text: 2 * len(re.findall(r"\w{1,8}|[^\w\s]", text)) + TEMPLATE,
    "a byte a token": lambda text: len(text.encode()) + TEMPLATE,
    "words and digits apart": lambda text: len(re.findall(r"\d|[^\W\d]{1,4}|[^\w\s]+|\s{2,}", text)) + TEMPLATE,
    "long system message": lambda text: len(text.encode()) // 4 + 3_000,
    "no numbers": lambda _: 0,
}


@pytest.mark.parametrize("count", HONEST.values(), ids=HONEST)
def test_no_prompt_that_was_read_whole_is_suspected_in_the_end(count: Callable[[str], int]) -> None:
    source = random.Random(5)
    prompts = [text_of(source.choice(KINDS), source.randrange(20, 900), source) for _ in range(150)]
    with FakeJudge(reporting(count)) as judge:
        found, log = checked(judge, prompts)
        assert len(judge.calls) <= 150 + 4 * 25  # once for each kind of text, and seldom more
    assert not any(found)
    assert log == []


def test_a_tokenizer_that_joins_words_is_no_cut() -> None:
    """As those of SuperBPE (arXiv 2503.13423) do, whose tokens may be of several words."""
    with FakeJudge(reporting(lambda text: len(text.split()) // 2 + TEMPLATE)) as judge:
        found, _ = checked(judge, [words(size, "о") for size in range(400, 1_400, 100)])
    assert not any(found)


def test_a_server_that_leaves_out_what_it_has_cached_is_believed_and_it_is_said_once() -> None:
    read: set[str] = set()

    def count(prompt: str) -> int:
        pieces = [prompt[: end + 500] for end in range(0, len(prompt), 500)]
        fresh = [piece for piece in pieces if piece not in read]
        read.update(pieces)
        return max(1, tokens_of(prompt) * len(fresh) // len(pieces)) + TEMPLATE

    answer = words(1_200)
    with FakeJudge(reporting(count)) as judge:
        found, log = checked(judge, [f"{answer}\n\nКритерий {index}" for index in range(12)])
    assert not any(found)
    assert len(log) == 1
    assert "whose beginning it has read before" in log[0]


def test_what_cannot_be_measured_is_not_asked_for_again_and_again() -> None:
    def answer(call: Call) -> Raw:
        if call.body["max_tokens"] == 1:
            return as_json({"error": {"message": "too few tokens"}}, status=400)
        return reporting(lambda prompt: tokens_of(prompt))(call)

    with FakeJudge(answer) as judge:
        found, _ = checked(judge, [words(600 + index) for index in range(20)])
        assert len(judge.calls) <= 20 + 3 * 3
    assert not any(found)


def test_short_prompts_and_our_own_engines_are_never_looked_into() -> None:
    with FakeJudge(reporting(cutting(2_048))) as judge:
        checked(judge, [words(100)] * 5)
        assert len(judge.calls) == 5
        checked(judge, [words(900)], engine="vllm")
        assert len(judge.calls) == 6


def test_what_is_asked_to_find_out_is_as_the_judge_asks_and_one_token_long() -> None:
    with FakeJudge(reporting(cutting(2_048))) as judge:
        checked(judge, [words(900)])
        whole, *others = judge.calls
    assert whole.prompt == words(900)
    assert len(others) == 3
    for call in others:
        assert call.body == {**whole.body, "messages": call.body["messages"], "max_tokens": 1}
