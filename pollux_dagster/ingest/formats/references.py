"""The reference answer among what a benchmark counts as right."""

from __future__ import annotations

from pollux_dagster.ingest import rows


def reference_among(golds: object) -> str | None:
    """The only text that counts as right, or a number as text. None where there are several: as one text they would
    read as an answer that has to hold them all.
    """
    found = golds if isinstance(golds, list) else [golds]
    texts = {
        text
        for gold in found
        if isinstance(gold, str | int | float) and (text := rows.reference_text({"gold": gold}, "gold")) is not None
    }
    return texts.pop() if len(texts) == 1 else None
