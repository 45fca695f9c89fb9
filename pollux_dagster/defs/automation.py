"""When things run by themselves: a change in the landing folder, an ingest that found something, every night.

One change leads to one `ingest` and one `evaluate`, whatever the number of models: the evaluation finds out for itself
which models have something new, in one process and on one server start. Nothing here decides what is done, so a tick
that is lost, late or doubled loses nothing and does nothing twice.
"""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg

from pollux_dagster.defs.instance import fail_orphaned_runs
from pollux_dagster.defs.resources import LandingResource
from pollux_dagster.defs.run_lock import BEGUN_TAG
from pollux_dagster.ingest.watch import FolderWatch

LANDED_TAG = "pollux/landed"
"""On a run that has read the landing folder: the state of the raw tables it left, or found."""
SCOPE_TAG = "pollux/scope"
"""On an `evaluate` run: NEW leaves requests alone whose verdict is a failure; without the tag they are asked again."""
NEW = "new"

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
# A look at a large folder goes on from tick to tick, in the process that evaluates the sensor.
_watches: dict[tuple[Path, bool], FolderWatch] = {}

ingest_job = dg.define_asset_job(
    "ingest",
    # Its checks come with the evaluation: one that fails here would keep everything else from being evaluated.
    selection=dg.AssetSelection.assets(["raw", "instructions"]).required_multi_asset_neighbors().without_checks(),
    description="Read the landing files that changed. What is new is then evaluated by itself.",
)
evaluate_job = dg.define_asset_job(
    "evaluate",
    selection=dg.AssetSelection.all(),
    description="From the landing folder to the published tables: every model that has something new, in one run and "
    "on one server start. Launched without a partition it finds those models itself.",
)
rebuild_job = dg.define_asset_job(
    "rebuild_tables",
    # With the checks of what is read: a table that must not be published is not published this way either.
    selection=dg.AssetSelection.assets(["judging", "admission"])
    | dg.AssetSelection.groups("staging", "statistics", "marts", "published")
    | dg.AssetSelection.checks_for_assets(
        ["raw", "instructions"],
        ["raw", "instruction_criteria"],
        ["raw", "criteria"],
        ["raw", "model_outputs"],
        ["raw", "answer_counts"],
        ["judging", "verdicts"],
    ),
    description="Staging, marts and publication again from the verdicts there are. Needs no server.",
)


@dg.sensor(
    job=ingest_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts an ingest when a file in the landing folder has appeared, changed or gone, and all is quiet.",
)
def landing_sensor(context: dg.SensorEvaluationContext, landing: LandingResource) -> dg.SensorResult | dg.SkipReason:
    """A change is taken when two looks in a row see the same: files that are still being copied make one run, not ten.

    The cursor holds the state last seen and the state last taken.
    """
    folder = Path(landing.path)
    if not folder.is_dir():
        return dg.SkipReason(f"expected the landing folder {folder}, found none; create it or set POLLUX_LANDING")
    key = (folder, landing.trust_file_times)
    now = _watches.setdefault(key, FolderWatch(folder, trust_times=landing.trust_file_times)).state()
    if now is None:
        return dg.SkipReason(
            "a large landing folder is being looked at, or was a moment ago; a later tick has the result"
        )
    seen, taken = _cursor(context.cursor)
    if now == taken:
        return dg.SkipReason("the landing folder has not changed")
    if now != seen:
        return dg.SensorResult(
            skip_reason=dg.SkipReason("the landing folder is changing; it is read once it is quiet"),
            cursor=json.dumps([now, taken]),
        )
    cursor = json.dumps([now, now])
    if _waiting(context.instance, ingest_job.name):
        # That one has not looked yet. After the fingerprint in this order: it will see at least what was seen here.
        return dg.SensorResult(
            skip_reason=dg.SkipReason("an ingest is waiting already; it reads what is there when it begins"),
            cursor=cursor,
        )
    # No run key: it would keep the folder's return to an earlier state from ever running again.
    return dg.SensorResult(run_requests=[dg.RunRequest()], cursor=cursor)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[ingest_job],
    request_job=evaluate_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Evaluates what an ingest found, unless that has been evaluated or is about to be.",
)
def evaluate_what_landed(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    landed = context.dagster_run.tags.get(LANDED_TAG)
    if _waiting(context.instance, evaluate_job.name):
        return dg.SkipReason("an evaluation is waiting already; it takes what is there when it begins")
    if landed is not None and landed == _last_evaluated(context.instance):
        return dg.SkipReason("what is there was evaluated already")
    return dg.RunRequest(tags={SCOPE_TAG: NEW})


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fails runs whose process is proved dead, after a reboot for instance.",
)
def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    buried = fail_orphaned_runs(context.instance)
    return dg.SkipReason(f"failed: {', '.join(buried)}" if buried else "no unfinished run is proved dead")


def nightly_schedule(cron: str, time_zone: str) -> dg.ScheduleDefinition:
    """The schedule of the nightly evaluation.

    cron: five fields, read in `time_zone` (an IANA name), which may have hours that do not exist or come twice.
    """

    @dg.schedule(
        name="nightly",
        job=evaluate_job,
        cron_schedule=cron,
        execution_timezone=time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every night: what is new, was missed or had failed is judged, and the tables are published again.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        # Several nights may come due at once, after a daemon that was down for a week for instance.
        if _waiting(context.instance, evaluate_job.name):
            return dg.SkipReason("an evaluation is waiting already; it takes what is there when it begins")
        return dg.RunRequest()

    return nightly


def _cursor(text: str | None) -> tuple[str | None, str | None]:
    """Last seen, last taken. The cursor of earlier versions was the state last taken, and nothing else."""
    if text is None:
        return None, None
    if not text.startswith("["):
        return text, text
    seen, taken = json.loads(text)
    return seen, taken


def _waiting(instance: dg.DagsterInstance, job: str) -> bool:
    """Whether a run of the job has read nothing yet: it is queued, starting, or waits for the home."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=_UNFINISHED))
    return any(BEGUN_TAG not in run.tags for run in runs)


def _last_evaluated(instance: dg.DagsterInstance) -> str | None:
    """The state of the raw tables that the latest evaluation began with, whatever became of it."""
    runs = instance.get_runs(dg.RunsFilter(job_name=evaluate_job.name), limit=20)
    return next((run.tags[LANDED_TAG] for run in runs if LANDED_TAG in run.tags), None)
