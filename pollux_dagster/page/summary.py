"""The report's first sentences: where people disagree with the order, which model is best by the judge and how sure
that is, where it is ahead, and what makes the gap.

A sentence is the name of a text of texts.toml and what is filled into it. Sentences say "beyond chance" only where the
published comparisons, adjusted for the number of pairs, say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pollux_dagster.core.figures import rounded
from pollux_dagster.core.people_order import NAMED as PAIRS
from pollux_dagster.page.figures import Figure, Row

Sentence = tuple[str, dict[str, object]]
NAMED = 3  # names in one sentence
ENOUGH = 0.98  # of the requests; a mean of fewer says so


def sentences(
    board: Sequence[Row],
    tasks: Figure | None,
    criteria: Figure | None,
    pairs: Figure | None,
    turned: Sequence[Mapping[str, Any]] = (),
    *,
    is_narrowed: bool = False,
) -> list[Sentence]:
    """At most six sentences on the judge's scores, after those on what people turn round.

    board: the rows of the leaderboard, best first; some of them where `is_narrowed`. turned: of
    `core.people_order.turned`, among the same models.

    Where models were asked different things, nothing is said that compares their means.
    """
    scored = [row for row in board if row["mean_score"] is not None]
    if not scored:
        return [("sum_nothing", {})]
    best = scored[0]
    said = [*_people(turned), _first(scored, len(board), is_narrowed)]
    if unscored := [row["model_id"] for row in board if row["mean_score"] is None]:
        said.append(("sum_unscored", {"models": names(unscored)}))
    if best["coverage"] is not None and best["coverage"] < ENOUGH:
        said.append(("sum_coverage", {"model": best["model_id"], "coverage": f"{best['coverage']:.1%}"}))
    if any(row["same_items"] is False for row in board):
        return [*said, ("not_same_items", {})]
    if len(scored) > 1:
        second = scored[1]
        said += _gap(best["model_id"], second["model_id"], pairs)
        said += _widest(best["model_id"], second["model_id"], criteria)
        said += [] if is_narrowed else _lead(best["model_id"], len(scored), tasks)
    return said + _weakest(best["model_id"], tasks)


def _people(turned: Sequence[Mapping[str, Any]]) -> list[Sentence]:
    said = [_turned(pair) for pair in turned[:PAIRS]]
    if len(turned) > len(said):
        said.append(("sum_people_more", {"n": len(turned) - len(said)}))
    return said


def _turned(pair: Mapping[str, Any]) -> Sentence:
    values: dict[str, object] = {
        "model": pair["model_id"],
        "place": pair["place"],
        "other": pair["other_model_id"],
        "other_place": pair["other_place"],
        "difference": signed(pair["difference"]),
        "interval": f"{signed(pair['ci_low'])} – {signed(pair['ci_high'])}",
    }
    if pair["is_of_shared_items"]:
        return "sum_people_items", values | {"n": pair["n"], "instructions": pair["n_clusters"]}
    for of in ("", "other_"):
        values |= {f"{of}mean": score(pair[f"{of}people_mean"]), f"{of}n": pair[f"{of}n_labelled"]}
    return "sum_people", values


def _first(scored: Sequence[Row], models: int, is_narrowed: bool) -> Sentence:
    best = scored[0]
    values: dict[str, object] = {"model": best["model_id"], "mean": score(best["mean_score"])}
    ends = [score(best[end]) for end in ("ci_low", "ci_high")]
    values["interval"] = f" ({'–'.join(ends)})" if all(ends) else ""
    if is_narrowed:  # the ranks are among all models
        return "sum_among", values
    if len(scored) == 1:
        return "sum_only" if models == 1 else "sum_only_scored", values
    first = next((row for row in scored if row["rank_high"] == 1 and not row["tied_with"]), None)
    if first is best:
        return "sum_best", values
    if first is not None:  # on the instructions that both answered; its mean is also of others
        return "sum_ranked", values | {"first": first["model_id"]}
    if tied := best["tied_with"]:
        return "sum_tied", values | {"others": names(tied)}
    return "sum_highest", values


def names(models: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = len(models) - NAMED
    return ", ".join(models[:NAMED]) + (f" + {more}" if more > 0 else "")


def _gap(best: str, second: str, pairs: Figure | None) -> list[Sentence]:
    for row in pairs.rows if pairs else ():
        if (row["model_id"], row["other_model_id"]) == (best, second) and row["ci_low"] is not None:
            if row["difference"] < 0:  # on the items that both were scored on
                return []
            interval = f"{signed(row['ci_low'])} – {signed(row['ci_high'])}"
            chance = row["adjusted_p_value"] is None or row["adjusted_p_value"] >= 0.05
            values: dict[str, object] = {
                "model": second,
                "difference": signed(row["difference"]),
                "interval": interval,
            }
            return [("sum_gap_chance" if chance else "sum_gap", values)]
    return []


def _widest(best: str, second: str, criteria: Figure | None) -> list[Sentence]:
    """The criterion on which the two are furthest apart, whoever is ahead."""
    means = {(row["model_id"], row["criterion_id"]): row for row in criteria.rows} if criteria else {}
    apart = []
    for (model, criterion), row in means.items():
        other = means.get((second, criterion))
        if model == best and other is not None and None not in (row["mean"], other["mean"]):
            apart.append((row["mean"] - other["mean"], row["criteria_name"], row["mean"], other["mean"]))
    if not apart:
        return []
    difference, name, own, others = max(apart, key=lambda each: abs(each[0]))
    if not rounded(difference):
        return []
    return [("sum_widest", {"criterion": name, "own": score(own), "other": score(others), "model": second})]


def _lead(best: str, models: int, tasks: Figure | None) -> list[Sentence]:
    """On how many tasks it alone has the highest mean; nothing where a model has no score on one of them."""
    by_task: dict[str, dict[str, float]] = {}
    for row in tasks.rows if tasks else ():
        by_task.setdefault(str(row["task_type"]), {})[row["model_id"]] = row["mean"]
    if len(by_task) < 2 or any(len(means) < models or None in means.values() for means in by_task.values()):
        return []
    won, behind = 0, []
    for task, means in by_task.items():
        ahead = max((model for model in means if model != best), key=lambda model: means[model])
        won += means[best] > means[ahead]
        if means[ahead] > means[best]:
            behind.append((means[ahead] - means[best], f"{ahead} ({task})"))
    values: dict[str, object] = {"model": best, "won": won, "tasks": len(by_task)}
    if won == len(by_task):
        return [("sum_leads_all", values)]
    if not behind:
        return [("sum_leads_alone", values)] if won else []
    return [("sum_leads", values | {"others": names([said for _, said in sorted(behind, reverse=True)])})]


def _weakest(best: str, tasks: Figure | None) -> list[Sentence]:
    own = [row for row in tasks.rows if row["model_id"] == best and row["mean"] is not None] if tasks else []
    if len(own) < 2:
        return []
    worst = min(own, key=lambda row: (row["mean"], str(row["task_type"])))
    return [("sum_weakest", {"model": best, "task": str(worst["task_type"]), "score": score(worst["mean"])})]


def signed(value: float, digits: int = 3) -> str:
    """A difference, as sentences and tables show it; what is rounded to 0 has no sign."""
    shown = rounded(value, digits)
    return f"{shown:+}".replace("-", "−") if shown else str(abs(shown))


def score(value: float | None) -> str:
    """A mean, as sentences and tables show it."""
    return "" if value is None else str(rounded(value))
