"""The sensor that tells somebody when a job fails and when it succeeds again. It exists where a receiver is set."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from pollux_dagster.app.messages import Message, failed, from_json, receivers, recovered, told_failure
from pollux_dagster.core.secrets import masked
from pollux_dagster.defs import automation, exam  # as modules: Dagster would load imported jobs once more
from pollux_dagster.runs.dagster_internals.execution import WILL_RETRY_TAG
from pollux_dagster.runs.outcome import FAILED_TAG
from pollux_dagster.settings import Notify

JOBS = (
    *(automation.ingest_job.name, automation.evaluate_job.name, automation.rebuild_job.name),
    exam.exam_job.name,
)
ATTEMPTS = 5  # at a receiver that does not take a message, one a tick
AT_ONCE = 20  # runs of one tick
_OVERLAP = timedelta(seconds=5)  # a run's time of update may be a little older than its commit
_REMEMBERED = 200


@dataclass
class Told:
    """The sensor's state: how far runs were looked at, jobs that fail (job → since), messages that are not taken yet.

    `after` is an ISO time. An entry of `waiting` is (receiver, message as JSON, failed attempts).
    """

    after: str
    seen: list[str] = field(default_factory=list)
    failing: dict[str, str] = field(default_factory=dict)
    waiting: list[tuple[str, dict[str, Any], int]] = field(default_factory=list)


def notification_sensor(notify: Notify, secrets: Callable[[], Collection[str]] = tuple) -> dg.SensorDefinition | None:
    """The sensor, or None where no receiver is set. No message holds one of the `secrets`, as they are at its tick."""
    send = receivers(notify)
    if not send:
        return None

    @dg.sensor(
        name="notifications",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Tells {', '.join(send)} of each run that failed, and of the first that succeeds again "
        "(POLLUX_NOTIFY_*).",
    )
    def notifications(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        # Nothing is said about what was before the first tick.
        now = datetime.now(UTC).isoformat()
        told = Told(**json.loads(context.cursor)) if context.cursor else Told(now)
        for new in _new_messages(automation.sensor_instance(context), told, secrets()):
            told.waiting += [(receiver, new.as_json(), 0) for receiver in send]
        left: list[tuple[str, dict[str, Any], int]] = []
        said: list[str] = []
        for receiver, message, attempts in told.waiting:
            try:
                if receiver in send:
                    send[receiver](from_json(message))
                    said.append(f"{message['job']} to {receiver}")
            except Exception as error:  # whatever it is, the daemon goes on
                said.append(f"{receiver} did not take it: {told_failure(error)}")
                context.log.warning(f"attempt {attempts + 1} of {ATTEMPTS}: {said[-1]}")
                if attempts + 1 < ATTEMPTS:
                    left.append((receiver, message, attempts + 1))
        told.waiting = left
        return dg.SensorResult(
            skip_reason=dg.SkipReason("; ".join(said) or "no run has failed since"), cursor=json.dumps(asdict(told))
        )

    return notifications


def _new_messages(instance: dg.DagsterInstance, told: Told, secrets: Collection[str]) -> list[Message]:
    """Messages about the runs that ended since, in the order of their ends."""
    ended = instance.get_run_records(
        dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE],
            updated_after=datetime.fromisoformat(told.after) - _OVERLAP,
        ),
        limit=AT_ONCE + _REMEMBERED,
        order_by="update_timestamp",
        ascending=True,
    )
    messages = []
    for record in [record for record in ended if record.dagster_run.run_id not in told.seen][:AT_ONCE]:
        run = record.dagster_run
        told.seen = [*told.seen, run.run_id][-_REMEMBERED:]
        told.after = max(told.after, _iso(record.update_timestamp))
        at = _iso(datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.update_timestamp)
        # A part that an operator launched has an operator who looks at it, and mends nothing but that part.
        if run.job_name not in JOBS or run.tags.get(WILL_RETRY_TAG) == "true" or not automation.is_whole(instance, run):
            continue
        if run.is_failure:
            since = told.failing.setdefault(run.job_name, at)
            causes = tuple(masked(reason, secrets) for reason in _causes(instance, run))
            messages.append(failed(run.job_name, run.run_id, since, at, causes))
        elif since := told.failing.pop(run.job_name, ""):
            messages.append(recovered(run.job_name, run.run_id, since, at))
    return messages


def _causes(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[str, ...]:
    if reason := run.tags.get(FAILED_TAG):
        return (reason,)
    # Its process ended before it could say why: whoever found it dead did.
    found = instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE, limit=1, ascending=False
    ).records
    message = found[0].event_log_entry.dagster_event.message if found and found[0].event_log_entry.dagster_event else ""
    return (message or "the run failed and left no reason",)


def _iso(time: datetime) -> str:
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="microseconds")
