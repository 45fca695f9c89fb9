"""What a tokenizer reads as a token of the conversation's markup instead of as characters, whoever wrote it.

The one list of it, by family of models: `prompts.as_text` shows such text to the judge as characters, and `injection`
flags the answers that hold it. DuckDB evaluates `MARKUP` too, and its RE2 has no look-around.

`as_text` is reversible because a space that it puts in never decides whether anything matches: spaces may stand before
the `>` that ends a token in angle brackets and after the first character of any other, a name neither begins nor ends
with one, and no character of a name begins or ends a token. Keep to this when a family is added.
"""

from __future__ import annotations

import re

_NAMED = r"[^\x20\t\r\n<>\[\]◁‹|]"
_REASONING = r"/?(?:think|thinking|thoughts?|reasoning|reflection)|/?(?:seed|minimax|mm):\w{1,24}"  # Seed, MiniMax
_ANGLED = (
    rf"[|｜]{_NAMED}(?:[^\t\r\n<>\[\]◁‹|]{{0,62}}{_NAMED})?[|｜]",  # ChatML, Qwen, Llama 3, Phi, harmony, DeepSeek
    r"\|/?[\w.:-]{1,32}",  # Gemma 4: <|turn>, <|tool>, <|image>
    r"[\w.:-]{1,32}\|",  # Gemma 4: <turn|>, <tool|>
    r"/?(?:start|begin|beginning|end)_(?:of|function)_\w{1,24}",  # Gemma, FunctionGemma, MiniMax
    r"/?(?:s|bos|eos|unk|pad|mask|cls|sep|escape|sop|eop|eoh|role)",  # Llama 2, Mistral, Gemma, GLM, InternLM, Ling
    r"(?:[BE]OS|PAD|UNK|CLS|SEP|MASK)|[A-Z]{2,8}_TOKEN",  # Command R
    r"unused\d{1,4}|reserved_\d{1,4}|(?:special|SPECIAL)_\d{1,4}|extra_id_\d{1,4}",  # Gemma, Baichuan, Nemotron, T5
    r"0x[0-9A-Fa-f]{2}",  # the bytes of SentencePiece
    r"fim_\w{1,16}|file_sep|repo_?name|(?:image|audio)_soft_token",  # StarCoder and others, Gemma
    r"(?:jupyter|issue|commit)_\w{1,16}|gh_stars|empty_output",  # StarCoder, Granite, SmolLM, MiniMax
    r"/?(?:tool_(?:call|response|result)s?|function_?calls?|arg_key|arg_value)",  # Qwen, Hermes, GLM
    _REASONING,
    r"</?SYS>",  # Llama 2: <<SYS>>
)
_BRACKETED = (
    r"\|\w{1,24}\|",  # EXAONE
    r"/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS|TOOL_CONTENT|MODEL_SETTINGS)",  # Mistral
    r"/?THINK|ARGS|CALL_ID|IMG(?:_BREAK|_END)?|PREFIX|SUFFIX|MIDDLE|(?:BEGIN_)?AUDIO|TRANSCRIBE",  # Mistral
    r"STREAMING_(?:PAD|WORD)|(?:NEXT|REPEAT)_AUDIO_TEXT",  # Mistral's for speech
    r"BOS|EOS|EOT|PAD|UNK|CLS|SEP|NL|[gs]?MASK",  # Kimi, YandexGPT, BERT, GLM
    r"(?:unused_token_|UNUSED_TOKEN_|unused|control_)\d{1,4}",  # InternLM2, BERT, Mistral
)
_GLMS = r"/\x20*nothink"  # leaves the reasoning out
_KIMIS = r"◁\x20*/?think▷|‹\x20*/?(?:think|thinking|thought|reasoning)›"
FIRST_MARKUP = (
    rf"<(?:{'|'.join(_ANGLED)})\x20*>"
    rf"|\[\x20*(?:(?:{'|'.join(_BRACKETED)})\]|e~\[)"
    r"|\]\x20*(?:~!?b[\]\[]|![pd]~\[|<\][a-z][a-z\x20]{0,31}\[>\[)"  # MiniMax, as `[e~[` above
    rf"|{_KIMIS}|{_GLMS}"
)
"""The tokens that homes have keys of from the first; a change asks about every text with any of them again."""
LATER_MARKUP = (
    r"</?longcat_\w{1,24}\x20*>"  # LongCat
    r"|<(?:mask:\d{1,4}|eo[adm]|_(?:start|user|bot|system|end))\x20*>"  # ERNIE 4.5; GLM-130B, InternLM; TeleChat
)
"""Tokens that were added later; a change of it asks about the texts with one of these again, and about no other."""
MARKUP = f"{FIRST_MARKUP}|{LATER_MARKUP}"
"""Matches a token; a pattern for Python (with re.ASCII) and for RE2."""

TOKEN = re.compile(MARKUP, re.ASCII)
TAG_OF_REASONING = re.compile(rf"<(?:{_REASONING})\x20*>|\[\x20*/?THINK\]|{_KIMIS}|{_GLMS}", re.ASCII | re.IGNORECASE)
"""Matches those of the tokens that reasoning stands in, in any case."""

WRITTEN_BY_PEOPLE = re.compile(r"\[(?:IMG|PREFIX|SUFFIX|MIDDLE|ARGS|AUDIO)\]|</?(?:role|mask|sep)>")
"""Matches those that forums, templates and mark-up languages use too: shown as characters, but no sign of an attack."""
