"""The leaderboard as a picture: each model's mean with its 95 % interval, one panel per judge.

Names come from outside; they are drawn as plain text, without mathtext, and shortened. The warehouse is only read.
Matplotlib is imported when a figure is drawn: the UI and the daemon, which load this module, draw none.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import duckdb

from pollux_dagster.core.text import escaped, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_MODELS = 40
MAX_NAME = 40

_ROWS = """
    WITH counted AS (
        SELECT *, count(*) OVER judge AS models, count(mean_score) OVER judge AS with_a_mean
        FROM marts.leaderboard WINDOW judge AS (PARTITION BY judge_id)
    )
    SELECT judge_name, is_demonstration, model_id, mean_score, ci_low, ci_high, coverage, models, with_a_mean
    FROM counted WHERE mean_score IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY judge_id ORDER BY place, model_id) <= ?
    ORDER BY judge_name, place, model_id
"""


def draw_leaderboard(con: duckdb.DuckDBPyConnection) -> bytes | None:
    """A PNG of `marts.leaderboard`, the best 40 models of each judge; None when no model has a mean yet."""
    figure = leaderboard_figure(con)
    if figure is None:
        return None
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def leaderboard_figure(con: duckdb.DuckDBPyConnection) -> Figure | None:
    """The figure that `draw_leaderboard` draws; each panel's title says how many models it leaves out."""
    rows = con.execute(_ROWS, [MAX_MODELS]).fetchall()
    if not rows:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    judges = sorted({row[0] for row in rows})
    panels = [[row for row in rows if row[0] == judge] for judge in judges]
    height = sum(1.1 + 0.32 * len(panel) for panel in panels)
    figure = Figure(figsize=(9, height), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = [1.1 + 0.32 * len(panel) for panel in panels]
    for axes, panel in zip(
        figure.subplots(len(panels), 1, squeeze=False, height_ratios=ratios)[:, 0], panels, strict=True
    ):
        judge, demonstration, *_, models, with_a_mean = panel[0]
        places = range(len(panel))
        means = [row[3] for row in panel]
        below = [row[3] - (row[4] if row[4] is not None else row[3]) for row in panel]
        above = [(row[5] if row[5] is not None else row[3]) - row[3] for row in panel]
        axes.errorbar(means, places, xerr=[below, above], fmt="o", color="#1f4e79", ecolor="#8fb3d9", capsize=3)
        # Rounded down, so that 100 % is never shown for less.
        names = [f"{_name(row[2])}  ({math.floor(row[6] * 1000) / 10:.1f}% covered)" for row in panel]
        axes.set_yticks(list(places), labels=names, parse_math=False)
        axes.set(xlim=(0, 1), ylim=(len(panel) - 0.5, -0.5), xlabel="mean score with 95 % interval")
        left_out = []
        if len(panel) < with_a_mean:
            left_out.append(f"the first {len(panel)} of {with_a_mean} models")
        if with_a_mean < models:
            left_out.append(f"{models - with_a_mean} more without a mean")
        title = f"{'DEMONSTRATION judge' if demonstration else 'Judge'} {judge}"
        title = "\n".join(filter(None, (title, "; ".join(left_out))))
        axes.set_title(title, loc="left", parse_math=False)
        axes.grid(axis="x", color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _name(model_id: str) -> str:
    return shortened(escaped(model_id), MAX_NAME)
