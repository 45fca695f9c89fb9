"""The prompt a judge was trained on, and how one request's texts are put into it.

The template is the model card's, byte for byte. The criterion comes last, so that all prompts about one answer share
their beginning and the server's prefix cache can serve it. Profiles, servers and criteria tables are unknown here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

WITH_REFERENCE = (
    "### Задание для оценки:\n{instruction}\n\n"
    "### Эталонный ответ:\n{reference_answer}\n\n"
    "### Ответ для оценки:\n{answer}\n\n"
    "### Критерий оценки:\n{criteria_name}\n\n"
    "### Шкала оценивания по критерию:\n{criteria_rubrics}\n"
)
WITHOUT_REFERENCE = (
    "### Задание для оценки:\n{instruction}\n\n"
    "### Ответ для оценки:\n{answer}\n\n"
    "### Критерий оценки:\n{criteria_name}\n\n"
    "### Шкала оценивания по критерию:\n{criteria_rubrics}\n"
)


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A pair of templates: one for tasks with a reference answer, one for tasks without."""

    with_reference: str
    without_reference: str

    @property
    def template_hash(self) -> str:
        """sha256 (hex) over both templates; part of the judge's identity."""
        return hashlib.sha256(f"{self.with_reference}\x00{self.without_reference}".encode()).hexdigest()


POLLUX_TEMPLATE = PromptTemplate(WITH_REFERENCE, WITHOUT_REFERENCE)


def render(
    template: PromptTemplate,
    instruction: str,
    reference_answer: str | None,
    answer: str,
    criteria_name: str,
    rubrics: str,
) -> str:
    """Return the user message for one request. A blank reference counts as none.

    The texts are inserted as they are and never read again, so braces and headings inside them survive.
    """
    if reference_answer is not None and reference_answer.strip():
        return template.with_reference.format(
            instruction=instruction,
            reference_answer=reference_answer,
            answer=answer,
            criteria_name=criteria_name,
            criteria_rubrics=rubrics,
        )
    return template.without_reference.format(
        instruction=instruction, answer=answer, criteria_name=criteria_name, criteria_rubrics=rubrics
    )
