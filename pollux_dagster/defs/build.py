"""Assembles assets, checks, automation and resources. Tests replace resources through `resource_overrides`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import dagster as dg

from pollux_dagster.app.resources import Resources
from pollux_dagster.defs.automation import (
    dead_runs,
    evaluate_job,
    ingest_job,
    landing_sensor,
    nightly_schedule,
    rebuild_job,
    retention_sensor,
)
from pollux_dagster.defs.checks import contract_checks
from pollux_dagster.defs.judging import admission, requests, verdicts
from pollux_dagster.defs.metadata import with_columns, with_owners
from pollux_dagster.defs.publication import publication_asset
from pollux_dagster.defs.raw import landing_assets, model_outputs
from pollux_dagster.defs.resource_definitions import fixed, no_io_manager
from pollux_dagster.defs.sql_models import sql_model_asset
from pollux_dagster.defs.statistics import statistics_assets
from pollux_dagster.runs.executor import home_executor
from pollux_dagster.runs.terminal import terminal_logger
from pollux_dagster.settings import Settings
from pollux_dagster.warehouse.contracts import contracts
from pollux_dagster.warehouse.schema import table_columns
from pollux_dagster.warehouse.sql_models import packaged_sql_models


def build_defs(settings: Settings, resource_overrides: Mapping[str, object] | None = None) -> dg.Definitions:
    """The whole code location of one home."""
    sql_models = packaged_sql_models()
    leave_out = settings.failing_models == "leave_out"
    rules = contracts(settings.minimum_coverage, settings.maximum_rejected_share, leave_out_failing=leave_out)
    columns = table_columns()
    use = Resources.of(settings)
    own = {field.name: getattr(use, field.name) for field in fields(use)}
    python_assets = [
        landing_assets,
        model_outputs,
        requests,
        verdicts,
        admission,
        statistics_assets(settings.human_aggregation),
    ]
    assets = [
        *dg.map_asset_specs(lambda spec: with_columns(spec, columns), python_assets),
        *(sql_model_asset(model) for model in sql_models),
        publication_asset(sql_models, rules, settings.fresh_within),
    ]
    return dg.Definitions(
        assets=dg.map_asset_specs(lambda spec: with_owners(spec, settings.owners), assets),
        asset_checks=contract_checks(rules),
        jobs=[ingest_job, evaluate_job, rebuild_job],
        schedules=[nightly_schedule(settings.nightly_cron, settings.time_zone)],
        sensors=[
            landing_sensor(settings.landing, trust_file_times=settings.trust_file_times),
            dead_runs,
            retention_sensor(settings),
        ],
        resources={
            **{key: fixed(value) for key, value in {**own, **(resource_overrides or {})}.items()},
            "io_manager": no_io_manager,
        },
        executor=home_executor(settings.home, settings.published),
        loggers={"console": terminal_logger},
    )
