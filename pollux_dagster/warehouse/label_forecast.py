"""How much more labels would narrow each model's calibrated interval, from the labels that are there.

The warehouse is only read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from pollux_dagster.core.statistics.label_forecast import (
    DESIGNS,
    Design,
    Residuals,
    expected_residuals,
    half_width,
)
from pollux_dagster.warehouse.statistics.calibration import ANSWER, calibrated_quality, judged_and_rated
from pollux_dagster.warehouse.statistics.codes import encode
from pollux_dagster.warehouse.statistics.human_agreement import human_scores

if TYPE_CHECKING:
    from pollux_dagster.core.statistics import Aggregation, Proxy

MORE = (50, 100, 200, 400)


@dataclass(frozen=True, slots=True)
class LabelForecast:
    """One model's expected interval after `more` labelled answers, spread equally over the models, by one design.

    `labels`: the model's part of them. `half_width`: of the 95 % interval, in [0, 1] of the scale; None where
    calibration would give no interval for so few labels. `half_width_now`: of its present interval, None without one.
    """

    model_id: str
    design: Design
    more: int
    labels: int
    half_width: float | None
    half_width_now: float | None


def forecast_labels(
    con: duckdb.DuckDBPyConnection,
    judge_id: str,
    *,
    aggregation: Aggregation = "mean",
    proxy: Proxy = "number",
    more: Sequence[int] = MORE,
) -> list[LabelForecast]:
    """The forecast of every model of a judge, by model, then number of labels, then design.

    It is made of staging.scores and of raw.human_scores as they are now. Strata are the task types. How people's scores
    spread and the judge errs is taken from all models' labels together, because one model's are few; the number is the
    judge's score in it. core.statistics.label_forecast has the formula. aggregation, proxy: as for calibrated_quality.

    Raises:
        ValueError: people scored no model's answers twice, or never differently; the message says which.
        duckdb.CatalogException: staging.scores has not been built.
    """
    people = human_scores(con, aggregation)
    rows = judged_and_rated(con, judge_id, people)
    answers = rows.group_by(*ANSWER, maintain_order=True).agg(
        pl.col("score").mean(),
        gold=pl.when(pl.col("is_labelled").all()).then(pl.col("gold").mean()),
    )
    answers = answers.join(con.execute(_TASKS).pl(), on="prompt_id", how="left", maintain_order="left")
    models = encode(answers, "model_id")
    residuals = expected_residuals(
        answers["score"].to_numpy(), answers["gold"].fill_null(float("nan")).to_numpy(), models.codes
    )
    now = calibrated_quality(con, judge_id, people, proxy).fill_nan(None)
    errors = dict(now.select("model_id", "standard_error").iter_rows())
    widths = dict(now.select("model_id", (pl.col("ci_high") - pl.col("ci_low")) / 2).iter_rows())
    stated = set(now.filter(pl.col("n_without_probability") < pl.col("n_labelled"))["model_id"])
    found = []
    for code, model_id in enumerate(models.names["model_id"]):
        of = models.codes == code
        part = answers.filter(pl.Series(of))
        labelled, strata = part["gold"].is_not_null().to_numpy(), encode(part, "task_type").codes
        own = Residuals(residuals.gold_variance, residuals.square[of])
        for number in more:
            labels = round(number / len(models))
            for design in DESIGNS:
                expected = half_width(
                    design, labels, own, labelled, strata, standard_error=errors[model_id], stated=model_id in stated
                )
                known = None if math.isnan(expected) else expected
                found.append(LabelForecast(model_id, design, number, labels, known, widths[model_id]))
    return found


_TASKS = "SELECT prompt_id, task_type FROM raw.instructions"
