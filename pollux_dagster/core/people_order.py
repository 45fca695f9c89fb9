"""Where people's scores put two models in another order than the judge's means: the pairs, and their words.

Decided by marts.leaderboard: its column `people_put_above` names the models with a later place that people's scores
surely put above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from pollux_dagster.core.figures import rounded

Row = Mapping[str, Any]
NAMED = 3
"""Pairs in the first lines of a text; the table has the others."""


def turned(con: duckdb.DuckDBPyConnection, judge_id: str) -> list[Row]:
    """The pairs of a judge, by the place of the model that people put lower.

    A row has what the leaderboard has of the model that people put above (model_id, place, people_mean, its interval,
    n_labelled), the same of the other as other_*, and what marts.people_comparison has of both (difference, ci_low,
    ci_high, n, n_clusters, is_of_shared_items).

    A publication of an earlier version has none, because it lacks the tables or columns.
    """
    try:
        result = con.execute(_TURNED)  # without a parameter, for whose first one a process imports pandas
    except (duckdb.CatalogException, duckdb.BinderException):
        return []
    columns = [column for column, *_ in result.description or ()]
    pairs = [dict(zip(columns, row, strict=True)) for row in result.fetchall()]
    return [pair for pair in pairs if pair["judge_id"] == judge_id]


def among(pairs: Sequence[Row], models: Sequence[str]) -> list[Row]:
    """The pairs of which both are among some models."""
    return [pair for pair in pairs if pair["model_id"] in models and pair["other_model_id"] in models]


def in_words(pairs: Sequence[Row]) -> list[str]:
    """A sentence for each of the first pairs, with what it rests on; none where people turn nothing round."""
    said = [
        f"People disagree with the judge: by their scores {pair['model_id']} (place {pair['place']} by the judge) is "
        f"better than {pair['other_model_id']} (place {pair['other_place']}): {_figures(pair)}."
        for pair in pairs[:NAMED]
    ]
    if more := len(pairs) - len(said):
        said.append(f"So they do for {more} more pairs: column people_put_above of marts.leaderboard.")
    return said


def _figures(pair: Row) -> str:
    ends = f"{rounded(pair['ci_low']):+} to {rounded(pair['ci_high']):+}"
    difference = f"difference {rounded(pair['difference']):+} (95 % interval {ends})"
    if pair["is_of_shared_items"]:
        return f"{difference} on {pair['n']} items of {pair['n_clusters']} instructions that people scored of both"
    means = " against ".join(str(rounded(pair[f"{of}people_mean"])) for of in ("", "other_"))
    return f"{means}, {difference}, by {pair['n_labelled']} and {pair['other_n_labelled']} labelled scores"


_TURNED = """
SELECT compared.judge_id, better.model_id, better.place, better.people_mean, better.people_ci_low,
       better.people_ci_high, better.n_labelled, other.model_id AS other_model_id, other.place AS other_place,
       other.people_mean AS other_people_mean, other.people_ci_low AS other_people_ci_low,
       other.people_ci_high AS other_people_ci_high, other.n_labelled AS other_n_labelled,
       compared.difference, compared.ci_low, compared.ci_high, compared.n, compared.n_clusters,
       compared.is_of_shared_items
FROM marts.people_comparison AS compared
JOIN marts.leaderboard AS better ON better.judge_id = compared.judge_id AND better.model_id = compared.model_id
JOIN marts.leaderboard AS other ON other.judge_id = compared.judge_id AND other.model_id = compared.other_model_id
WHERE list_contains(other.people_put_above, compared.model_id)
ORDER BY compared.judge_id, other.place, other.model_id, compared.difference DESC, compared.model_id
"""
