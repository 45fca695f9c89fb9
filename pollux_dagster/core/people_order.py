"""Where people's scores put two models in another order than the judge's means, in words.

Decided by marts.leaderboard: its column `people_put_above` names the models with a later place whose mean by people is
surely higher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pollux_dagster.core.figures import rounded

Row = Mapping[str, Any]
NAMED = 3
"""Pairs in the first lines of a text; the table has the others."""


def turned(board: Sequence[Row]) -> list[tuple[Row, Row]]:
    """The pairs (better by people, better by the judge) of some rows of marts.leaderboard, by the judge's place.

    A publication of an earlier version has none, because its rows lack the column.
    """
    rows = {row["model_id"]: row for row in board}
    return [
        (rows[above], row) for row in board for above in row.get("people_put_above") or () if above in rows
    ]  # fmt: skip


def in_words(board: Sequence[Row]) -> list[str]:
    """A sentence for each of the first pairs, with what it rests on; none where people turn nothing round."""
    pairs = turned(board)
    said = [
        f"People disagree with the judge: by their scores {above['model_id']} (place {above['place']} by the judge) is "
        f"better than {row['model_id']} (place {row['place']}): {_figures(above)} against {_figures(row)}."
        for above, row in pairs[:NAMED]
    ]
    if more := len(pairs) - len(said):
        said.append(f"So they do for {more} more pairs: column people_put_above of marts.leaderboard.")
    return said


def _figures(row: Row) -> str:
    ends = f"{rounded(row['people_ci_low'])}–{rounded(row['people_ci_high'])}"
    return f"{rounded(row['people_mean'])} (95 % interval {ends}, {row['n_labelled']} scores labelled)"
