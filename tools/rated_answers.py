"""Agreement and calibration on real answers that three raters scored, with judges simulated from the ratings.

Run as `python -m tools.rated_answers FOLDER`; FOLDER holds `gold_scores.jsonl` (prompt_id, model_id, criteria_name,
annotator, score on 1 to 5). Writes docs/reference/statistics/rated_answers.csv and rated_answers_calibration.csv. The
ratings are real; THE JUDGES ARE NOT: each is the mean rating moved by a known bias and noise.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import polars as pl

from pollux_dagster.core.statistics.agreement import METRICS, Estimate, agreement
from pollux_dagster.core.statistics.intervals import clustered_means
from pollux_dagster.core.statistics.ppi import calibrated_means
from pollux_dagster.core.statistics.reliability import aggregate_ratings, krippendorff_alpha, leave_one_rater_out

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "reference" / "statistics"
LEVELS = (1.0, 2.0, 3.0, 4.0, 5.0)
LABELLED, DRAWS = 30, 500
# Bias by model: harsh to the first, kind to the last, in levels.
BIASES = np.linspace(-0.8, 0.8, 4)
JUDGES = {"careful": (0.4, 0.0), "noisy": (1.2, 0.0), "biased": (0.4, 1.0)}
"""Simulated judges: standard deviation of the noise, and how much of the bias by model it has."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    ratings = pl.read_ndjson(parser.parse_args().folder / "gold_scores.jsonl")
    RESULTS.mkdir(parents=True, exist_ok=True)
    items = ratings.select("prompt_id", "model_id", "criteria_name").unique().sort("prompt_id", "model_id")
    unit = ratings.join(items.with_row_index("unit"), on=items.columns, maintain_order="left")["unit"].to_numpy()
    rater = ratings["annotator"].rank("dense").to_numpy().astype(np.int64)
    score = ratings["score"].cast(pl.Float64).to_numpy()
    prompt = items["prompt_id"].rank("dense").to_numpy().astype(np.int64) - 1
    model = items["model_id"].rank("dense").to_numpy().astype(np.int64) - 1
    gold, _ = aggregate_ratings(score, unit, len(items), "mean")
    agreed = [_people(score, unit, rater, prompt)]
    rng = np.random.default_rng(20261124)
    calibrated = []
    for name, (noise, bias) in JUDGES.items():
        judge = simulate_judge(rng, gold, model, noise, bias)
        figures = agreement(gold, judge, prompt, LEVELS).figures
        agreed.append({"who": f"{name} judge (simulated)", **_cells(figures)})
        calibrated.append({"judge": f"{name} (simulated)", **_calibration(rng, gold, judge, model, prompt)})
    _write("rated_answers", agreed)
    _write("rated_answers_calibration", calibrated)


def simulate_judge(
    rng: np.random.Generator, gold: np.ndarray, model: np.ndarray, noise: float, bias: float
) -> np.ndarray:
    """The gold of each answer moved by noise and by the model's bias, at the nearest level of the scale."""
    seen = gold + bias * BIASES[model] + noise * rng.standard_normal(len(gold))
    nearest: np.ndarray = np.clip(np.floor(seen + 0.5), LEVELS[0], LEVELS[-1])
    return nearest


def _people(score: np.ndarray, unit: np.ndarray, rater: np.ndarray, prompt: np.ndarray) -> dict[str, object]:
    others, own, of = leave_one_rater_out(score, unit, rater, len(prompt), "mean")
    figures = dict(agreement(others, own, prompt[of], LEVELS).figures)
    figures["krippendorff_alpha"] = krippendorff_alpha(score, unit, prompt[unit], "interval")
    return {"who": "one rater against the others (real)", **_cells(figures)}


def _cells(figures: dict[str, Estimate]) -> dict[str, object]:
    return {name: f"{figures[name].value:.3f} [{figures[name].low:.3f}, {figures[name].high:.3f}]" for name in METRICS}


def _calibration(
    rng: np.random.Generator, gold: np.ndarray, judge: np.ndarray, model: np.ndarray, prompt: np.ndarray
) -> dict[str, object]:
    """Labels on 30 instructions drawn again and again: how often each interval holds the mean of all ratings."""
    truth = np.bincount(model, weights=gold) / np.bincount(model)
    instructions, held = int(prompt.max()) + 1, {"judge alone": 0.0, "labels only": 0.0, "calibrated": 0.0}
    widths, worth = dict.fromkeys(held, 0.0), 0.0
    alone = clustered_means(judge, model, prompt, 4, bounds=(1, 5))
    for _ in range(DRAWS):
        chosen = np.isin(prompt, rng.permutation(instructions)[:LABELLED])
        found = calibrated_means(judge, np.where(chosen, gold, np.nan), model, prompt, 4, bounds=(1, 5))
        for name, low, high in (
            ("judge alone", alone.low, alone.high),
            ("labels only", found.labels_low, found.labels_high),
            ("calibrated", found.low, found.high),
        ):
            held[name] += float(((low <= truth) & (truth <= high)).mean()) / DRAWS
            widths[name] += float((high - low).mean()) / DRAWS
        worth += float(np.mean(found.effective_labels / found.labelled_rows)) / DRAWS
    return {
        **{f"{name} holds": f"{100 * share:.1f}" for name, share in held.items()},
        **{f"{name} width": f"{width:.3f}" for name, width in widths.items()},
        "a label is worth": f"{worth:.2f}",
    }


def _write(name: str, rows: list[dict[str, object]]) -> None:
    with (RESULTS / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
