"""Metrics of the last run of each job, as a file in Prometheus' text format for node_exporter's textfile collector.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/. All are gauges with the label `job`: a file
that is written at the end of a run says what that run did, and Prometheus keeps the past.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from pollux_dagster.core.files import write_private
from pollux_dagster.runs.outcome import Outcome

METRICS = {
    "pollux_run_succeeded": "1 where the last run of the job succeeded, else 0.",
    "pollux_run_end_timestamp_seconds": "When it ended.",
    "pollux_run_last_success_timestamp_seconds": "When a run of the job last succeeded.",
    "pollux_run_duration_seconds": "How long it took.",
    "pollux_verdicts_cached": "Requests that had their verdict before it.",
    "pollux_verdicts_asked": "Verdicts that it obtained, by status; only ok has a score.",
    "pollux_tokens": "Tokens that the judge read and wrote for them.",
    "pollux_verdicts_per_second": "Verdicts per second while it judged.",
    "pollux_models": "Models in the tables, and those left out of them.",
    "pollux_checks_failed": "Checks that failed in it, by whether they hold back the publication.",
    "pollux_rejected_rows": "Rows of the landing folder that could not be used.",
}
_KEPT = "pollux_run_last_success_timestamp_seconds"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""(name, labels in the order of their names) → value."""


def write_metrics(file: Path, job: str, outcome: Outcome, *, started: float | None) -> None:
    """Replace the job's metrics in `file`, atomically; those of other jobs stay.

    started: Unix time in seconds, None where it is not known. The file may be read by other users where it is not in a
    folder that keeps them out.

    Raises:
        OSError: the file cannot be written.
    """
    samples = _read(file)
    before = {key: value for key, value in samples.items() if key == (_KEPT, (("job", job),))}
    samples = {key: value for key, value in samples.items() if dict(key[1]).get("job") != job}
    samples |= before | dict(_of_run(job, outcome, started, time.time()))
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(file, _exposed(samples))
    file.chmod(0o644)


def _of_run(
    job: str, outcome: Outcome, started: float | None, ended: float
) -> Iterator[tuple[tuple[str, tuple[tuple[str, str], ...]], float]]:
    def sample(name: str, value: float, **labels: str) -> tuple[tuple[str, tuple[tuple[str, str], ...]], float]:
        return (f"pollux_{name}", tuple(sorted({"job": job, **labels}.items()))), float(value)

    yield sample("run_succeeded", not outcome.causes)
    yield sample("run_end_timestamp_seconds", ended)
    if not outcome.causes:
        yield sample("run_last_success_timestamp_seconds", ended)
    if started is not None:
        yield sample("run_duration_seconds", max(0.0, ended - started))
    if outcome.asked is not None:
        yield sample("verdicts_cached", outcome.cached or 0)
        for status, count in {"ok": 0, **outcome.by_status}.items():
            yield sample("verdicts_asked", count, status=status)
        yield sample("tokens", outcome.prompt_tokens, kind="prompt")
        yield sample("tokens", outcome.completion_tokens, kind="completion")
        yield sample("verdicts_per_second", outcome.rate)
    if outcome.admitted is not None:
        yield sample("models", outcome.admitted, state="admitted")
        yield sample("models", outcome.left_out or 0, state="left_out")
    for blocking in (True, False):
        failed = sum(check.is_blocking == blocking for check in outcome.checks)
        yield sample("checks_failed", failed, blocking=str(blocking).lower())
    if outcome.rejected is not None:
        yield sample("rejected_rows", outcome.rejected)


def _read(file: Path) -> Samples:
    """The samples of the file as it is; none where there is no file or it is not one of ours."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        text = file.read_text(encoding="utf-8")
        families = list(text_string_to_metric_families(text))
    except (OSError, ValueError):
        return {}
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if sample.name in METRICS
    }


def _exposed(samples: Samples) -> str:
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    # An earlier version's file may have other labels, with which Prometheus could not tell the samples apart.
    labelled = {name: [label for label, _ in labels] for name, labels in samples}
    for (name, labels), value in sorted(samples.items()):
        if [label for label, _ in labels] != labelled[name]:
            continue
        if name not in gauges:
            gauges[name] = Gauge(name, METRICS[name], [label for label, _ in labels], registry=registry)
        gauges[name].labels(**dict(labels)).set(value)
    return generate_latest(registry).decode()
