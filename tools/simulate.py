"""Do the intervals hold? Draws evaluations whose truth is known and counts how often each interval contains
it.

Run as `python -m tools.simulate [--evaluations N]`; tables and plots go to docs/reference/statistics/. The one idea:
the functions under test are the ones that the warehouse calls, never copies of their formulas.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np

from pollux_dagster.core.statistics import Proxy
from pollux_dagster.core.statistics.agreement import METRICS, Estimate, agreement, nearest_level
from pollux_dagster.core.statistics.by_people import compare_by_people
from pollux_dagster.core.statistics.comparison import compare_all, rank_models
from pollux_dagster.core.statistics.expectation import compare_with_number
from pollux_dagster.core.statistics.intervals import clustered_means
from pollux_dagster.core.statistics.label_weights import label_weights
from pollux_dagster.core.statistics.length import LengthEffects, length_effects
from pollux_dagster.core.statistics.length_controlled import LengthControlled, length_controlled
from pollux_dagster.core.statistics.ppi import CalibratedMeans, calibrated_means
from tools import simulate_worlds as worlds

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "reference" / "statistics"
ROWS_AT_ONCE = 1_500_000
Row = dict[str, object]


def _coverage(low: np.ndarray, high: np.ndarray, truth: np.ndarray | float) -> Row:
    inside = (low <= truth) & (truth <= high)
    return {"coverage": round(100 * float(inside.mean()), 1), "width": round(float((high - low).mean()), 4)}


def _means(rng: np.random.Generator, evaluations: int, instructions: int, gate_rate: float, **setting: str) -> Row:
    """How often our interval, and mean plus or minus 1.96 standard errors of independent rows, hold the
    truth."""
    found: list[tuple[np.ndarray, ...]] = []
    step = max(1, ROWS_AT_ONCE // (instructions * worlds.MOST_CRITERIA))
    for start in range(0, evaluations, step):
        number = min(step, evaluations - start)
        drawn = worlds.draw_evaluations(rng, number, instructions, gate_rate=gate_rate, **setting)
        gated, tripped = (np.ones(len(drawn.scores), dtype=bool), drawn.tripped) if gate_rate else (None, None)
        ours = clustered_means(drawn.scores, drawn.evaluation, drawn.instruction, number, gated=gated, tripped=tripped)
        spread = np.bincount(drawn.evaluation, weights=(drawn.scores - ours.mean[drawn.evaluation]) ** 2)
        naive = 1.96 * np.sqrt(spread / (ours.n - 1) / ours.n)
        found.append((ours.low, ours.high, ours.mean - naive, ours.mean + naive))
    low, high, naive_low, naive_high = (np.concatenate(part) for part in zip(*found, strict=True))
    unclustered = _coverage(naive_low, naive_high, drawn.truth)["coverage"]
    return {**_coverage(low, high, drawn.truth), "unclustered": unclustered}


def simulate_means(rng: np.random.Generator, evaluations: int) -> Iterator[Row]:
    for shape, instructions, correlation, criteria in itertools.product(
        worlds.SHAPES, (15, 50, 300), worlds.CORRELATION, worlds.CRITERIA
    ):
        setting = {"shape": shape, "correlation": correlation, "criteria": criteria}
        held = _means(rng, evaluations, instructions, 0.0, **setting)
        yield {
            "scores": shape,
            "instructions": instructions,
            "correlation": correlation,
            "criteria": criteria,
            **held,
        }


def simulate_gates(rng: np.random.Generator, evaluations: int) -> Iterator[Row]:
    for shape, rate, instructions, correlation in itertools.product(
        worlds.SHAPES, (0.02, 0.05, 0.15), (15, 50, 300), worlds.CORRELATION
    ):
        setting = {"shape": shape, "correlation": correlation, "criteria": "5 to 20"}
        held = _means(rng, evaluations, instructions, rate, **setting)
        yield {
            "scores": shape,
            "gate trips": rate,
            "instructions": instructions,
            "correlation": correlation,
            **held,
        }


def simulate_pairs(rng: np.random.Generator, evaluations: int) -> Iterator[Row]:
    """Eight models: six equal, two better. Coverage over all pairs, any false difference, all ranks in
    bounds."""
    shifts = np.array([0.0, 0, 0, 0, 0, 0, 0.3, 0.6])
    true_low = np.array([3, 3, 3, 3, 3, 3, 2, 1])
    first, second = np.triu_indices(8, 1)
    for shape in worlds.SHAPES:
        truth = np.array([worlds.mean_score(shape, s) for s in shifts])
        difference = (truth[:, None] - truth[None, :])[first, second]
        for instructions in (15, 50, 300):
            inside, false, ranked, seen = [], 0, 0, 0
            for _ in range(evaluations):
                scores = worlds.draw_models(rng, shifts, instructions, 8, shape, 0.4)
                pairs = compare_all(scores.reshape(8, -1), np.repeat(np.arange(instructions), 8))
                low, high = pairs.low[first, second], pairs.high[first, second]
                inside.append((low <= difference) & (difference <= high))
                ranks = rank_models(pairs)
                false += bool((~ranks.tied[:6, :6] & ~np.eye(6, dtype=bool)).any())
                # Six equal models share the ranks 3 to 8: bounds must leave each of them possible somewhere.
                ranked += bool(((ranks.low <= true_low) & (ranks.high >= np.where(shifts > 0, true_low, 8))).all())
                seen += not ranks.tied[7, 0]
            yield {"scores": shape, "instructions": instructions,
                   "coverage": round(100 * float(np.mean(inside)), 1),
                   "any false difference": round(100 * false / evaluations, 1),
                   "all ranks within bounds": round(100 * ranked / evaluations, 1),
                   "best told from the rest": round(100 * seen / evaluations, 1)}  # fmt: skip


def simulate_agreement(rng: np.random.Generator, evaluations: int) -> Iterator[Row]:
    for shape in worlds.SHAPES:
        for instructions in (30, 100):

            def draw(number: int, shape: str = shape) -> tuple[np.ndarray, np.ndarray]:
                gold, judge = worlds.draw_judged(rng, np.zeros(1), np.full(1, 0.2), number, 8, "strong", shape, 0.6)
                return gold.ravel() * 2, judge.ravel() * 2

            huge = agreement(*draw(60_000), np.zeros(480_000, dtype=np.int64), (0, 1, 2)).figures
            hits = dict.fromkeys(METRICS, 0)
            for _ in range(evaluations):
                found = agreement(*draw(instructions), np.repeat(np.arange(instructions), 8), (0, 1, 2)).figures
                for name in METRICS:
                    hits[name] += found[name].low <= huge[name].value <= found[name].high
            yield {"scores": shape, "instructions": instructions,
                   **{name: round(100 * hits[name] / evaluations, 1) for name in METRICS}}  # fmt: skip


def simulate_differences(rng: np.random.Generator, evaluations: int) -> Iterator[Row]:
    """Expectation - number, of a judge that draws its number from its probabilities of the levels."""
    levels = np.array([0.0, 1.0, 2.0])
    for shape in worlds.SHAPES:
        for instructions in (30, 100):

            def compared(number: int, shape: str = shape) -> dict[str, Estimate]:
                drawn = worlds.draw_believed(
                    rng, np.zeros(1), np.full(1, 0.2), (number, 8), "strong", shape, noise=0.5, doubt=0.5, sampled=True
                )
                gold, judge, expectation = (2 * one.ravel() for one in drawn)
                nearest = levels[nearest_level(expectation, levels)]
                return compare_with_number(
                    gold, judge, expectation, np.repeat(np.arange(number), 8), (0, 1, 2), classes=(gold, judge, nearest)
                ).difference

            huge = compared(60_000)
            hits = dict.fromkeys(METRICS, 0)
            for _ in range(evaluations):
                found = compared(instructions)
                for name in METRICS:
                    hits[name] += found[name].low <= huge[name].value <= found[name].high
            yield {"scores": shape, "instructions": instructions,
                   **{name: round(100 * hits[name] / evaluations, 1) for name in METRICS}}  # fmt: skip


def simulate_calibration(rng: np.random.Generator, evaluations: int) -> Iterator[Row]:
    """Five models of unequal quality; the judge flatters the last and is harsh to the first. 300
    instructions."""
    shifts, biases = np.linspace(-0.4, 0.2, 5), np.linspace(-0.5, 0.5, 5)
    model = np.repeat(np.arange(5), 300 * 8)
    cluster = np.tile(np.repeat(np.arange(300), 8), 5)
    for shape in worlds.SHAPES:
        truth = np.array([worlds.mean_score(shape, s) for s in shifts])
        for correlation in worlds.CORRELATION:
            for labelled in (10, 15, 30, 60, 120):
                bounds: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"raw": [], "labels": [], "ours": []}
                gained = []
                for _ in range(evaluations):
                    gold, judge = worlds.draw_judged(rng, shifts, biases, 300, 8, correlation, shape, 0.5)
                    chosen = np.isin(cluster, rng.permutation(300)[:labelled])
                    ours = calibrated_means(
                        judge.ravel(), np.where(chosen, gold.ravel(), np.nan), model, cluster, 5,
                        minimum_labelled=2,
                    )  # fmt: skip
                    raw = clustered_means(judge.ravel(), model, cluster, 5)
                    bounds["raw"].append((raw.low, raw.high))
                    bounds["labels"].append((ours.labels_low, ours.labels_high))
                    bounds["ours"].append((ours.low, ours.high))
                    gained.append(ours.effective_labels / ours.labelled_rows)
                row: Row = {"scores": shape, "correlation": correlation, "labelled": labelled}
                given = ~np.isnan(np.array([pair[0] for pair in bounds["ours"]]))
                for name, pairs in bounds.items():
                    # Where the labels vary too little there is no calibrated figure, and nothing is compared.
                    low, high = (np.array(side)[given] for side in zip(*pairs, strict=True))
                    held = _coverage(low, high, np.broadcast_to(truth, given.shape)[given])
                    row |= {f"{name} {key}": value for key, value in held.items()}
                yield {**row, "labels worth": round(float(np.nanmedian(gained)), 2),
                       "given": round(100 * float(given.mean()), 1)}  # fmt: skip


def simulate_proxies(rng: np.random.Generator, evaluations: int) -> Iterator[Row]:
    """The judge of simulate_calibration with probabilities of the levels: what its number, its expectation and both
    buy. 300 instructions of 4 criteria.
    """
    shifts, biases = np.linspace(-0.4, 0.2, 5), np.linspace(-0.5, 0.5, 5)
    model = np.repeat(np.arange(5), 300 * 4)
    cluster = np.tile(np.repeat(np.arange(300), 4), 5)
    for shape, sampled, labelled in itertools.product(worlds.SHAPES, (False, True), (15, 30, 120)):
        truth = np.array([worlds.mean_score(shape, s) for s in shifts])
        found: dict[str, list[CalibratedMeans]] = {proxy: [] for proxy in get_args(Proxy)}
        for _ in range(evaluations):
            gold, number, expected = worlds.draw_believed(
                rng, shifts, biases, (300, 4), "middle", shape, noise=0.5, doubt=0.5, sampled=sampled
            )
            known = np.where(np.isin(cluster, rng.permutation(300)[:labelled]), gold.ravel(), np.nan)
            for proxy in get_args(Proxy):
                found[proxy].append(
                    calibrated_means(number.ravel(), known, model, cluster, 5, expected=expected.ravel(), proxy=proxy)
                )
        row: Row = {"scores": shape, "number": "drawn" if sampled else "most likely", "labelled": labelled}
        for proxy, every in found.items():
            low, high = (np.array([getattr(one, side) for one in every]) for side in ("low", "high"))
            given = ~np.isnan(low)
            held = _coverage(low[given], high[given], np.broadcast_to(truth, given.shape)[given])
            worth = np.array([one.effective_labels / one.labelled_rows for one in every])
            row |= {f"{proxy} {key}": value for key, value in held.items()}
            row[f"{proxy} label worth"] = round(float(np.nanmedian(worth)), 2)
        yield row


Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


def _draw_labels(rng: np.random.Generator, design: str, seen: np.ndarray, task: np.ndarray, number: int) -> Drawn:
    """One model's answers to label: whether each is labelled, its probability (NaN where nobody states one), its round.

    seen: (instructions,) the judge's mean score of the answer, by which the informative draw prefers low ones.
    """
    low, rounds = 1.1 - seen, np.zeros(len(seen), dtype=np.int64)
    if design == "uniform":
        return *worlds.draw_unequal(rng, np.ones(len(seen)), number), rounds
    if design == "stratified":
        return *worlds.draw_unequal(rng, 1 / np.bincount(task)[task], number), rounds
    if design == "informative":
        return *worlds.draw_unequal(rng, low, number), rounds
    chosen, chance = np.zeros(len(seen), dtype=bool), np.full(len(seen), np.nan)
    if design == "informative, then uniform":
        chosen, chance = worlds.draw_unequal(rng, low, number // 2)
        rest = (~chosen).astype(float)
    else:  # a third of the labels are the answers with the lowest scores, and nobody says so
        chosen[np.argsort(seen)[: number // 3]] = True
        rest = low * ~chosen
    second, second_chance = worlds.draw_unequal(rng, rest, number - int(chosen.sum()))
    return chosen | second, np.where(second, second_chance, chance), second.astype(np.int64)


DESIGNS = ("uniform", "stratified", "informative", "informative, then uniform", "a third by score, then informative")


def simulate_designs(rng: np.random.Generator, evaluations: int) -> Iterator[Row]:
    """Five models, 300 instructions of 4 criteria in 4 tasks, each model's answers drawn to be labelled by a design.
    Weighted by their probabilities, and as if they were a random part.
    """
    shifts, biases = np.linspace(-0.4, 0.2, 5), np.linspace(-0.5, 0.5, 5)
    model, cluster = np.repeat(np.arange(5), 1200), np.tile(np.repeat(np.arange(300), 4), 5)
    for shape, design, labelled in itertools.product(("even", "piled up at 2", "two heaps"), DESIGNS, (20, 40, 80)):
        truth = np.array([worlds.mean_over_tasks(shape, s) for s in shifts])
        weighted: list[CalibratedMeans] = []
        unweighted: list[CalibratedMeans] = []
        for _ in range(evaluations):
            gold, judge, task = worlds.draw_tasks(rng, shifts, biases, (300, 4), shape, 0.5)
            drawn = [_draw_labels(rng, design, seen, task, labelled) for seen in judge.mean(axis=2)]
            chosen, chance, rounds = (np.repeat(np.concatenate(part), 4) for part in zip(*drawn, strict=True))
            known = np.where(chosen, gold.ravel(), np.nan)
            weights = label_weights(chosen, np.where(chosen, chance, np.nan), rounds, model, 5)
            weighted.append(calibrated_means(judge.ravel(), known, model, cluster, 5, label_weights=weights))
            unweighted.append(calibrated_means(judge.ravel(), known, model, cluster, 5))
        row: Row = {"scores": shape, "design": design, "labelled": labelled}
        for name, every in {"weighted": weighted, "unweighted": unweighted}.items():
            mean, low, high = (np.array([getattr(one, side) for one in every]) for side in ("mean", "low", "high"))
            given = ~np.isnan(low)
            held = _coverage(low[given], high[given], np.broadcast_to(truth, given.shape)[given])
            row |= {f"{name} {key}": value for key, value in held.items()}
            row[f"{name} bias"] = round(float((np.nanmean(mean, axis=0) - truth).mean()), 4)
        worth = np.array([one.effective_clusters / one.labelled_clusters for one in weighted])
        noticed = np.array([one.chance_of_shift for one in unweighted]) < 0.01
        row |= {"effective": round(100 * float(worth.mean()), 1)}
        yield {**row, "noticed": round(100 * float(noticed.mean()), 1)}


def _controlled(scores: np.ndarray, tripped: np.ndarray, lengths: np.ndarray) -> tuple[LengthEffects, LengthControlled]:
    models, _, criteria = scores.shape
    model, instruction, criterion = (codes.ravel() for codes in np.indices(scores.shape))
    rated, length = ~tripped.ravel(), np.repeat(lengths.ravel(), criteria)
    effects = length_effects(
        scores.ravel()[rated], length[rated], criterion[rated], model[rated], instruction[rated], criteria
    )
    gated = np.full(len(rated), bool(tripped.any()))
    return effects, length_controlled(
        scores.ravel(), model, instruction, models, effects=effects, criteria=criterion[rated], rated=rated, gated=gated
    )


def simulate_length(rng: np.random.Generator, evaluations: int) -> Iterator[Row]:
    """Four criteria, the same effect of length on each or none; the truth is the figure of 20,000 instructions."""
    for shape, (models, gate_rate), effect in itertools.product(
        worlds.SHAPES, ((3, 0.0), (8, 0.0), (8, 0.05)), (0.0, 0.3)
    ):
        huge_effects, huge = _controlled(*worlds.draw_lengths(rng, (models, 20_000, 4), shape, effect, gate_rate))
        slope = huge_effects.slope if effect else np.zeros(4)
        for instructions in (15, 50, 300):
            found = [
                _controlled(*worlds.draw_lengths(rng, (models, instructions, 4), shape, effect, gate_rate))
                for _ in range(evaluations)
            ]
            row: Row = {"scores": shape, "models": models, "gate trips": gate_rate, "effect": effect,
                        "instructions": instructions}  # fmt: skip
            for name, truth, every in (
                ("slope", slope, [one for one, _ in found]),
                ("controlled", huge.mean, [one for _, one in found]),
            ):
                low, high = (np.array([getattr(one, side) for one in every]) for side in ("low", "high"))
                given = ~np.isnan(low)
                held = _coverage(low[given], high[given], np.broadcast_to(truth, given.shape)[given])
                row |= {f"{name} {key}": value for key, value in held.items()}
                row[f"{name} given"] = round(100 * float(given.mean()), 1)
            told = [bool((one.adjusted_p_value < 0.05).any()) for one, _ in found]
            yield {**row, "any effect found": round(100 * float(np.mean(told)), 1)}


LABELLED_BY = ("the same instructions", "half the same", "a draw a model")


def _labelled(rng: np.random.Generator, models: int, instructions: int, number: int, how: str) -> np.ndarray:
    """Which instructions are labelled, (models, instructions)."""
    order = np.tile(rng.permutation(instructions), (models, 1))
    shared = {"the same instructions": number, "half the same": number // 2, "a draw a model": 0}[how]
    chosen = np.zeros((models, instructions), dtype=bool)
    for model in range(models):
        chosen[model, order[model, :shared]] = True
        chosen[model, rng.permutation(order[model, shared:])[: number - shared]] = True
    return chosen


def simulate_people(rng: np.random.Generator, evaluations: int) -> Iterator[Row]:
    """Six models, 300 instructions of 4 criteria. By people all are equal, or the one that the judge puts last is
    better; announced is a pair that people surely put in another order than the judge. Beside it the rule that two
    intervals do not overlap.
    """
    biases = np.linspace(0.5, -0.5, 6)
    model, cluster = np.repeat(np.arange(6), 1200), np.tile(np.repeat(np.arange(300), 4), 6)
    for shape, noise, how, labelled in itertools.product(worlds.SHAPES, (0.5, 2.0), LABELLED_BY, (15, 40)):
        row: Row = {"scores": shape, "noise": noise, "labelled": labelled, "by": how}
        for better in (0.0, 0.4):
            announced, apart = [], []
            for _ in range(evaluations):
                gold, judge = worlds.draw_judged_alike(
                    rng, np.array([0, 0, 0, 0, 0, better]), biases, (300, 4), shape, noise
                )
                chosen = np.repeat(_labelled(rng, 6, 300, labelled, how), 4, axis=1)
                known = np.where(chosen, gold.reshape(6, -1), np.nan)
                found = calibrated_means(judge.ravel(), known.ravel(), model, cluster, 6)
                low, high = (
                    np.where(found.enough, getattr(found, side), getattr(found, f"labels_{side}"))
                    for side in ("low", "high")
                )
                pairs, sure = compare_by_people(known, cluster[:1200], found)
                judged = judge.mean(axis=(1, 2))
                against = judged[:, None] < judged[None, :]
                announced.append(sure & (pairs.difference > 0) & against)
                apart.append((low[:, None] > high[None, :]) & against)
            if better:
                # The last model above each of the others, on average over these.
                row |= {
                    "told": round(100 * float(np.array(announced)[:, 5, :5].mean()), 1),
                    "told by intervals": round(100 * float(np.array(apart)[:, 5, :5].mean()), 1),
                }
            else:
                row |= {
                    "any false": round(100 * float(np.array(announced).any(axis=(1, 2)).mean()), 1),
                    "any false by intervals": round(100 * float(np.array(apart).any(axis=(1, 2)).mean()), 1),
                }
        yield row


def simulate_ends(rng: np.random.Generator, evaluations: int) -> Iterator[Row]:
    """Three models at the top of the scale: a share of the instructions falls by a half on 7 of 10 criteria."""
    for falls, criteria, labelled in itertools.product((0.02, 0.05, 0.1, 0.2), (1, 4), (15, 30, 60)):
        model, cluster = np.repeat(np.arange(3), 300 * criteria), np.tile(np.repeat(np.arange(300), criteria), 3)
        truth, kept = 1 - 0.35 * falls, []
        for _ in range(evaluations):
            gold, judge = worlds.draw_near_the_top(rng, falls, (3, 300, criteria))
            chosen = np.stack([rng.permutation(300) < labelled for _ in range(3)])[..., None]
            known = np.where(chosen, gold, np.nan).ravel()
            kept.append(calibrated_means(judge.ravel(), known, model, cluster, 3))
        low, high, labels_low, labels_high = (
            np.array([getattr(one, name) for one in kept]) for name in ("low", "high", "labels_low", "labels_high")
        )
        given, held = ~np.isnan(low), (low <= truth) & (truth <= high)
        yield {
            "falls": falls,
            "criteria": criteria,
            "labelled": labelled,
            "labels coverage": _coverage(labels_low, labels_high, truth)["coverage"],
            "given": round(100 * float(given.mean()), 1),
            "given and wrong": round(100 * float((given & ~held).mean()), 1),
        }


def _write(name: str, rows: Iterable[Row]) -> list[Row]:
    started, kept = time.perf_counter(), list(rows)
    with (RESULTS / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(kept[0]))
        writer.writeheader()
        writer.writerows(kept)
    print(f"{name}: {len(kept)} settings in {time.perf_counter() - started:.0f} s")
    return kept


TABLES: dict[str, tuple[Callable[[np.random.Generator, int], Iterator[Row]], int]] = {
    "means": (simulate_means, 1),
    "gates": (simulate_gates, 1),
    "pairs": (simulate_pairs, 1),
    "agreement": (simulate_agreement, 1),
    "differences": (simulate_differences, 1),
    "calibration": (simulate_calibration, 1),
    "proxies": (simulate_proxies, 1),
    "designs": (simulate_designs, 1),
    "ends": (simulate_ends, 1),
    "length": (simulate_length, 1),
    "people": (simulate_people, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=1000, help="simulated evaluations a setting")
    parser.add_argument("--tables", nargs="*", default=list(TABLES), choices=list(TABLES))
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in arguments.tables:
        # Every table has a seed of its own, so that one can be made again alone.
        _write(name, TABLES[name][0](np.random.default_rng([2026, *name.encode()]), arguments.evaluations))


if __name__ == "__main__":
    main()
