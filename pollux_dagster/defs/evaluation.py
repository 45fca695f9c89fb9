"""One evaluation from start to end in this process, as the command line runs it: ingest, then every model at once."""

from __future__ import annotations

from pollux_dagster.defs.automation import all_models
from pollux_dagster.defs.build import build_defs
from pollux_dagster.defs.instance import announced_run, fail_orphaned_runs, open_instance
from pollux_dagster.defs.retention import prune
from pollux_dagster.defs.settings import Settings
from pollux_dagster.defs.terminal import with_plain_lines


class NoAnswersError(RuntimeError):
    """The landing folder holds no answer of any model that could be used."""


def evaluate_landing(settings: Settings) -> bool:
    """Run the `ingest` job, then the `evaluate` job over every known model; True when both succeeded.

    Ingest runs first on its own because the models it finds are the partitions of the second run.

    Raises:
        NoAnswersError: everything was read, and no model has an answer.
    """
    defs = build_defs(settings)
    plain = with_plain_lines({})
    tags = {"dagster/max_retries": "0"}  # a daemon on this home starts its own runs again, not ours
    with open_instance(settings.dagster_home) as instance:
        fail_orphaned_runs(instance)
        prune(instance, settings)
        with announced_run(instance) as run_id:
            ingested = defs.resolve_job_def("ingest").execute_in_process(
                instance=instance, run_id=run_id, run_config=plain, tags=tags, raise_on_error=False
            )
        if not ingested.success:
            return False
        if not (models := all_models(instance)):
            raise NoAnswersError(
                f"expected answers of at least one model in {settings.landing}, found none; rows that could not be "
                f"used are in raw.rejected_rows of {settings.warehouse}, with the reason"
            )
        with announced_run(instance) as run_id:
            evaluated = defs.resolve_job_def("evaluate").execute_in_process(
                instance=instance,
                run_id=run_id,
                run_config=plain,
                tags={**tags, **models},
                raise_on_error=False,
            )
        return evaluated.success
