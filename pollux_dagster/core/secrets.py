"""Keeps secrets whose values are known out of texts that leave this machine."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SHORTEST_CHARS = 8  # shorter ones are placeholders ("EMPTY", "none"): masking such a word would falsify a sentence
_SHORTEST_OF_PATH = 16  # a token in a path; shorter parts are words such as "services"


def masked(text: str, secrets: Collection[str]) -> str:
    """`text` with *** in place of every secret, as it is and as an address spells it, the longest first."""
    spelt = {spelling for secret in secrets for spelling in (secret, quote(secret, safe=""))}
    for secret in sorted(spelt, key=len, reverse=True):
        if len(secret) >= SHORTEST_CHARS:
            text = text.replace(secret, "***")
    return text


def secrets_in_address(address: str, *, path_is_secret: bool = False) -> Iterator[str]:
    """What may be secret in a URL: user, password, values of the query; where `path_is_secret`, as in a webhook's, also
    the address itself, its path, and the long parts of it.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        yield address
        return
    yield from (unquote(each) for each in (parts.username, parts.password) if each)
    yield from (value for _, value in parse_qsl(parts.query))
    if path_is_secret:
        yield address
        yield f"{parts.path}?{parts.query}" if parts.query else parts.path
        yield from (part for part in parts.path.split("/") if len(part) >= _SHORTEST_OF_PATH)
