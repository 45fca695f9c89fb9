"""Prints what was walked back: in words and tables, one judge at a time, every text escaped."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pollux_dagster.core.people_order import in_words
from pollux_dagster.core.text import escaped, shortened
from pollux_dagster.core.times import shown
from pollux_dagster.explain.answer import ExplainedAnswer, JudgedAnswer
from pollux_dagster.explain.comparison import Comparison
from pollux_dagster.explain.mean import ExplainedMean
from pollux_dagster.explain.selection import Judge, Row, told_apart
from pollux_dagster.explain.verdict import ExplainedVerdict
from pollux_dagster.explain.walk import Walked
from pollux_dagster.report import (
    COMMAND,
    figure,
    interval,
    print_judge,
    print_people_order,
    print_rows,
    relative_to_cwd,
)

_LOSSES = 12  # rows of the table; the others are summed up
_KEY = 12  # digits of a verdict's key, enough to name it
_EXCERPT = 160
_REQUESTS = 10  # of one verdict, where many models gave one answer
_ALARM = "bold red"


def print_walk(console: Console, walked: Walked, made: Row, home: Path) -> None:
    """Print what was found in the publication `made`, and the commands that go on from there."""
    if "sample_instructions" in made:
        _say(console, f"SAMPLE of {made['sample_instructions']:,} of {made['of_instructions']:,} instructions", _ALARM)
    if "stale_since" in made:
        since = f"published {shown(made['published_at'])}, not renewed since {shown(made['stale_since'])}"
        _say(console, f"NOT CURRENT: {since}. {made['stale_reason']}", _ALARM)
    match walked:
        case ExplainedAnswer():
            _answer(console, walked, home)
        case ExplainedVerdict():
            _verdict(console, walked, made)
        case _:
            for each in walked:
                if isinstance(each, Comparison):
                    _comparison(console, each, home)
                else:
                    _mean(console, each, home)


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(Text(escaped(line), style), soft_wrap=True)


def _quote(console: Console, text: str) -> None:
    for line in text.split("\n"):
        _say(console, f"> {line}")


def _excerpt(text: str | None) -> str:
    return shortened(" ".join((text or "").split()), _EXCERPT)


def _heading(console: Console, judge: Judge) -> None:
    console.print()
    print_judge(judge.judge_name, judge.model, judge.is_demonstration, console)


def _command(home: Path, *words: str) -> str:
    return shlex.join([str(relative_to_cwd(COMMAND)), "explain", *words, "--home", str(relative_to_cwd(home))])


def _mean(console: Console, found: ExplainedMean, home: Path) -> None:
    _heading(console, found.judge)
    _say(console, _mean_in_words(found))
    if found.source == "marts.leaderboard" and found.published and found.published.get("people_mean") is not None:
        _say(console, _people_in_words(found.published))
    again = found.recomputed
    if found.source and found.published is None:
        lacking = f"{found.source} has no row of it, though staging.scores has {again['n']} scores of it"
        _say(
            console,
            f"MISSING: {lacking}. A row was lost or the tables are not of one run: do not use this publication, and "
            "make it again with `pollux run --force`.",
            _ALARM,
        )
    elif found.published is None:
        _say(console, "Computed here from staging.scores: no mart has the mean of one task and one criterion.")
    elif again["agrees"] and again["n"]:
        _say(console, f"It is the mean of {again['n']} scores in staging.scores, computed again: equal.")
    elif not again["agrees"]:
        computed = f"{figure(again['mean_score'])} from {again['n']} scores"
        _say(console, f"NOT EQUAL to what staging.scores gives, {computed}: do not use this publication.", _ALARM)
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
        _say(console, f"{len(others)} more take off {figure(rest)} together; --json lists them.")
    if found.gates:
        gates = [
            (names[row["criterion_id"]], row["n_requests"], row["n_tripped"], row["n_undecided"]) for row in found.gates
        ]
        headings = ("gate", "requests", "tripped", "undecided")
        print_rows(console, "Gates: a tripped one makes the answer's scores 0", headings, gates)
    if found.unscored:
        unscored = [(row["reason"], row["n"], row["verdict_key"][:_KEY]) for row in found.unscored]
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


def _people_in_words(row: Row) -> str:
    reach = interval({"ci_low": row["people_ci_low"], "ci_high": row["people_ci_high"]})
    said = (
        f"By people: mean {figure(row['people_mean'])}, 95 % interval {reach}, from {row['n_labelled']} labelled scores"
    )
    above = row["people_put_above"]
    return f"{said}; people rate {', '.join(above)} above it, the judge below it" if above else said


def _worst(console: Console, found: ExplainedMean, home: Path) -> None:
    if not found.worst:
        _say(console, "No answer lost a point.")
        return
    gated = {"tripped": " (a gate tripped)"} if found.criterion else {}
    columns = ("instruction", "task", "score", "most off by", "its score", "why", "verdict")
    worst = [
        (_numbered(row), row["task_type"], figure(row["answer_score"]),
         row["worst_criterion"] + gated.get(row["gate_state"], ""),
         _score(row["worst_score"]), _excerpt(row["rationale_excerpt"]), row["verdict_key"][:_KEY])
        for row in found.worst
    ]  # fmt: skip
    print_rows(console, "Worst answers", columns, worst)
    first = found.worst[0]
    _say(console, f"An answer:  {_command(home, found.model_id, '--prompt-id', first['prompt_id'])}")
    _say(console, f"A verdict:  {_command(home, first['verdict_key'][:_KEY])}")


def _numbered(row: Row) -> str:
    sample = f", sample {row['sample_index']}" if row["sample_index"] else ""
    return f"{row['prompt_id']}{sample}" + (f", repetition {row['repeat_index']}" if row["repeat_index"] else "")


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def _answer(console: Console, found: ExplainedAnswer, home: Path) -> None:
    task = found.instruction
    _say(console, f"Instruction {task['prompt_id']}, task {task['task_type']}", "bold")
    _say(console, f"from {task['file_path']}, row {task['row_number']}")
    _quote(console, task["instruction"])
    if task["reference_answer"]:
        _say(console, "Reference answer:")
        _quote(console, task["reference_answer"])
    for output in found.outputs:
        sample = f", sample {output['sample_index']}" if len(found.outputs) > 1 else ""
        _say(console, f"Answer of {found.model_id}{sample}", "bold")
        _say(console, f"from {output['file_path']}, row {output['row_number']}")
        _quote(console, output["answer"])
    if not found.judged:
        _say(console, "No judge of the publication was asked about it.", _ALARM)
    for judged in found.judged:
        _judged(console, judged)
        _say(console, f"A verdict:  {_command(home, judged.requests[0]['verdict_key'][:_KEY])}")


def _judged(console: Console, judged: JudgedAnswer) -> None:
    _heading(console, judged.judge)
    for answer in judged.answers:
        of = f"{answer['n']} of {answer['n_requests']} scores"
        gate = {
            "tripped": "; a gate tripped, so each counts as 0",
            "unknown": "; a gate is undecided, so that nothing counts",
        }
        said = _figure_or_none(answer["answer_score"])
        _say(console, f"{_told(answer)}score {said}, the mean of {of}{gate.get(answer['gate_state'], '')}")
    beside = any(row["people"] for row in judged.requests)
    columns = ("criterion", "score", *(("people",) if beside else ()), "scale", "counts as", "why", "verdict")
    title = "Verdicts, people's scores beside them" if beside else "Verdicts"
    print_rows(console, title, columns, [_told_of_verdict(row, beside) for row in judged.requests])


def _told_of_verdict(row: Row, beside: bool) -> tuple[str, ...]:
    """The cells of a verdict, with people's scores where they stand `beside` the judge's."""
    people = [", ".join(_score(given["score"]) for given in row["people"])]
    return (
        _told(row) + row["criteria_name"],
        row["status"] if row["score"] is None else _score(row["score"]),
        *(people if beside else []),
        _scale(row),
        "gate" if row["is_gate"] else _figure_or_none(row["final_score"]),
        _excerpt(row["rationale"] or row["error"]),
        row["verdict_key"][:_KEY],
    )


def _told(row: Row) -> str:
    said = [f"sample {row['sample_index']}"] if row["sample_index"] else []
    said += [f"repetition {row['repeat_index']}"] if row["repeat_index"] else []
    return f"{', '.join(said)}: " if said else ""


def _figure_or_none(value: float | None) -> str:
    return "none" if value is None else str(figure(value))


def _scale(row: Row) -> str:
    return f"{row['min_score']:g} to {row['max_score']:g}"


def _verdict(console: Console, found: ExplainedVerdict, made: Row) -> None:
    judge, verdict, first = found.judge, found.verdict, found.requests[0]
    _heading(console, Judge(first["judge_id"], first["judge_name"], judge.get("model", "?"), first["is_demonstration"]))
    _say(console, f"Verdict {found.verdict_key}", "bold")
    for row in found.requests[:_REQUESTS]:
        _say(console, _use(row))
    if len(found.requests) > _REQUESTS:
        others = len(found.requests) - _REQUESTS
        _say(console, f"and {others} more answers in the same words; --json lists them")
    for contradiction in found.contradictions:
        _say(console, f"NOT EQUAL: {contradiction}", _ALARM)
    _key(console, found)
    _prompt(console, found)
    if verdict is None:
        _say(console, "Reply: none. The judge has not answered this request, or a text has changed since.", _ALARM)
    else:
        _reply(console, verdict)
    for row in found.people:
        said = f": {row['feedback']}" if row.get("feedback") else ""
        _say(console, f"People: {row['annotator']} gave {_score(row['score'])}{said}")
    _origin(console, found, made)


def _use(row: Row) -> str:
    """One request that the verdict scores, from the judge's number to the model's mean."""
    said = f"{row['model_id']}, instruction {_numbered(row)}, criterion {row['criteria_name']}: "
    if row["score"] is None:
        return f"{said}no score, status {row['status']}; it is in no mean"
    said += f"score {_score(row['score'])} on {_scale(row)}"
    if row["is_gate"]:
        return f"{said}, a gate; the answer's gates: {row['gate_state']}"
    if row["final_score"] is None:
        return f"{said}, in no mean, because the answer's gates are {row['gate_state']}"
    why = " because a gate tripped" if row["gate_state"] == "tripped" else ""
    counts = f"{said}, counts as {figure(row['final_score'])}{why}"
    return f"{counts}; one of {row['n']} scores in the mean {figure(row['mean_score'])}"


def _key(console: Console, found: ExplainedVerdict) -> None:
    if found.key.is_equal:
        _say(console, "Key: computed again from the published texts, equal.")
        return
    _say(console, f"Key: NOT EQUAL. The published texts give {found.key.recomputed}:", _ALARM)
    for difference in found.key.differences:
        _say(console, f"  {difference}", _ALARM)
    _say(console, "What follows is not what was judged, or was shown to the judge in another way.", _ALARM)


def _prompt(console: Console, found: ExplainedVerdict) -> None:
    prompt = found.prompt
    if prompt.problem:
        _say(console, f"Prompt: {prompt.problem}.", _ALARM)
    if prompt.system:
        _say(console, "System message:")
        _quote(console, prompt.system)
    if prompt.user is not None:
        _say(console, f"Prompt, made again with the template of profile {prompt.profile}:")
        _quote(console, prompt.user)
        return
    for name, text in found.texts.items():
        _say(console, f"{name}:")
        _quote(console, text or "")


def _reply(console: Console, verdict: Row) -> None:
    tokens = f"{verdict['prompt_tokens']} of the prompt ({verdict['cached_tokens']} cached), "
    told = {
        "status": verdict["status"],
        "error": verdict["error"],
        "finish reason": verdict["finish_reason"],
        "tokens": f"{tokens}{verdict['completion_tokens']} of the reply",
        "attempts": f"{verdict['attempts']}, {verdict['latency_s']:.1f} s",
        "probabilities of the levels": _probabilities(verdict),
        "server": verdict["server"],
        "engine": f"{verdict['engine']} {verdict['engine_version']}",
        "system fingerprint": verdict["system_fingerprint"],
        "answered": shown(verdict["created_at"]),
    }
    _say(console, "Reply:")
    for name, text in (("rationale", verdict["rationale"]), ("raw reply", verdict["raw_text"])):
        _say(console, f"{name}:" if text is not None else f"{name}: none")
        if text is not None:
            _quote(console, text)
    for name, value in told.items():
        if value is not None:
            _say(console, f"{name}: {value}")


def _probabilities(verdict: Row) -> str | None:
    found = verdict.get("level_probabilities")
    return None if found is None else ", ".join(str(figure(each)) for each in found)


def _origin(console: Console, found: ExplainedVerdict, made: Row) -> None:
    """Files, runs and versions."""
    for row in found.requests[:_REQUESTS]:
        where = f"Answer of {row['model_id']}: {row['file_path']}, row {row['row_number']}"
        if row["file_sha256"] is None:
            _say(console, f"{where}; the publication has no record of this file", _ALARM)
        else:
            _say(console, f"{where}; {row['file_format']}, sha256 {row['file_sha256']}")
    judge = found.judge
    if judge:
        revision = f"revision {judge['weights_revision']}"
        _say(console, f"Judge: {judge['judge_name']}, id {judge['judge_id']}, {judge['model']}, {revision}")
    else:
        _say(console, "Judge: not in meta.judges", _ALARM)
    for run in found.runs:
        _say(console, f"Run {run['run_id']}: {run['step']}, {shown(run['started_at'])} to {shown(run['finished_at'])}")
    known = {run["run_id"] for run in found.runs}
    for run_id in dict.fromkeys([found.verdict["run_id"]] if found.verdict else []):
        if run_id not in known:
            _say(console, f"Run {run_id}: it judged, and meta.runs has no record of it; it may have been interrupted")
    version = f"pollux_dagster {made['package_version']}, commit {made['git_commit'] or 'unknown'}"
    _say(console, f"Published: {shown(made['published_at'])} by run {made['run_id']}, {version}")


def _comparison(console: Console, found: Comparison, home: Path) -> None:
    _heading(console, found.judge)
    print_people_order(in_words(found.means), console)
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
        _say(console, line, style)
    names = told_apart(found.criteria)
    _parts(console, "By task", "task", [(row["task_type"], row) for row in found.tasks])
    _parts(console, "By criterion", "criterion", [(names[row["criterion_id"]], row) for row in found.criteria])
    _say(console, "'of it' is the part of the difference; the rows have no intervals and are not tested one by one.")
    for better, instructions in ((found.model_id, found.ahead), (found.other_model_id, found.behind)):
        for row in instructions:
            _differing(console, better, row, found, home)


def _conclusion(found: Comparison) -> list[tuple[str, str]]:
    pair, again, asked = found.published, found.recomputed, found.asked
    one, other = found.model_id, found.other_model_id
    if pair["difference"] is None:
        return [(f"{one} and {other} have no instruction on which both have a score", _ALARM)]
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
        lines.append((f"NOT EQUAL to what staging.scores gives, {computed}: do not use this publication.", _ALARM))
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
    _say(console, f"{what}: {scores}, {better} is better by: {row['differing_criteria']}", "bold")
    _say(console, f"asked: {_excerpt(row['instruction_excerpt'])}")
    for model_id, answer in ((found.model_id, "answer_excerpt"), (found.other_model_id, "other_answer_excerpt")):
        _say(console, f"{model_id}: {_excerpt(row[answer])}")
        _say(console, f"  {_command(home, model_id, '--prompt-id', row['prompt_id'])}")
