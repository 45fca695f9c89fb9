"""Prints what was walked back: in words and tables, one judge at a time."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from pollux_dagster.core.times import shown
from pollux_dagster.explain.answer import ExplainedAnswer
from pollux_dagster.explain.comparison import Comparison
from pollux_dagster.explain.lines import ALARM, KEY, command, excerpt, heading, numbered, say, score
from pollux_dagster.explain.mean import ExplainedMean
from pollux_dagster.explain.printed_comparison import print_comparison
from pollux_dagster.explain.printed_verdict import print_answer, print_verdict
from pollux_dagster.explain.selection import Row, told_apart
from pollux_dagster.explain.verdict import ExplainedVerdict
from pollux_dagster.explain.walk import Walked
from pollux_dagster.text_tables import figure, interval, print_rows

_LOSSES = 12  # rows of the table; the others are summed up


def print_walk(console: Console, walked: Walked, made: Row, home: Path) -> None:
    """Print what was found in the publication `made`, and the commands that go on from there."""
    if "sample_instructions" in made:
        say(console, f"SAMPLE of {made['sample_instructions']:,} of {made['of_instructions']:,} instructions", ALARM)
    if "stale_since" in made:
        since = f"published {shown(made['published_at'])}, not renewed since {shown(made['stale_since'])}"
        say(console, f"NOT CURRENT: {since}. {made['stale_reason']}", ALARM)
    match walked:
        case ExplainedAnswer():
            print_answer(console, walked, home)
        case ExplainedVerdict():
            print_verdict(console, walked, made)
        case _:
            for each in walked:
                if isinstance(each, Comparison):
                    print_comparison(console, each, home)
                else:
                    _mean(console, each, home)


def _mean(console: Console, found: ExplainedMean, home: Path) -> None:
    heading(console, found.judge)
    say(console, _mean_in_words(found))
    if found.source == "marts.leaderboard" and found.published:
        for line in _people_in_words(found.published):
            say(console, line)
    again = found.recomputed
    if found.source and found.published is None:
        lacking = f"{found.source} has no row of it, though staging.scores has {again['n']} scores of it"
        say(
            console,
            f"MISSING: {lacking}. A row was lost or the tables are not of one run: do not use this publication, and "
            "make it again with `pollux run --force`.",
            ALARM,
        )
    elif found.published is None:
        say(console, "Computed here from staging.scores: no mart has the mean of one task and one criterion.")
    elif again["agrees"] and again["n"]:
        say(console, f"It is the mean of {again['n']} scores in staging.scores, computed again: equal.")
    elif not again["agrees"]:
        computed = f"{figure(again['mean_score'])} from {again['n']} scores"
        say(console, f"NOT EQUAL to what staging.scores gives, {computed}: do not use this publication.", ALARM)
    names = told_apart([*found.losses, *found.gates])
    shown, others = found.losses[:_LOSSES], found.losses[_LOSSES:]
    if shown:
        columns = ("task", "criterion", "n", "mean", "off the mean", "gated")
        print_rows(
            console, "What takes points off, by task and criterion", columns,
            [(row["task_type"], names[row["criterion_id"]], row["n"], figure(row["mean_score"]),
              figure(row["off_the_mean"]), row["n_gated"]) for row in shown],
        )  # fmt: skip
    if others:
        rest = sum(row["off_the_mean"] for row in others)
        say(console, f"{len(others)} more take off {figure(rest)} together; --json lists them.")
    if found.gates:
        gates = [
            (names[row["criterion_id"]], row["n_requests"], row["n_tripped"], row["n_undecided"]) for row in found.gates
        ]
        headings = ("gate", "requests", "tripped", "undecided")
        print_rows(console, "Gates: a tripped one makes the answer's scores 0", headings, gates)
    if found.unscored:
        unscored = [(row["reason"], row["n"], row["verdict_key"][:KEY]) for row in found.unscored]
        print_rows(console, "Requests that are in no mean", ("because", "requests", "one of them"), unscored)
    _worst(console, found, home)


def _mean_in_words(found: ExplainedMean) -> str:
    row = found.recomputed if found.published is None else found.published
    part = [f"task {found.task_type}"] if found.task_type is not None else []
    part += [f"criterion {found.criterion['criteria_name']}"] if found.criterion else []
    where = f" ({', '.join(part)})" if part else ""
    if row["mean_score"] is None:
        return f"{found.model_id}{where}: no mean, {found.recomputed['n_requests']} requests that count in one"
    reach = f", 95 % interval {interval(row)}" if row.get("ci_low") is not None else ""
    place = f", place {row['place']}" if "place" in row else ""
    source = f"; {found.source}" if found.published else ""
    asked = f"{row['n']} of {found.recomputed['n_requests']} requests"
    return f"{found.model_id}{where}: mean {figure(row['mean_score'])}{reach}, from {asked}{place}{source}"


def _people_in_words(row: Row) -> list[str]:
    """What people say of a row of marts.leaderboard, which an earlier version's publication has no columns for."""
    said = []
    if row.get("people_mean") is not None:
        reach = interval({"ci_low": row["people_ci_low"], "ci_high": row["people_ci_high"]})
        from_labels = f"from {row['n_labelled']} labelled scores"
        said.append(f"By people: mean {figure(row['people_mean'])}, 95 % interval {reach}, {from_labels}")
    if above := row.get("people_put_above"):
        said.append(f"People rate {', '.join(above)} above it, the judge below it")
    return said


def _worst(console: Console, found: ExplainedMean, home: Path) -> None:
    if not found.worst:
        say(console, "No answer lost a point.")
        return
    gated = {"tripped": " (a gate tripped)"} if found.criterion else {}
    columns = ("instruction", "task", "score", "most off by", "its score", "why", "verdict")
    worst = [
        (numbered(row), row["task_type"], figure(row["answer_score"]),
         row["worst_criterion"] + gated.get(row["gate_state"], ""),
         score(row["worst_score"]), excerpt(row["rationale_excerpt"]), row["verdict_key"][:KEY])
        for row in found.worst
    ]  # fmt: skip
    print_rows(console, "Worst answers", columns, worst)
    first = found.worst[0]
    say(console, f"An answer:  {command(home, found.model_id, '--prompt-id', first['prompt_id'])}")
    say(console, f"A verdict:  {command(home, first['verdict_key'][:KEY])}")
