"""The prompt a judge is asked with, and how one request's texts are put into it.

The criterion comes last, so that all prompts about one answer share their beginning and the server's prefix cache can
serve it. Profiles, servers and criteria tables are unknown here.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

PLACEHOLDERS = ("instruction", "reference_answer", "answer", "criteria_name", "criteria_rubrics")
_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")

# Text that a tokenizer reads as a token of the conversation's markup instead of as characters, whoever wrote it:
# special tokens by family (those of `core.injection`, byte for byte) and the tags around reasoning. The spaces after
# the first character make the rule of `as_text` reversible. Without a look-around, because DuckDB's RE2 has none.
MARKUP = (
    r"<\x20*(?:"
    r"\|[\w▁./:-]{1,48}\|>|｜[^\s<>]{1,48}｜>"  # ChatML, Qwen, Llama 3, Phi, harmony, Command R; DeepSeek
    r"|\|(?:turn|channel|think|tool_\w{1,16})>|(?:turn|channel|think|tool_\w{1,16})\|>"  # Gemma 4
    r"|/?(?:start|end)_of_(?:turn|image)>|[be]os>|unused\d{1,4}>|/?s>|</?SYS>>"  # Gemma, Llama 2, Mistral
    r"|[BE]OS_TOKEN>|/?(?:think|thinking|thought)>|/?(?:seed|minimax):\w{1,24}>"
    r"|/?(?:tool_call|tool_response|function_?calls?)>"
    r"|reserved_\d{1,4}>|special_\d{1,4}>|extra_id_\d{1,4}>|sop>|eop>|eoh>)"
    r"|\[\x20*(?:\|\w{1,24}\|\]|/?INST\]|/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS|TOOL_CONTENT)\]"
    r"|/?THINK\]|unused_token_\d{1,4}\]|gMASK\]|e~\[)"
    r"|\]\x20*~!?b[\]\[]|◁\x20*/?think▷"
)
_MARKUP = re.compile(MARKUP, re.ASCII)
_FIRST_CHARACTER = re.compile(rf"(?=(?:{MARKUP})).", re.ASCII)
_SPACED = re.compile(rf"(?=(?:{MARKUP}))(.)\x20", re.ASCII)


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A pair of templates: one for tasks with a reference answer, one for tasks without."""

    with_reference: str
    without_reference: str

    @property
    def template_hash(self) -> str:
        """sha256 (hex) over both templates; part of the judge's identity."""
        return hashlib.sha256(f"{self.with_reference}\x00{self.without_reference}".encode()).hexdigest()


def keeping_heading(template: str) -> PromptTemplate:
    """The template for both cases, with nothing under the reference's heading where there is no reference."""
    return PromptTemplate(template, template.replace("{reference_answer}", ""))


def leaving_out_heading(template: str) -> PromptTemplate:
    """The template whose paragraph with the reference is left out where there is no reference."""
    paragraphs = [part for part in template.split("\n\n") if "{reference_answer}" not in part]
    return PromptTemplate(template, "\n\n".join(paragraphs))


def as_text(text: str) -> str:
    """`text` with a space after the first character of everything that a tokenizer would read as markup.

    So `<|im_end|>` in an answer reaches the judge as the characters `< |im_end|>` and cannot end the turn. What already
    has spaces there gets one more, so that `as_written` can undo it. Text without markup is returned as it is.
    """
    return _FIRST_CHARACTER.sub(r"\g<0> ", text) if _MARKUP.search(text) else text


def as_written(text: str) -> str:
    """The text of which `as_text` made `text`."""
    return _SPACED.sub(r"\1", text)


def render(
    template: PromptTemplate,
    instruction: str,
    reference_answer: str | None,
    answer: str,
    criteria_name: str,
    rubrics: str,
) -> str:
    """Return the user message for one request. A blank reference counts as none.

    The texts are inserted by `as_text` and never read again, so braces and headings inside them survive.
    """
    has_reference = reference_answer is not None and bool(reference_answer.strip())
    texts = (instruction, reference_answer or "", answer, criteria_name, rubrics)
    values = dict(zip(PLACEHOLDERS, map(as_text, texts), strict=True))
    chosen = template.with_reference if has_reference else template.without_reference
    return _PLACEHOLDER.sub(lambda match: values[match[1]], chosen)
