"""When things run by themselves: what makes an asset run, who watches the landing folder, and the nightly run."""

from pathlib import Path

import dagster as dg
from dagster import AutomationCondition as When

from pollux_dagster.defs.instance import bury_dead_runs
from pollux_dagster.defs.partitions import models
from pollux_dagster.defs.resources import LandingResource
from pollux_dagster.ingest.watch import FolderWatch

# A model's step runs when it never ran or an input was updated, and waits for inputs that are missing or being
# written. Running it in vain costs a second: what was judged once is not asked for again.
when_something_new = When.eager()

# A table over all models must not wait for every model: one that left the landing folder or fails to judge would
# hold back all the others. It is rebuilt when the running inputs are done, and only from inputs whose blocking
# checks passed.
when_inputs_settle = When.eager().without(~When.any_deps_missing()) & When.all_deps_blocking_checks_passed()

# For the checks that a table's own step makes: they come with the step, never by themselves. That they have a condition
# at all has Dagster add the table's other checks to the flow's runs; where none has one it takes the step's own for all
# there are, and what waits for the others to pass waits for ever.
only_with_its_table = When.in_progress() & ~When.in_progress()

_watches: dict[Path, FolderWatch] = {}

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"

ingest_job = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets(["raw", "instructions"]).required_multi_asset_neighbors(),
    description="Read the landing files that changed. New models become partitions, and flow on by themselves.",
)
evaluate_job = dg.define_asset_job(
    "evaluate",
    selection=dg.AssetSelection.all(),
    description="From the landing folder to the published tables, every model in one run and on one server start.",
)
rebuild_job = dg.define_asset_job(
    "rebuild_tables",
    # With the checks of what is read: a table that must not be published is not published this way either.
    selection=dg.AssetSelection.groups("staging", "statistics", "marts", "published")
    | dg.AssetSelection.checks_for_assets(
        ["raw", "instructions"],
        ["raw", "instruction_criteria"],
        ["raw", "criteria"],
        ["raw", "model_outputs"],
        ["judging", "verdicts"],
    ),
    description="Staging, marts and publication again from the verdicts there are. Needs no server.",
)


def all_models(instance: dg.DagsterInstance) -> dict[str, str]:
    """Run tags that select every known model as one range; empty when there is none yet."""
    keys = instance.get_dynamic_partitions(models.name or "")
    return {RANGE_START: keys[0], RANGE_END: keys[-1]} if keys else {}


@dg.sensor(
    job=ingest_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts an ingest when a file in the landing folder appears, changes or goes.",
)
def landing_sensor(context: dg.SensorEvaluationContext, landing: LandingResource) -> dg.SensorResult | dg.SkipReason:
    folder = Path(landing.path)
    if not folder.is_dir():
        return dg.SkipReason(f"expected the landing folder {folder}, found none; create it or set POLLUX_LANDING")
    now = _watches.setdefault(folder, FolderWatch(folder)).state()
    if now is None:
        return dg.SkipReason(
            "a large landing folder is being looked at, or was a moment ago; a later tick has the result"
        )
    # No run key: it would keep the folder's return to an earlier state from ever running again.
    if now == context.cursor:
        return dg.SkipReason("the landing folder has not changed")
    return dg.SensorResult(run_requests=[dg.RunRequest()], cursor=now)


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fails runs whose process died, by a reboot for instance, and gives back their places in the pools.",
)
def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    buried = bury_dead_runs(context.instance)
    return dg.SkipReason(f"failed: {', '.join(buried)}" if buried else "every unfinished run has a living process")


@dg.schedule(
    job=evaluate_job,
    cron_schedule="0 2 * * *",
    execution_timezone="Europe/Moscow",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 02:00: whatever is new or was missed is judged, and the tables are published again.",
)
def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    tags = all_models(context.instance)
    return dg.RunRequest(tags=tags) if tags else dg.SkipReason("no model has landed yet")


flow = dg.AutomationConditionSensorDefinition(
    "flow",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Carries a new or changed model from its answers to the published tables.",
)
