"""The judge's prompt: trained on byte for byte, so pinned byte for byte."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollux_dagster.core import prompts
from pollux_dagster.core.prompts import POLLUX_TEMPLATE, render


@pytest.mark.parametrize(
    ("template", "sha256"),
    [
        (prompts.WITH_REFERENCE, "5f4c40d0757e3c072fd4765d095e2e27173bb74e6ffb172316f9df3630eb34ee"),
        (prompts.WITHOUT_REFERENCE, "3724a6777f4d05f57e8c4da33bac8eb6c3db9844e780bb88f17a68bdbadf4fb9"),
    ],
)
def test_the_template_is_the_model_cards_byte_for_byte(template: str, sha256: str) -> None:
    assert hashlib.sha256(template.encode()).hexdigest() == sha256


def test_a_prompt_with_a_reference_shows_every_text_once_in_the_cards_order() -> None:
    assert render(POLLUX_TEMPLATE, "Сколько?", "7", "Семь", "Точность", "0: нет\n1: да") == (
        "### Задание для оценки:\nСколько?\n\n### Эталонный ответ:\n7\n\n### Ответ для оценки:\nСемь\n\n"
        "### Критерий оценки:\nТочность\n\n### Шкала оценивания по критерию:\n0: нет\n1: да\n"
    )


@pytest.mark.parametrize("blank", [None, "", "  \n\t"])
def test_a_blank_reference_leaves_its_block_out(blank: str | None) -> None:
    prompt = render(POLLUX_TEMPLATE, "Сколько?", blank, "Семь", "Точность", "0: нет")
    assert "Эталонный" not in prompt
    assert prompt.startswith("### Задание для оценки:\nСколько?\n\n### Ответ для оценки:\nСемь\n\n")


def test_the_two_templates_hash_to_different_identities_than_either_swapped() -> None:
    swapped = prompts.PromptTemplate(prompts.WITHOUT_REFERENCE, prompts.WITH_REFERENCE)
    assert swapped.template_hash != POLLUX_TEMPLATE.template_hash


hostile = st.text(alphabet=st.sampled_from("{}абв#\n\\%$ 0!:"), max_size=40) | st.sampled_from(
    ["{answer}", "{0}", "{{criteria_name}}", "### Критерий оценки:\n", "%s"]
)


@given(instruction=hostile, reference=hostile, answer=hostile, name=hostile, rubrics=hostile)
def test_texts_are_inserted_as_they_are_whatever_they_contain(
    instruction: str, reference: str, answer: str, name: str, rubrics: str
) -> None:
    block = f"### Эталонный ответ:\n{reference}\n\n" if reference.strip() else ""
    assert render(POLLUX_TEMPLATE, instruction, reference, answer, name, rubrics) == (
        f"### Задание для оценки:\n{instruction}\n\n{block}### Ответ для оценки:\n{answer}\n\n"
        f"### Критерий оценки:\n{name}\n\n### Шкала оценивания по критерию:\n{rubrics}\n"
    )
