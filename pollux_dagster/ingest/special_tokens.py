"""The special tokens of a judge whose tokenizer is on this machine, and the answers that contain one.

`core.injection` knows the tokens of common model families. Tokens that a tokenizer adds to them are searched byte for
byte as the tokenizer spells them, because no other spelling becomes that token.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import duckdb

from pollux_dagster.core.injection import injection_reasons

_SHORTEST = 3  # an added token of a space or a line break is not markup


def read_special_tokens(folder: Path) -> frozenset[str]:
    """Every token that the tokenizer files in `folder` mark as special; empty where no such file can be read."""
    tokenizer, config = (_json(folder / name) for name in ("tokenizer.json", "tokenizer_config.json"))
    added = [*_items(tokenizer.get("added_tokens")), *_items(config.get("added_tokens_decoder"))]
    tokens = {token.get("content") for token in added if token.get("special")}
    named = [value for field, value in config.items() if field.endswith("_token")]
    tokens |= {value.get("content") if isinstance(value, dict) else value for value in named}
    return frozenset(token for token in tokens if isinstance(token, str) and len(token.strip()) >= _SHORTEST)


def keep_special_tokens(con: duckdb.DuckDBPyConnection, tokens: Collection[str]) -> None:
    """Store those of `tokens` that no pattern finds in landing.special_tokens; resolving searches answers for them."""
    if not are_kept(con, tokens):
        con.execute("DELETE FROM landing.special_tokens")
        con.execute("INSERT INTO landing.special_tokens SELECT unnest(?::VARCHAR[])", [_without_pattern(tokens)])


def are_kept(con: duckdb.DuckDBPyConnection, tokens: Collection[str]) -> bool:
    """Whether landing.special_tokens holds what `keep_special_tokens` would store."""
    kept = con.execute("SELECT token FROM landing.special_tokens").fetchall()
    return sorted(token for (token,) in kept) == _without_pattern(tokens)


def _without_pattern(tokens: Collection[str]) -> list[str]:
    # The patterns are least strict inside quoted code: what they find there they find everywhere.
    return sorted(token for token in tokens if not injection_reasons(f"`x{token}x`"))


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _items(added: object) -> Iterator[dict[str, Any]]:
    """The tokens of a list, or of an object keyed by id."""
    values = added.values() if isinstance(added, dict) else added if isinstance(added, list) else ()
    yield from (value for value in values if isinstance(value, dict))
