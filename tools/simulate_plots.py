"""Draws the tables of docs/reference/statistics/*.csv: coverage of the intervals, and what calibration buys.

Run as `python -m tools.simulate_plots` after tools/simulate.py. Nothing is computed here but averages of columns.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import polars as pl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "reference" / "statistics"
PROMISED = (93, 97)


def draw_means() -> None:
    """A panel a score shape: coverage of our intervals and of unclustered ones, by instructions and correlation."""
    rows = pl.read_csv(RESULTS / "means.csv")
    shapes = rows["scores"].unique(maintain_order=True).to_list()
    figure, panels = plt.subplots(1, len(shapes), figsize=(3 * len(shapes), 3), sharey=True)
    for panel, shape in zip(panels, shapes, strict=True):
        panel.axhspan(*PROMISED, color="0.9")
        for number, correlation in enumerate(rows["correlation"].unique(maintain_order=True)):
            part = (
                rows.filter(scores=shape, correlation=correlation)
                .group_by("instructions", maintain_order=True)
                .agg(pl.col("coverage").mean(), pl.col("unclustered").mean())
            )
            panel.plot(part["instructions"], part["coverage"], "o-", color=f"C{number}", label=f"{correlation}")
            panel.plot(part["instructions"], part["unclustered"], "x:", color=f"C{number}")
        panel.set(title=shape, xscale="log", xlabel="instructions", xticks=[15, 50, 300], xticklabels=[15, 50, 300])
        panel.minorticks_off()
    panels[0].set_ylabel("coverage, %")
    panels[0].legend(title="correlation\n(dotted: unclustered)", fontsize="small", title_fontsize="small")
    _save(figure, "means")


def draw_calibration() -> None:
    """Coverage of raw, labels-only and calibrated intervals by labelled instructions, and their widths."""
    rows = (
        pl.read_csv(RESULTS / "calibration.csv")
        .group_by("labelled", maintain_order=True)
        .agg(pl.selectors.contains("coverage", "width").mean())
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    left.axhspan(*PROMISED, color="0.9")
    for number, (name, label) in enumerate(
        {"raw": "judge alone", "labels": "labels only", "ours": "calibrated"}.items()
    ):
        left.plot(rows["labelled"], rows[f"{name} coverage"], "o-", color=f"C{number}", label=label)
        right.plot(rows["labelled"], rows[f"{name} width"], "o-", color=f"C{number}", label=label)
    left.set(xlabel="labelled instructions of 300", ylabel="coverage, %", ylim=(0, 102))
    right.set(xlabel="labelled instructions of 300", ylabel="width of the interval", ylim=(0, None))
    left.legend(fontsize="small")
    _save(figure, "calibration")


def _save(figure: Figure, name: str) -> None:
    figure.tight_layout()
    figure.savefig(RESULTS / f"{name}.png", dpi=80, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    draw_means()
    draw_calibration()
