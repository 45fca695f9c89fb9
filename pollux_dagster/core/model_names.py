"""Whether two names of a model mean the same one: what a server calls it, and what is recorded."""

from __future__ import annotations

import re

# Words of names that anybody gives to anything: served under such a name, two models are not told apart.
_ANYBODYS = re.compile(
    r"(?:latest|main|master|final|last|best|rc|v|models?|merged|weights|checkpoints?|ckpt|step|epoch|run|judge|llm|"
    r"snapshots?|default|local|base|output|gguf|safetensors)?\d*|[0-9a-f]{7,64}"
)
_LOCAL_PATH = ("/", "./", "../", "~")
NAMES_OF_MODELS = (
    r"(?i)(?:^|[^\pL])(?:(?:chat)?gpt|llama|qwen|qwq|gemma|gemini|mistral|mixtral|deepseek|grok|phi|glm|command|falcon|"
    r"vicuna|olmo|nemotron|exaone|prometheus|pollux|saiga|vikhr|t-(?:lite|pro)|ruadapt|cotype)[-_ .]?v?\d"
    r"|claude[-_ .]?(?:\d|instant|haiku|sonnet|opus)|gigachat|yandex ?gpt|deepseek|qwen|chatgpt"
    r"|(?:^|[^\pL])(?:llm|judge|судья|нейросеть|model|модель)(?:$|[^\pL])|(?:^|[-_ ])\d{1,2}(?:\.\d)?b(?:[-_ ]|$)"
)
"""Matches names that language models have and people hardly do; a pattern for RE2."""


def is_name_of(served: str, model: str) -> bool:
    """Whether a server's name for its model means `model`: the same name, or one that is the last part of the other,
    or a local path that ends in it. A last part such as `final`, which any model may have, means none.
    """
    names = [_plain(name) for name in (served, model)]
    if names[0] == names[1]:
        return True
    last = names[0].rpartition("/")[2]
    if any("://" in name for name in names) or last != names[1].rpartition("/")[2] or not tells_which(last):
        return False
    return last in names or any(name.startswith(_LOCAL_PATH) for name in names)


def tells_which(name: str) -> bool:
    """Whether the last part of a name has a word of its own."""
    return not all(_ANYBODYS.fullmatch(word) for word in re.split(r"[-_.]", _plain(name).rpartition("/")[2]))


def _plain(name: str) -> str:
    return name.casefold().removesuffix(":latest").rstrip("/")
