"""The report's first sentences: which model is best and how sure that is, where it is ahead, and what makes the gap.

A sentence is the name of a text of texts.toml and what is filled into it. Sentences say "beyond chance" only where the
published comparisons, adjusted for the number of pairs, say so.
"""

from __future__ import annotations

from collections.abc import Sequence

from pollux_dagster.page.figures import Figure, Row

Sentence = tuple[str, dict[str, object]]
NAMED = 3  # names in one sentence


def sentences(
    board: Sequence[Row],
    tasks: Figure | None,
    criteria: Figure | None,
    pairs: Figure | None,
    *,
    is_narrowed: bool = False,
) -> list[Sentence]:
    """At most five sentences. board: the rows of the leaderboard, best first; some of them where `is_narrowed`."""
    scored = [row for row in board if row["mean_score"] is not None]
    if not scored:
        return [("sum_nothing", {})]
    best = scored[0]
    said = [_first(best, len(scored), is_narrowed)]
    if len(scored) > 1:
        second = scored[1]
        said += _gap(best["model_id"], second["model_id"], pairs)
        said += _widest(best["model_id"], second["model_id"], criteria)
        said += _lead(best["model_id"], tasks)
    return said + _weakest(best["model_id"], tasks)


def _first(best: Row, models: int, is_narrowed: bool) -> Sentence:
    values: dict[str, object] = {"model": best["model_id"], "mean": _figure(best["mean_score"])}
    values["interval"] = "–".join(_figure(best[end]) for end in ("ci_low", "ci_high"))
    if is_narrowed:  # the ranks are among all models
        return "sum_among", values
    if models == 1:
        return "sum_only", values
    if best["rank_high"] == 1 and not best["tied_with"]:
        return "sum_best", values
    if tied := best["tied_with"] or ():
        more = len(tied) - NAMED
        values["others"] = ", ".join(tied[:NAMED]) + (f" + {more}" if more > 0 else "")
        return "sum_tied", values
    return "sum_highest", values


def _gap(best: str, second: str, pairs: Figure | None) -> list[Sentence]:
    for row in pairs.rows if pairs else ():
        if (row["model_id"], row["other_model_id"]) == (best, second) and row["ci_low"] is not None:
            interval = f"{row['ci_low']:+.3f} – {row['ci_high']:+.3f}"
            chance = row["adjusted_p_value"] is None or row["adjusted_p_value"] >= 0.05
            values: dict[str, object] = {
                "model": second,
                "difference": f"{row['difference']:+.3f}",
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
    if round(abs(difference), 3) == 0:
        return []
    return [("sum_widest", {"criterion": name, "own": _figure(own), "other": _figure(others), "model": second})]


def _lead(best: str, tasks: Figure | None) -> list[Sentence]:
    by_task: dict[str, list[Row]] = {}
    for row in tasks.rows if tasks else ():
        if row["mean"] is not None:
            by_task.setdefault(str(row["task_type"]), []).append(row)
    compared = {task: rows for task, rows in by_task.items() if any(row["model_id"] == best for row in rows)}
    if len(compared) < 2:
        return []
    behind = []
    for task, rows in compared.items():
        own = next(row["mean"] for row in rows if row["model_id"] == best)
        ahead = max(rows, key=lambda row: row["mean"])
        if ahead["mean"] > own:
            behind.append((ahead["mean"] - own, f"{task} ({ahead['model_id']})"))
    values: dict[str, object] = {"model": best, "won": len(compared) - len(behind), "tasks": len(compared)}
    if not behind:
        return [("sum_leads_all", values)]
    named = [said for _, said in sorted(behind, reverse=True)]
    more = f" + {len(named) - NAMED}" if len(named) > NAMED else ""
    return [("sum_leads", values | {"others": ", ".join(named[:NAMED]) + more})]


def _weakest(best: str, tasks: Figure | None) -> list[Sentence]:
    own = [row for row in tasks.rows if row["model_id"] == best and row["mean"] is not None] if tasks else []
    if len(own) < 2:
        return []
    worst = min(own, key=lambda row: (row["mean"], str(row["task_type"])))
    return [("sum_weakest", {"model": best, "task": str(worst["task_type"]), "score": _figure(worst["mean"])})]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
