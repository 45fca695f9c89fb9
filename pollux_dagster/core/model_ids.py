"""Partition keys for model ids: a model id from a file may be any text, Dagster and its UI accept only some of it.

A key is either the id itself or a readable slug with a hash. The two kinds never collide, because `~` occurs only in
the second. A key is mapped back to its id by a table of (key, model_id), not by a computation.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_PLAIN = 100
MAX_SLUG = 60
# Dagster refuses "..." and control characters in partition keys; "," "[" "]" have a meaning in its UI.
_PLAIN = re.compile(r"[\w.\-/+@:()]([\w.\-/+@:() ]*[\w.\-/+@:()])?")
_UNSAFE = re.compile(r"[^\w.\-+@]+")
MODEL_PARTITIONS = "models"
"""Name of the dynamic partitions definition, with one partition per LLM under test."""


def model_partition_key(model_id: str) -> str:
    """Return a Dagster partition key for `model_id`: equal for equal ids, different for different ones.

    The key is the id itself where the id has at most 100 plain characters; otherwise `slug~hash` with a slug of at most
    60 characters and 12 hex digits of the id's sha256.
    """
    plain = len(model_id) <= MAX_PLAIN and _PLAIN.fullmatch(model_id) and "..." not in model_id
    if plain and unicodedata.is_normalized("NFC", model_id):
        return model_id
    slug = _UNSAFE.sub("-", re.sub(r"\.{2,}", ".", unicodedata.normalize("NFKC", model_id)))[:MAX_SLUG]
    slug = re.sub(r"\.{2,}", ".", slug).strip("-. ")
    digest = hashlib.sha256(model_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{slug or 'model'}~{digest}"


def partition_keys(model_ids: list[str]) -> dict[str, str]:
    """Map each id's key to the id. Raises ValueError if two ids share a key (a 48-bit hash collision)."""
    keys: dict[str, str] = {}
    for model_id in model_ids:
        key = model_partition_key(model_id)
        if keys.setdefault(key, model_id) != model_id:
            raise ValueError(f"model ids {keys[key]!r} and {model_id!r} share the partition key {key!r}: rename one")
    return keys
