"""Makes outside text safe to display: names, answers and messages may contain terminal control characters."""

from __future__ import annotations


def escaped(value: object, *, keep: str = "") -> str:
    """`value` as printable text; every other character, except those in `keep`, becomes a visible escape."""
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in str(value))


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, ending in an ellipsis where something was cut off."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
