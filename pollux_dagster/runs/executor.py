"""The executor of runs: one process per run, one run per home at a time, and a liveness file to detect orphaned runs.

What came of a run is recorded when it ends. One that fails leaves the last good publication in place and records its
cause in it.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster import DagsterEvent, Executor

from pollux_dagster.core.secrets import masked
from pollux_dagster.runs.dagster_internals.execution import (
    EngineEventData,
    ExecutionPlan,
    InProcessExecutor,
    PlanOrchestrationContext,
    RetryMode,
)
from pollux_dagster.runs.home_lock import BEGUN_TAG, only_run
from pollux_dagster.runs.instance import keep_files_private, liveness_folder
from pollux_dagster.runs.instance_owner import claim_instance
from pollux_dagster.runs.interruption import no_interruption_lost
from pollux_dagster.runs.lineage import LineageReceiver, send_lineage
from pollux_dagster.runs.liveness import announce, withdraw
from pollux_dagster.runs.metrics import write_metrics
from pollux_dagster.runs.outcome import FAILED_TAG, Outcome
from pollux_dagster.runs.terminal import with_plain_lines
from pollux_dagster.warehouse.publish import mark_stale


@dataclass(frozen=True, slots=True)
class Conclusion:
    """Where the end of a run is recorded besides Dagster: the publication it was to renew, and the file of metrics.

    `published` is None for a run of a part: whoever started it sees its end, and the publication is as new as before.
    """

    published: Path | None
    metrics: Path
    secrets: Callable[[], Collection[str]] = tuple
    """The values that no recorded cause may hold, as they are when it is recorded."""
    renew_report: Callable[[Path], None] = lambda published: None
    """Makes the report of the publication again, which then says that it is not current."""
    lineage: LineageReceiver | None = None


def home_executor(home: Path, at: Conclusion) -> dg.ExecutorDefinition:
    """The executor of every run of `home`.

    One process per run: the warehouse has one writer at a time, so a process per step would only pay for imports. A run
    of another home's instance fails (`instance_owner.ForeignInstanceError`).
    """

    def create(_: dg.InitExecutorContext) -> Executor:
        return _HomeExecutor(InProcessExecutor(retries=RetryMode.ENABLED), home, at)

    # Dagster's own config schema would let a run's config name a file to create.
    return dg.ExecutorDefinition(name="in_process_alone_in_home", config_schema={}, executor_creation_fn=create)


def conclude(
    instance: dg.DagsterInstance, job: dg.JobDefinition, run_id: str, events: Iterable[DagsterEvent], at: Conclusion
) -> list[str]:
    """Record what came of a run of `job`: on its page, in its tags, in the metrics, at the receiver of its lineage, and
    in the publication where the run failed to renew it. Returns the causes of a failure.

    Only what concerns the publication may fail the run; the rest is reported and left.
    """
    outcome = Outcome.of(events)
    outcome.causes = [masked(reason, at.secrets()) for reason in outcome.causes]
    if outcome.causes and at.published is not None:
        mark_stale(at.published, reason="; ".join(outcome.causes), run_id=run_id)
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        return outcome.causes
    run = record.dagster_run
    if tags := outcome.tags():
        instance.add_run_tags(run_id, tags)
    if shown := outcome.metadata():
        message = f"failed: {outcome.tags()[FAILED_TAG]}" if outcome.causes else f"done: {outcome.line}"
        instance.report_engine_event(message, run, EngineEventData(metadata=shown))
    try:
        if outcome.causes and at.published is not None and at.published.exists():
            at.renew_report(at.published)
    except Exception as error:  # whatever it is, the publication itself says that it is not current
        instance.report_engine_event(f"the report was not made again: {error!r}; `pollux report` does", run)
    try:
        write_metrics(at.metrics, run.job_name, outcome, started=record.start_time)
    except (OSError, ValueError) as error:
        instance.report_engine_event(f"the metrics were not written to {at.metrics}: {error}", run)
    if at.lineage is not None:
        try:
            send_lineage(instance, job, run_id, outcome.causes, at.lineage)
        except Exception as error:  # whatever it is, the run itself is done
            reason = masked(f"{type(error).__name__}: {error}", at.secrets())
            instance.report_engine_event(f"its lineage did not all reach {at.lineage.url}: {reason}", run)
    return outcome.causes


class _HomeExecutor(Executor):
    """Dagster's in-process executor, run while no other run uses the home.

    The process keeps the run's liveness file locked until it ends.
    """

    def __init__(self, inner: Executor, home: Path, at: Conclusion) -> None:
        self._inner = inner
        self._home = home
        self._at = at

    @property
    def retries(self) -> RetryMode:
        return self._inner.retries

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        keep_files_private()
        claim_instance(plan_context.instance, self._home)
        folder, run_id = liveness_folder(plan_context.instance), plan_context.run_id
        # Until the process ends, not until this generator does: the run is only marked as finished after it.
        atexit.register(withdraw, folder, run_id, announce(folder, run_id))
        events: list[DagsterEvent] = []
        with no_interruption_lost(), only_run(self._home, plan_context.log.info), _definitions_not_collected():
            plan_context.instance.add_run_tags(run_id, {BEGUN_TAG: "yes"})
            for event in self._inner.execute(_printing_plain_lines(plan_context), execution_plan):
                events.append(event)
                yield event
            conclude(plan_context.instance, plan_context.job.get_definition(), run_id, events, self._at)


@contextmanager
def _definitions_not_collected() -> Iterator[None]:
    """Leave what is in memory now out of every search for garbage: modules and definitions stay as long as the process,
    and a search through them took 0.3 s, nine times in a run.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _printing_plain_lines(plan_context: PlanOrchestrationContext) -> PlanOrchestrationContext:
    """The same run with the loggers of its steps set in its config; the stored run is unchanged."""
    data, run = plan_context.plan_data, plan_context.dagster_run
    return PlanOrchestrationContext(
        plan_data=data._replace(dagster_run=run._replace(run_config=with_plain_lines(run.run_config))),
        log_manager=plan_context.log,
        executor=plan_context.executor,
        output_capture=plan_context.output_capture,
        resume_from_failure=plan_context.resume_from_failure,
    )
