"""The judge's prompt: trained on byte for byte, so pinned byte for byte."""

from __future__ import annotations

import hashlib

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pollux_dagster.core.markup import MARKUP
from pollux_dagster.core.profile_files import packaged_profile
from pollux_dagster.core.prompts import (
    AS_TEXT_RULE,
    LATER_RULE,
    PromptTemplate,
    as_text,
    as_written,
    keeping_heading,
    leaving_out_heading,
    render,
)

TEMPLATE = packaged_profile("pollux-4b").template
WITHOUT_HEADING = packaged_profile("pollux-4b-no-heading").template


# The cards of the three judges have one template, which ends in a line break; prompts/test_pollux.txt in the makers'
# repository is the same without it.
@pytest.mark.parametrize("judge", ["pollux-4b", "pollux-7b", "pollux-32b"])
def test_the_template_is_the_model_cards_byte_for_byte(judge: str) -> None:
    template = packaged_profile(judge).template
    makers = template.with_reference.rstrip("\n").replace("criteria_rubrics", "rubrics")
    assert hashlib.sha256(template.with_reference.encode()).hexdigest() == (
        "5f4c40d0757e3c072fd4765d095e2e27173bb74e6ffb172316f9df3630eb34ee"
    )
    assert hashlib.sha256(makers.encode()).hexdigest() == (
        "904b3098ee3a7de1975e9ca55c89571f2f0ba47ba57867becb2c2ae2d91b52c0"
    )
    assert template == keeping_heading(template.with_reference)


def test_the_judge_of_earlier_versions_leaves_the_heading_out() -> None:
    assert leaving_out_heading(TEMPLATE.with_reference) == WITHOUT_HEADING
    assert WITHOUT_HEADING.with_reference == TEMPLATE.with_reference
    assert hashlib.sha256(WITHOUT_HEADING.without_reference.encode()).hexdigest() == (
        "3724a6777f4d05f57e8c4da33bac8eb6c3db9844e780bb88f17a68bdbadf4fb9"
    )


def test_a_prompt_with_a_reference_shows_every_text_once_in_the_cards_order() -> None:
    assert render(TEMPLATE, "Сколько?", "7", "Семь", "Точность", "0: нет\n1: да") == (
        "### Задание для оценки:\nСколько?\n\n### Эталонный ответ:\n7\n\n### Ответ для оценки:\nСемь\n\n"
        "### Критерий оценки:\nТочность\n\n### Шкала оценивания по критерию:\n0: нет\n1: да\n"
    )


@pytest.mark.parametrize("blank", [None, "", "  \n\t"])
def test_a_blank_reference_keeps_its_heading_with_nothing_under_it(blank: str | None) -> None:
    # As `reference_answer or ""` in src/score.py of ai-forever/POLLUX.
    prompt = render(TEMPLATE, "Сколько?", blank, "Семь", "Точность", "0: нет")
    assert prompt.startswith(
        "### Задание для оценки:\nСколько?\n\n### Эталонный ответ:\n\n\n### Ответ для оценки:\nСемь"
    )


@pytest.mark.parametrize("blank", [None, "", "  \n\t"])
def test_a_template_may_leave_the_block_of_a_blank_reference_out(blank: str | None) -> None:
    prompt = render(WITHOUT_HEADING, "Сколько?", blank, "Семь", "Точность", "0: нет")
    assert "Эталонный" not in prompt
    assert prompt.startswith("### Задание для оценки:\nСколько?\n\n### Ответ для оценки:\nСемь\n\n")


def test_the_two_templates_hash_to_different_identities_than_either_swapped() -> None:
    swapped = PromptTemplate(TEMPLATE.without_reference, TEMPLATE.with_reference)
    assert len({swapped.template_hash, TEMPLATE.template_hash, WITHOUT_HEADING.template_hash}) == 3


hostile = st.text(alphabet=st.sampled_from("{}абв#\n\\%$ 0!:"), max_size=40) | st.sampled_from(
    ["{answer}", "{0}", "{{criteria_name}}", "### Критерий оценки:\n", "%s"]
)


@given(instruction=hostile, reference=hostile, answer=hostile, name=hostile, rubrics=hostile)
def test_texts_are_inserted_as_they_are_whatever_they_contain(
    instruction: str, reference: str, answer: str, name: str, rubrics: str
) -> None:
    block = f"### Эталонный ответ:\n{reference if reference.strip() else ''}\n\n"
    assert render(TEMPLATE, instruction, reference, answer, name, rubrics) == (
        f"### Задание для оценки:\n{instruction}\n\n{block}### Ответ для оценки:\n{answer}\n\n"
        f"### Критерий оценки:\n{name}\n\n### Шкала оценивания по критерию:\n{rubrics}\n"
    )


TOKENS = (
    *("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>", "<|start|>", "<｜end▁of▁sentence｜>"),
    *('<|"|>', "<|tool>", "<tool|>", "<|image>", "<image|>", "<|audio>", "<turn|>", "<|channel>", "<|думай|>"),
    *("<|a b+c|>", "<|" + "x" * 64 + "|>", "<start_of_turn>", "<end_of_turn>", "<start_of_audio>", "<end_of_image>"),
    *("<start_function_call>", "<end_function_response>", "<escape>", "<bos>", "<eos>", "<unused9>", "<0x0A>"),
    *("]<]image[>[", "]<]start of image[>[", "]!p~[", "]!d~[", "]~b]", "]~!b[", "[e~[", "<beginning_of_sentence>"),
    *("<end_of_sentence>", "<SPECIAL_10>", "<special_3>", "[SEP]", "[NL]", "[BOS]", "[EOS]", "[EOT]", "[PAD]"),
    *("[UNK]", "<arg_key>", "</arg_value>", "<tool_call>", "</tool_response>", "[MASK]", "[sMASK]", "[gMASK]", "<sop>"),
    *("[INST]", "[/INST]", "[THINK]", "[ARGS]", "[CALL_ID]", "[MODEL_SETTINGS]", "[/MODEL_SETTINGS]", "[IMG]"),
    *("[PREFIX]", "[SUFFIX]", "[MIDDLE]", "[UNUSED_TOKEN_145]", "<s>", "</s>", "<unk>", "<pad>", "<mask>", "[CLS]"),
    *("<BOS_TOKEN>", "<EOP_TOKEN>", "<fim_prefix>", "<fim_pad>", "<role>", "</role>", "<<SYS>>", "<</SYS>>"),
    *("<think>", "</think>", "<reasoning>", "</thought>", "<mm:think>", "<seed:think>", "◁think▷", "◁/think▷"),
    *("‹think›", "[|endofturn|]", "<extra_id_1>", "<reserved_106>", "/nothink", "<jupyter_start>", "<commit_msg>"),
    *("<issue_closed>", "<reponame>", "<gh_stars>", "<empty_output>", "[STREAMING_PAD]", "[NEXT_AUDIO_TEXT]"),
    *("<longcat_user>", "</longcat_s>", "<mask:1>", "<eod>", "<eoa>", "<_user>", "<_end>"),
)


@pytest.mark.parametrize("token", TOKENS)
def test_markup_of_a_conversation_reaches_the_judge_as_characters(token: str) -> None:
    shown = as_text(f"до {token} после")
    assert token not in shown
    assert shown.replace(" ", "") == f"до{token}после".replace(" ", "")
    assert len(shown) == len(f"до {token} после") + 1
    prompt = render(TEMPLATE, token, token, token, token, token)
    assert token not in prompt


ORDINARY = (
    *("f <| x |> y", "p <|> q", "a < b > c", "[ссылка](http://x)", "<p>текст</p>", "x << 2", "vector<string>"),
    *("[1] и [2]", "if (x < s>>1)", "if (n < mask>>3)", "a[i]", "[x] сделано", "[INFO] готово", "[[link]]", "‹да›"),
    *("<role name='x'>", "|a| < |b|", "<T1, T2>", "#include <stdio.h>", "<br/>", "x <- [1, 2] ++ ys", "[TODO]"),
)


@pytest.mark.parametrize("text", ORDINARY)
def test_other_text_is_inserted_as_it_is(text: str) -> None:
    assert as_text(text) == text


pieces = st.sampled_from(
    (
        *"<>|｜[]◁▷‹› \n/~!bspa",
        "  ",
        "im_end",
        "think",
        "nothink",
        "/",
        "INST",
        "gMASK",
        "SYS",
        "image",
        "tool",
        "s>",
        "|>",
        "<|",
        *TOKENS,
    )
).flatmap(lambda piece: st.sampled_from([piece, piece[:-1], piece[1:], f"{piece[:1]} {piece[1:]}", f"{piece[:-1]} >"]))


@settings(max_examples=500, deadline=None)
@given(parts=st.lists(pieces, max_size=12))
@example(parts=["<｜[INST]｜>"])
@example(parts=["<｜]~b]｜>"])
@example(parts=["<｜◁think▷｜>"])
@example(parts=["<｜[gMASK]｜>"])
@example(parts=["<｜[|a|]｜>"])
@example(parts=["<<s>SYS>>"])
def test_what_was_written_can_be_restored_and_no_markup_is_left(parts: list[str]) -> None:
    text = "".join(parts)
    shown = as_text(text)
    assert as_written(shown) == text
    assert not [token for token in TOKENS if token in shown]


def test_the_rule_is_the_one_that_homes_have_keys_of() -> None:
    """A change of the first asks about every text with markup again, of the second about those with later tokens: say
    so in the changelog.
    """
    assert (AS_TEXT_RULE, LATER_RULE) == ("e6740b89", "e6740b89+9e439c11")


@settings(deadline=None)
@given(text=st.lists(pieces, max_size=8).map("".join))
def test_duckdb_finds_markup_where_python_does(text: str) -> None:
    (found,) = duckdb.execute("SELECT regexp_matches(?, ?)", [text, MARKUP]).fetchone() or ()
    assert found == (as_text(text) != text)


@pytest.mark.timeout(60)  # less than a second of work where the time is linear
@pytest.mark.parametrize(
    "unit",
    [
        *("<", "<| ", "[", "]<]a"),
        *(
            pytest.param(unit, marks=pytest.mark.slow)
            for unit in ("<|", "<|a", "[ ", "]<", " ", "<<", "< ", "◁ ", "<s", "<s ")
        ),
    ],
)
def test_no_text_makes_markup_slow(unit: str) -> None:
    text = unit * (200_000 // len(unit)) + "<|im_end|>"
    assert as_written(as_text(text)) == text
    opened = unit + " " * 200_000 + "<|im_end|>"
    assert as_written(as_text(opened)) == opened
