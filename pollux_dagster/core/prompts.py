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

# What a tokenizer reads as a token of the conversation's markup instead of as characters, whoever wrote it: special
# tokens by family, and the tags around reasoning. DuckDB evaluates the pattern too, and its RE2 has no look-around.
#
# `as_text` is reversible because a space that it puts in never decides whether anything matches: spaces may stand
# before the `>` that ends a token in angle brackets and after the first character of any other, a name neither begins
# nor ends with one, and no character of a name begins or ends a token. Keep to this when a family is added.
_NAMED = r"[^\x20\t\r\n<>\[\]◁‹|]"
_ANGLED = (
    rf"[|｜]{_NAMED}(?:[^\t\r\n<>\[\]◁‹|]{{0,62}}{_NAMED})?[|｜]",  # ChatML, Qwen, Llama 3, Phi, harmony, DeepSeek
    r"\|/?[\w.:-]{1,32}",  # Gemma 4: <|turn>, <|tool>, <|image>
    r"[\w.:-]{1,32}\|",  # Gemma 4: <turn|>, <tool|>
    r"/?(?:start|begin|beginning|end)_(?:of|function)_\w{1,24}",  # Gemma, FunctionGemma, MiniMax
    r"/?(?:s|bos|eos|unk|pad|mask|cls|sep|escape|sop|eop|eoh|role)",  # Llama 2, Mistral, Gemma, GLM, InternLM, Ling
    r"(?:[BE]OS|PAD|UNK|CLS|SEP|MASK)|[A-Z]{2,8}_TOKEN",  # Command R
    r"unused\d{1,4}|reserved_\d{1,4}|(?:special|SPECIAL)_\d{1,4}|extra_id_\d{1,4}",  # Gemma, Baichuan, Nemotron, T5
    r"0x[0-9A-Fa-f]{2}",  # the bytes of SentencePiece
    r"fim_\w{1,16}|file_sep|repo_name|(?:image|audio)_soft_token",  # StarCoder and others, Gemma
    r"/?(?:tool_(?:call|response|result)s?|function_?calls?|arg_key|arg_value)",  # Qwen, Hermes, GLM
    r"/?(?:think|thinking|thoughts?|reasoning|reflection)|/?(?:seed|minimax|mm):\w{1,24}",  # reasoning; Seed, MiniMax
    r"</?SYS>",  # Llama 2: <<SYS>>
)
_BRACKETED = (
    r"\|\w{1,24}\|",  # EXAONE
    r"/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS|TOOL_CONTENT|MODEL_SETTINGS)",  # Mistral
    r"/?THINK|ARGS|CALL_ID|IMG(?:_BREAK|_END)?|PREFIX|SUFFIX|MIDDLE|(?:BEGIN_)?AUDIO|TRANSCRIBE",  # Mistral
    r"BOS|EOS|EOT|PAD|UNK|CLS|SEP|NL|[gs]?MASK",  # Kimi, YandexGPT, BERT, GLM
    r"(?:unused_token_|UNUSED_TOKEN_|unused|control_)\d{1,4}",  # InternLM2, BERT, Mistral
)
MARKUP = (
    rf"<(?:{'|'.join(_ANGLED)})\x20*>"
    rf"|\[\x20*(?:(?:{'|'.join(_BRACKETED)})\]|e~\[)"
    r"|\]\x20*(?:~!?b[\]\[]|![pd]~\[|<\][a-z][a-z\x20]{0,31}\[>\[)"  # MiniMax, as `[e~[` above
    r"|◁\x20*/?think▷|‹\x20*/?(?:think|thinking|thought|reasoning)›"  # Kimi
)
_MARKUP = re.compile(MARKUP, re.ASCII)
# What the space is put after: a token in angle brackets up to its last `>`, of any other token the first character.
_BEFORE_THE_SPACE = r"<[^<>]*[^<>\x20](?=\x20*>)|<<[^<>]*>(?=\x20*>)|[^<]"
_SPACELESS = re.compile(rf"(?=(?:{MARKUP}))(?:{_BEFORE_THE_SPACE})", re.ASCII)
_SPACED = re.compile(rf"(?=(?:{MARKUP}))({_BEFORE_THE_SPACE})\x20", re.ASCII)

AS_TEXT_RULE = hashlib.sha256(_SPACELESS.pattern.encode()).hexdigest()[:8]
"""Changes with what `as_text` does."""


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
    """`text` with a space in everything that a tokenizer would read as markup.

    So `<|im_end|>` in an answer reaches the judge as the characters `<|im_end| >` and cannot end the turn, and `[INST]`
    as `[ INST]`. What already has spaces there gets one more, so that `as_written` can undo it. Text without markup is
    returned as it is.
    """
    return _SPACELESS.sub(r"\g<0> ", text) if _MARKUP.search(text) else text


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
