"""Partition keys for model ids: any text a file may carry, as a key that Dagster and its UI can show.

The one idea: a key is either the id itself or a readable stub with a hash, and the two never collide
because `~` occurs only in the second kind. The way back is a table of (key, model_id), not a computation.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_PLAIN = 100
MAX_SLUG = 60
# Dagster refuses "..." and control characters in partition keys; "," "[" "]" mean something to its UI.
_PLAIN = re.compile(r"[\w.\-/+@:()]([\w.\-/+@:() ]*[\w.\-/+@:()])?")
_UNSAFE = re.compile(r"[^\w.\-+@]+")


def model_partition_key(model_id: str) -> str:
    """A Dagster partition key for `model_id`: equal for equal ids, different for different ones.

    The id itself where it is at most 100 plain characters; otherwise `slug~hash` with a slug of at most 60
    characters and 12 hex digits of the id's sha256.
    """
    plain = len(model_id) <= MAX_PLAIN and _PLAIN.fullmatch(model_id) and "..." not in model_id
    if plain and unicodedata.is_normalized("NFC", model_id):
        return model_id
    slug = _UNSAFE.sub("-", re.sub(r"\.{2,}", ".", unicodedata.normalize("NFKC", model_id)))[:MAX_SLUG]
    slug = re.sub(r"\.{2,}", ".", slug).strip("-. ")
    digest = hashlib.sha256(model_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{slug or 'model'}~{digest}"


def partition_keys(model_ids: list[str]) -> dict[str, str]:
    """Key → model id for every id. Raises ValueError if two ids share a key (a 48-bit hash collision)."""
    keys: dict[str, str] = {}
    for model_id in model_ids:
        key = model_partition_key(model_id)
        if keys.setdefault(key, model_id) != model_id:
            raise ValueError(f"model ids {keys[key]!r} and {model_id!r} share the partition key {key!r}: rename one")
    return keys
