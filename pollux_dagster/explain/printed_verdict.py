"""Prints one answer with what each judge gave it, and one verdict from its prompt to its run."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from pollux_dagster.core.times import shown
from pollux_dagster.core.verdicts import engine_in_words
from pollux_dagster.explain.answer import ExplainedAnswer, JudgedAnswer
from pollux_dagster.explain.lines import ALARM, KEY, command, excerpt, heading, numbered, quote, say, score
from pollux_dagster.explain.selection import Judge, Row
from pollux_dagster.explain.verdict import ExplainedVerdict
from pollux_dagster.text_tables import figure, print_rows

_REQUESTS = 10  # of one verdict, where many models gave one answer


def print_answer(console: Console, found: ExplainedAnswer, home: Path) -> None:
    """Print an instruction, a model's answers to it and their verdicts."""
    task = found.instruction
    say(console, f"Instruction {task['prompt_id']}, task {task['task_type']}", "bold")
    say(console, f"from {task['file_path']}, row {task['row_number']}")
    quote(console, task["instruction"])
    if task["reference_answer"]:
        say(console, "Reference answer:")
        quote(console, task["reference_answer"])
    for output in found.outputs:
        sample = f", sample {output['sample_index']}" if len(found.outputs) > 1 else ""
        say(console, f"Answer of {found.model_id}{sample}", "bold")
        say(console, f"from {output['file_path']}, row {output['row_number']}")
        quote(console, output["answer"])
    if not found.judged:
        say(console, "No judge of the publication was asked about it.", ALARM)
    for judged in found.judged:
        _judged(console, judged)
        say(console, f"A verdict:  {command(home, judged.requests[0]['verdict_key'][:KEY])}")


def _judged(console: Console, judged: JudgedAnswer) -> None:
    heading(console, judged.judge)
    for answer in judged.answers:
        of = f"{answer['n']} of {answer['n_requests']} scores"
        gate = {
            "tripped": "; a gate tripped, so each counts as 0",
            "unknown": "; a gate is undecided, so that nothing counts",
        }
        said = _figure_or_none(answer["answer_score"])
        say(console, f"{_told(answer)}score {said}, the mean of {of}{gate.get(answer['gate_state'], '')}")
    beside = any(row["people"] for row in judged.requests)
    columns = ("criterion", "score", *(("people",) if beside else ()), "scale", "counts as", "why", "verdict")
    title = "Verdicts, people's scores beside them" if beside else "Verdicts"
    print_rows(console, title, columns, [_told_of_verdict(row, beside) for row in judged.requests])


def _told_of_verdict(row: Row, beside: bool) -> tuple[str, ...]:
    """The cells of a verdict, with people's scores where they stand `beside` the judge's."""
    people = [", ".join(score(given["score"]) for given in row["people"])]
    return (
        _told(row) + row["criteria_name"],
        row["status"] if row["score"] is None else score(row["score"]),
        *(people if beside else []),
        _scale(row),
        "gate" if row["is_gate"] else _figure_or_none(row["final_score"]),
        excerpt(row["rationale"] or row["error"]),
        row["verdict_key"][:KEY],
    )


def _told(row: Row) -> str:
    said = [f"sample {row['sample_index']}"] if row["sample_index"] else []
    said += [f"repetition {row['repeat_index']}"] if row["repeat_index"] else []
    return f"{', '.join(said)}: " if said else ""


def _figure_or_none(value: float | None) -> str:
    return "none" if value is None else str(figure(value))


def _scale(row: Row) -> str:
    return f"{row['min_score']:g} to {row['max_score']:g}"


def print_verdict(console: Console, found: ExplainedVerdict, made: Row) -> None:
    """Print what is known of a verdict in the publication `made`."""
    judge, verdict, first = found.judge, found.verdict, found.requests[0]
    heading(console, Judge(first["judge_id"], first["judge_name"], judge.get("model", "?"), first["is_demonstration"]))
    say(console, f"Verdict {found.verdict_key}", "bold")
    for row in found.requests[:_REQUESTS]:
        say(console, _use(row))
    if len(found.requests) > _REQUESTS:
        others = len(found.requests) - _REQUESTS
        say(console, f"and {others} more answers in the same words; --json lists them")
    for contradiction in found.contradictions:
        say(console, f"NOT EQUAL: {contradiction}", ALARM)
    _key(console, found)
    _prompt(console, found)
    if verdict is None:
        say(console, "Reply: none. The judge has not answered this request, or a text has changed since.", ALARM)
    else:
        _reply(console, verdict)
    for row in found.people:
        said = f": {row['feedback']}" if row.get("feedback") else ""
        say(console, f"People: {row['annotator']} gave {score(row['score'])}{said}")
    _origin(console, found, made)


def _use(row: Row) -> str:
    """One request that the verdict scores, from the judge's number to the model's mean."""
    said = f"{row['model_id']}, instruction {numbered(row)}, criterion {row['criteria_name']}: "
    if row["score"] is None:
        return f"{said}no score, status {row['status']}; it is in no mean"
    said += f"score {score(row['score'])} on {_scale(row)}"
    if row["is_gate"]:
        return f"{said}, a gate; the answer's gates: {row['gate_state']}"
    if row["final_score"] is None:
        return f"{said}, in no mean, because the answer's gates are {row['gate_state']}"
    why = " because a gate tripped" if row["gate_state"] == "tripped" else ""
    counts = f"{said}, counts as {figure(row['final_score'])}{why}"
    return f"{counts}; one of {row['n']} scores in the mean {figure(row['mean_score'])}"


def _key(console: Console, found: ExplainedVerdict) -> None:
    if found.key.is_equal:
        say(console, "Key: computed again from the published texts, equal.")
        return
    say(console, f"Key: NOT EQUAL. The published texts give {found.key.recomputed}:", ALARM)
    for difference in found.key.differences:
        say(console, f"  {difference}", ALARM)
    say(console, "What follows is not what was judged, or was shown to the judge in another way.", ALARM)


def _prompt(console: Console, found: ExplainedVerdict) -> None:
    prompt = found.prompt
    if prompt.problem:
        say(console, f"Prompt: {prompt.problem}.", ALARM)
    if prompt.system:
        say(console, "System message:")
        quote(console, prompt.system)
    if prompt.user is not None:
        say(console, f"Prompt, made again with the template of profile {prompt.profile}:")
        quote(console, prompt.user)
        return
    for name, text in found.texts.items():
        say(console, f"{name}:")
        quote(console, text or "")


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
        "engine": engine_in_words(verdict["engine"], verdict["engine_version"]),
        "system fingerprint": verdict["system_fingerprint"],
        "answered": shown(verdict["created_at"]),
    }
    say(console, "Reply:")
    for name, text in (("rationale", verdict["rationale"]), ("raw reply", verdict["raw_text"])):
        say(console, f"{name}:" if text is not None else f"{name}: none")
        if text is not None:
            quote(console, text)
    for name, value in told.items():
        if value is not None:
            say(console, f"{name}: {value}")


def _probabilities(verdict: Row) -> str | None:
    found = verdict.get("level_probabilities")
    return None if found is None else ", ".join(str(figure(each)) for each in found)


def _origin(console: Console, found: ExplainedVerdict, made: Row) -> None:
    """Files, runs and versions."""
    for row in found.requests[:_REQUESTS]:
        where = f"Answer of {row['model_id']}: {row['file_path']}, row {row['row_number']}"
        if row["file_sha256"] is None:
            say(console, f"{where}; the publication has no record of this file", ALARM)
        else:
            say(console, f"{where}; {row['file_format']}, sha256 {row['file_sha256']}")
    judge = found.judge
    if judge:
        revision = f"revision {judge['weights_revision']}"
        say(console, f"Judge: {judge['judge_name']}, id {judge['judge_id']}, {judge['model']}, {revision}")
    else:
        say(console, "Judge: not in meta.judges", ALARM)
    for run in found.runs:
        say(console, f"Run {run['run_id']}: {run['step']}, {shown(run['started_at'])} to {shown(run['finished_at'])}")
    known = {run["run_id"] for run in found.runs}
    for run_id in dict.fromkeys([found.verdict["run_id"]] if found.verdict else []):
        if run_id not in known:
            say(console, f"Run {run_id}: it judged, and meta.runs has no record of it; it may have been interrupted")
    version = f"pollux_dagster {made['package_version']}, commit {made['git_commit'] or 'unknown'}"
    say(console, f"Published: {shown(made['published_at'])} by run {made['run_id']}, {version}")
