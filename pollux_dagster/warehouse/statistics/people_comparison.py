"""Every two models of a judge by people's scores: statistics.people_comparison.

The answers compared are those that people rated as a whole, as in calibrated_quality, and samples are averaged, as for
the judge's comparisons. A model whose labels are not the draw that they are taken for is compared with none.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from pollux_dagster.core.statistics.by_people import BY_INTERVALS, BY_MEANS, compare_by_people
from pollux_dagster.core.statistics.ppi import CalibratedMeans
from pollux_dagster.warehouse.statistics.calibration import STATED_FOR_SOME, UNEQUAL
from pollux_dagster.warehouse.statistics.codes import encode
from pollux_dagster.warehouse.statistics.models import columns_of


def people_comparison(rows: pl.DataFrame, calibrated: pl.DataFrame, means: CalibratedMeans) -> pl.DataFrame:
    """One judge's rows, all ordered pairs of models that people's scores can compare.

    rows: of `calibration.judged_and_rated`. calibrated, means: of these, as calibration.calibrated_quality gives them.
    """
    names = calibrated["model_id"]
    labelled = (
        rows.filter("is_labelled")
        .group_by("model_id", "prompt_id", "criterion_id")
        .agg(pl.col("gold").mean(), judged=pl.col("score").mean())
    )
    labelled = labelled.with_columns(pl.col("model_id").cast(pl.String)).join(
        calibrated.select("model_id").with_row_index("model"), on="model_id", how="left"
    )
    items = encode(labelled, "prompt_id", "criterion_id")
    gold, judged = np.full((2, len(names), len(items)), np.nan)
    gold[labelled["model"].to_numpy(), items.codes] = labelled["gold"].to_numpy()
    judged[labelled["model"].to_numpy(), items.codes] = labelled["judged"].to_numpy()
    found, is_sure = compare_by_people(
        gold,
        encode(items.names, "prompt_id").codes,
        means,
        plain=(~calibrated["sampling"].fill_null("").is_in([UNEQUAL, STATED_FOR_SOME])).to_numpy(),
        trusted=(~calibrated["is_doubtful"]).to_numpy(),
    )
    first, second = np.nonzero(~np.isnan(found.p_value))
    of_shared_items = ~np.isin(found.method[first, second], (BY_MEANS, BY_INTERVALS))
    judges = [
        float(np.nanmean(judged[a] - judged[b])) if shared else None
        for a, b, shared in zip(first, second, of_shared_items, strict=True)
    ]
    return pl.DataFrame(
        {
            "judge_id": calibrated["judge_id"][first],
            "model_id": names[first],
            "other_model_id": names[second],
            **columns_of(found, first, second),
            "is_sure": is_sure[first, second],
            "is_of_shared_items": of_shared_items,
            "judge_difference": pl.Series(judges, dtype=pl.Float64),
        }
    )
