"""How far each probe of the judge's exam moved the scores: the rows of judging.exam_results.

A probed answer is compared with itself as it stands, criterion by criterion, and the answers are the clusters. The
interval is that of a pair of models on the items both have (core.statistics.comparison). A probe is flagged where the
whole interval lies beyond the limit. Where all answers moved by the same amount there is no spread to make an interval
of, and the exact one is wide: they are flagged by the sign test.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import polars.selectors as cs

from pollux_dagster.core.exam import PROBES, UNCHANGED
from pollux_dagster.core.statistics.comparison import CONSTANT, compare_all
from pollux_dagster.warehouse.statistics.codes import encode

LIMIT = 0.05
"""The largest effect, in [0, 1], that does not matter: the difference between two models that `pollux plan` plans for.
"""


def exam_effects(scores: pl.DataFrame) -> pl.DataFrame:
    """One row per probe and criterion, and one per probe over all criteria.

    scores: `warehouse.exam.exam_scores`. Pairs with a failed verdict are left out and counted.
    """
    plain = scores.filter(pl.col("probe") == UNCHANGED).select("item_id", "criteria_name", plain="score")
    pairs = scores.filter(pl.col("probe") != UNCHANGED).join(plain, on=["item_id", "criteria_name"])
    rows = []
    for probe in PROBES:
        asked = pairs.filter(pl.col("probe") == probe.name)
        rows.append(
            {"probe": probe.name, "grain": "all", "criteria_name": None, "baseline_scores": None, **_effect(asked)}
        )
        for name in asked["criteria_name"].unique(maintain_order=True):
            part = asked.filter(pl.col("criteria_name") == name)
            told_apart = part["plain"].drop_nulls().n_unique()
            rows.append(
                {
                    "probe": probe.name,
                    "grain": "criterion",
                    "criteria_name": name,
                    "baseline_scores": told_apart,
                    **_effect(part),
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(cs.float().fill_nan(None))


def _effect(asked: pl.DataFrame) -> dict[str, float | int | bool | None]:
    pairs = asked.drop_nulls(["score", "plain"])
    counts = {
        "asked": asked.height,
        "failures": asked["score"].null_count(),
        "baseline_failures": asked["plain"].null_count(),
    }
    probed, plain = pairs["score"].to_numpy(), pairs["plain"].to_numpy()
    found = compare_all(np.stack([probed, plain]), encode(pairs, "item_id").codes)
    effect, low, high = (float(figure[0, 1]) for figure in (found.difference, found.low, found.high))
    moved_alike = found.method[0, 1] == CONSTANT and abs(effect) > LIMIT and found.p_value[0, 1] < 0.05
    return {
        "baseline_mean": float(plain.mean()) if len(plain) else np.nan,
        "effect": effect,
        "standard_error": float(found.standard_error[0, 1]),
        "ci_low": low,
        "ci_high": high,
        "changed_share": float((np.abs(probed - plain) > 1e-12).mean()) if len(plain) else np.nan,
        "n": pairs.height,
        "n_clusters": int(found.clusters[0, 1]),
        **counts,
        "flagged": bool(low > LIMIT or high < -LIMIT or moved_alike),
    }
