"""The leaderboards of past publications, one line of JSON each, in a file beside the publication.

The publication itself is replaced as a whole, so a trend needs this small file. Without it there is no trend, and
nothing else is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from pollux_dagster.core.files import write_private
from pollux_dagster.publication_access import open_publication

FILE = "history.jsonl"
MAX_LINES = 400  # a year of nights


@dataclass(frozen=True, slots=True)
class Past:
    """One publication: mean scores by judge_id and model."""

    published_at: datetime
    means: Mapping[str, Mapping[str, float]]


def remember(published: Path) -> None:
    """Add a publication to the history beside it, unless its leaderboards are those of the last line."""
    folder = published.parent
    means: dict[str, dict[str, float]] = {}
    with open_publication(published) as con:
        (published_at,) = con.execute("SELECT published_at FROM meta.publication").fetchone() or (None,)
        for judge_id, model_id, mean in con.execute(_MEANS).fetchall():
            means.setdefault(judge_id, {})[model_id] = mean
    lines = _lines(folder)
    if lines and lines[-1]["means"] == means:
        return
    lines.append({"published_at": published_at, "means": means})
    write_private(folder / FILE, b"".join(orjson.dumps(line) + b"\n" for line in lines[-MAX_LINES:]))


def past(folder: Path) -> list[Past]:
    """The publications remembered in `folder`, the earliest first; empty where there are none."""
    return [Past(datetime.fromisoformat(line["published_at"]), line["means"]) for line in _lines(folder)]


def _lines(folder: Path) -> list[dict[str, Any]]:
    """The lines that can be read: what somebody edited wrongly is as good as missing."""
    try:
        written = (folder / FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in written:
        try:
            read = orjson.loads(line)
            datetime.fromisoformat(read["published_at"])
            is_line = all(isinstance(mean, float) for means in read["means"].values() for mean in means.values())
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        found += [read] if is_line else []
    return found


_MEANS = """
SELECT judge_id, model_id, round(mean_score, 6)::DOUBLE FROM marts.leaderboard WHERE mean_score IS NOT NULL ORDER BY ALL
"""
