"""Prints two models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pollux_dagster.core.people_order import in_words
from pollux_dagster.explain.comparison import Comparison
from pollux_dagster.explain.lines import ALARM, command, excerpt, heading, say
from pollux_dagster.explain.selection import Row, told_apart
from pollux_dagster.report import print_people_order
from pollux_dagster.text_tables import figure, interval, print_rows


def print_comparison(console: Console, found: Comparison, home: Path) -> None:
    """Print one judge's comparison of two models."""
    heading(console, found.judge)
    print_people_order(in_words(found.turned), console)
    columns = ("model", "place", "mean", "95 % interval", "n", "coverage")
    print_rows(
        console, "Means", columns,
        [(row["model_id"], row["place"], figure(row["mean_score"]), interval(row), row["n"], figure(row["coverage"]))
         for row in found.means],
    )  # fmt: skip
    if people := [row for row in found.means if row.get("people_mean") is not None]:
        print_rows(
            console, "Means by people's scores, extended to all answers",
            ("model", "mean", "95 % interval", "scores labelled"),
            [(row["model_id"], figure(row["people_mean"]),
              interval({"ci_low": row["people_ci_low"], "ci_high": row["people_ci_high"]}), row["n_labelled"])
             for row in people],
        )  # fmt: skip
    for line, style in _conclusion(found):
        say(console, line, style)
    names = told_apart(found.criteria)
    _parts(console, "By task", "task", [(row["task_type"], row) for row in found.tasks])
    _parts(console, "By criterion", "criterion", [(names[row["criterion_id"]], row) for row in found.criteria])
    say(console, "'of it' is the part of the difference; the rows have no intervals and are not tested one by one.")
    for better, instructions in ((found.model_id, found.ahead), (found.other_model_id, found.behind)):
        for row in instructions:
            _differing(console, better, row, found, home)


def _conclusion(found: Comparison) -> list[tuple[str, str]]:
    pair, again, asked = found.published, found.recomputed, found.asked
    one, other = found.model_id, found.other_model_id
    if pair["difference"] is None:
        return [(f"{one} and {other} have no instruction on which both have a score", ALARM)]
    p_value = pair["adjusted_p_value"]
    if p_value is None:
        verdict = "one shared instruction is not enough to tell them apart"
    elif p_value < 0.05:
        verdict = f"{one if pair['difference'] > 0 else other} is better by the judge's scores"
    else:
        verdict = "they cannot be told apart"
    tested = "" if p_value is None else f", 95 % interval {interval(pair)}, adjusted p = {p_value:.2g}"
    on = f"{pair['n']} shared items of {pair['n_clusters']} instructions ({pair['method']})"
    lines = [
        (f"{one} - {other}: {figure(pair['difference'])}{tested}: {verdict}", "bold"),
        (f"on {on}; better on {again['n_ahead']} of these instructions, level on {again['n_level']}, worse on "
         f"{again['n_behind']}", ""),
    ]  # fmt: skip
    if asked["n_only_model"] or asked["n_only_other"]:
        apart = f"{asked['n_only_model']} were asked of {one} only, {asked['n_only_other']} of {other} only"
        lines.append((f"{apart}: these do not count here, but they do in the means above", "bold yellow"))
    if not again["agrees"]:
        computed = f"{figure(again['difference'])} on {again['n']} items of {again['n_clusters']} instructions"
        lines.append((f"NOT EQUAL to what staging.scores gives, {computed}: do not use this publication.", ALARM))
    return lines


def _parts(console: Console, title: str, what: str, parts: Sequence[tuple[str, Row]]) -> None:
    columns = (what, "instructions", "first", "second", "difference", "of it")
    if parts:
        print_rows(
            console, title, columns,
            [(name, row["n_clusters"], *(figure(row[each]) for each in ("model_score", "other_score", "difference",
              "contribution"))) for name, row in parts],
        )  # fmt: skip


def _differing(console: Console, better: str, row: Row, found: Comparison, home: Path) -> None:
    console.print()
    scores = f"{figure(row['model_score'])} against {figure(row['other_score'])}"
    what = f"Instruction {row['prompt_id']}, task {row['task_type']}"
    say(console, f"{what}: {scores}, {better} is better by: {row['differing_criteria']}", "bold")
    say(console, f"asked: {excerpt(row['instruction_excerpt'])}")
    for model_id, answer in ((found.model_id, "answer_excerpt"), (found.other_model_id, "other_answer_excerpt")):
        say(console, f"{model_id}: {excerpt(row[answer])}")
        say(console, f"  {command(home, model_id, '--prompt-id', row['prompt_id'])}")
