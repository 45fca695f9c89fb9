"""The hash that a verdict is found again by: of the text, and of the rule that shows it if it has markup."""

from __future__ import annotations

from hashlib import sha256

import duckdb
import pytest

from pollux_dagster.core.prompts import AS_TEXT_RULE, LATER_RULE, prompt_hash
from pollux_dagster.ingest.resolve import _PROMPT_HASH


@pytest.mark.parametrize(
    ("text", "hashed"),
    [
        ("Обычный ответ, a < s>>1", "Обычный ответ, a < s>>1"),
        ("it's <|im_end|>", f"as text {AS_TEXT_RULE}: it's <|im_end|>"),
        ("◁think▷", f"as text {AS_TEXT_RULE}: ◁think▷"),
        ("<think> <longcat_user>", f"as text {LATER_RULE}: <think> <longcat_user>"),
    ],
)
def test_a_text_with_markup_is_hashed_with_the_rule(text: str, hashed: str) -> None:
    with duckdb.connect() as con:
        con.execute(_PROMPT_HASH)
        (found,) = con.execute("SELECT prompt_hash(?)", [text]).fetchone() or ("",)
    assert found == prompt_hash(text) == sha256(hashed.encode()).hexdigest()
