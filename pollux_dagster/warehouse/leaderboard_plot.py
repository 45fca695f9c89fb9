"""The leaderboard as a picture: each model's mean with its 95 % interval, one panel a judge.

Names come from strangers; they are drawn as text, without mathtext, and cut. Reading the tables is all it does with
the warehouse.
"""

from __future__ import annotations

import io

import duckdb
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

MAX_MODELS = 40
MAX_NAME = 40

_ROWS = """
    SELECT judge_name, is_demonstration, model_id, mean_score, ci_low, ci_high, coverage
    FROM marts.leaderboard WHERE mean_score IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY judge_id ORDER BY place, model_id) <= ?
    ORDER BY judge_name, place, model_id
"""


def draw_leaderboard(con: duckdb.DuckDBPyConnection) -> bytes | None:
    """A PNG of `marts.leaderboard`, the best 40 models of each judge; None when no model has a mean yet."""
    rows = con.execute(_ROWS, [MAX_MODELS]).fetchall()
    if not rows:
        return None
    judges = sorted({row[0] for row in rows})
    panels = [[row for row in rows if row[0] == judge] for judge in judges]
    height = sum(1.1 + 0.32 * len(panel) for panel in panels)
    figure = Figure(figsize=(9, height), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = [1.1 + 0.32 * len(panel) for panel in panels]
    for axes, panel in zip(
        figure.subplots(len(panels), 1, squeeze=False, height_ratios=ratios)[:, 0], panels, strict=True
    ):
        judge, demonstration = panel[0][:2]
        places = range(len(panel))
        means = [row[3] for row in panel]
        below = [row[3] - (row[4] if row[4] is not None else row[3]) for row in panel]
        above = [(row[5] if row[5] is not None else row[3]) - row[3] for row in panel]
        axes.errorbar(means, places, xerr=[below, above], fmt="o", color="#1f4e79", ecolor="#8fb3d9", capsize=3)
        names = [f"{_name(row[2])}  ({row[6]:.0%} covered)" for row in panel]
        axes.set_yticks(list(places), labels=names, parse_math=False)
        axes.set(xlim=(0, 1), ylim=(len(panel) - 0.5, -0.5), xlabel="mean score with 95 % interval")
        axes.set_title(f"{'DEMONSTRATION judge' if demonstration else 'Judge'} {judge}", loc="left", parse_math=False)
        axes.grid(axis="x", color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def _name(model_id: str) -> str:
    shown = "".join(c if c.isprintable() else "�" for c in model_id)
    return shown if len(shown) <= MAX_NAME else shown[: MAX_NAME - 1] + "…"
