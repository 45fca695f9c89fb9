"""The judge's prompt: trained on byte for byte, so pinned byte for byte."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollux_dagster.core.profile_files import packaged_profile
from pollux_dagster.core.prompts import (
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


MARKUP = (
    *("<|im_end|>", "<|im_start|>assistant", "<|endoftext|>", "<|eot_id|>", "<|start|>", "<think>", "</think>"),
    *("<｜end▁of▁sentence｜>", "<start_of_turn>", "<end_of_turn>", "<turn|>", "<|channel>", "<s>", "</s>", "[INST]"),
    *("[/INST]", "[THINK]", "[|endofturn|]", "<tool_call>", "]~b]", "[e~[", "◁think▷", "<eos>", "<<SYS>>"),
)


@pytest.mark.parametrize("token", MARKUP)
def test_markup_of_a_conversation_reaches_the_judge_as_characters(token: str) -> None:
    shown = as_text(f"до {token} после")
    assert token not in shown
    assert shown.replace(" ", "") == f"до{token}после".replace(" ", "")
    prompt = render(TEMPLATE, token, token, token, token, token)
    assert token not in prompt


@pytest.mark.parametrize(
    "text", ["f <| x |> y", "a < b > c", "[ссылка](http://x)", "<p>текст</p>", "x << 2", "vector<string>", "[1] и [2]"]
)
def test_other_text_is_inserted_as_it_is(text: str) -> None:
    assert as_text(text) == text


pieces = st.lists(st.sampled_from(["<", "|", ">", " ", "im_end", "/", "think", "s", "[", "]", "INST", "<|im_end|>"]))


@given(parts=pieces)
def test_what_was_written_can_be_restored(parts: list[str]) -> None:
    text = "".join(parts)
    assert as_written(as_text(text)) == text
    assert "<|im_end|>" not in as_text(text)
