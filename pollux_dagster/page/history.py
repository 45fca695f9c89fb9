"""The leaderboards of past publications, one line of JSON each, in a file beside the publication.

The publication itself is replaced as a whole, so a trend needs this small file. Without it there is no trend, and
nothing else is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

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
    publications = past(folder)
    if publications and publications[-1].means == means:
        return
    publications.append(Past(published_at, means))
    write_private(folder / FILE, b"".join(orjson.dumps(each) + b"\n" for each in publications[-MAX_LINES:]))


def past(folder: Path) -> list[Past]:
    """The publications remembered in `folder`, the earliest first; empty where there are none.

    A line that somebody edited wrongly is as good as missing.
    """
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [publication for line in lines if (publication := _read(line)) is not None]


def _read(line: bytes) -> Past | None:
    try:
        read = orjson.loads(line)
        publication = Past(datetime.fromisoformat(read["published_at"]).astimezone(UTC), read["means"])
        means = [mean for of_judge in publication.means.values() for mean in of_judge.values()]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    return publication if all(isinstance(mean, float) and 0 <= mean <= 1 for mean in means) else None


_MEANS = """
SELECT judge_id, model_id, round(mean_score, 6)::DOUBLE FROM marts.leaderboard WHERE mean_score IS NOT NULL ORDER BY ALL
"""
