"""Puts assets, checks, automation and resources together. `resource_overrides` is the seam for tests."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from pollux_dagster.defs.automation import (
    dead_runs,
    evaluate_job,
    ingest_job,
    landing_sensor,
    nightly_schedule,
    rebuild_job,
)
from pollux_dagster.defs.checks import contract_checks
from pollux_dagster.defs.executor import home_executor
from pollux_dagster.defs.instance import keep_files_private
from pollux_dagster.defs.judging import admission, requests, verdicts
from pollux_dagster.defs.metadata import with_columns
from pollux_dagster.defs.publication import publication_asset
from pollux_dagster.defs.raw import landing_assets, model_outputs
from pollux_dagster.defs.resources import (
    AdmissionRules,
    JudgeResource,
    LandingResource,
    LedgerResource,
    PublicationResource,
    fixed,
    no_io_manager,
)
from pollux_dagster.defs.retention import retention_sensor
from pollux_dagster.defs.settings import PACKAGE_TAXONOMY, SQL_MODELS, Settings
from pollux_dagster.defs.sql_models import model_asset
from pollux_dagster.defs.statistics import statistics_assets
from pollux_dagster.defs.terminal import terminal_logger
from pollux_dagster.warehouse.contracts import contracts
from pollux_dagster.warehouse.duckdb_resource import WarehouseResource
from pollux_dagster.warehouse.schema import table_columns
from pollux_dagster.warehouse.sql_models import load_models


def build_defs(
    settings: Settings | None = None, resource_overrides: Mapping[str, object] | None = None
) -> dg.Definitions:
    """The whole code location."""
    keep_files_private()
    settings = settings or Settings.from_environment()
    sql_models = load_models(SQL_MODELS)
    leave_out = settings.failing_models == "leave_out"
    rules = contracts(settings.minimum_coverage, settings.maximum_rejected_share, leave_out_failing=leave_out)
    columns = table_columns()
    python_assets = [
        landing_assets,
        model_outputs,
        requests,
        verdicts,
        admission,
        statistics_assets(settings.human_aggregation),
    ]
    return dg.Definitions(
        assets=[
            *dg.map_asset_specs(lambda spec: with_columns(spec, columns), python_assets),
            *(model_asset(model) for model in sql_models),
            publication_asset(sql_models, rules),
        ],
        asset_checks=contract_checks(rules),
        jobs=[ingest_job, evaluate_job, rebuild_job],
        schedules=[nightly_schedule(settings.nightly_cron, settings.time_zone)],
        sensors=[
            landing_sensor(settings.landing, trust_file_times=settings.trust_file_times),
            dead_runs,
            retention_sensor(settings),
        ],
        resources={
            **{key: fixed(value) for key, value in {**resources(settings), **(resource_overrides or {})}.items()},
            "io_manager": no_io_manager,
        },
        executor=home_executor(settings.home, settings.published),
        loggers={"console": terminal_logger},
    )


def resources(settings: Settings) -> dict[str, object]:
    """The resources a deployment uses, from its settings."""
    return {
        "landing": LandingResource(
            path=str(settings.landing),
            taxonomy=str(PACKAGE_TAXONOMY),
            judge_weights=settings.judge_weights,
            trust_file_times=settings.trust_file_times,
        ),
        "warehouse": WarehouseResource(database=str(settings.warehouse)),
        "ledger": LedgerResource(root=str(settings.ledger)),
        "rules": AdmissionRules(
            minimum_coverage=settings.minimum_coverage,
            maximum_rejected_share=settings.maximum_rejected_share,
            leave_out_failing=settings.failing_models == "leave_out",
        ),
        "publication": PublicationResource(path=str(settings.published)),
        "judge": JudgeResource(
            profile=settings.profile,
            state_root=str(settings.servers),
            url=settings.judge_url,
            api_key_variable=settings.api_key_variable,
            proxy=settings.judge_proxy,
            ca_file=settings.judge_ca_file,
            api_key_file=settings.api_key_file,
            model=settings.judge_model,
            revision=settings.judge_revision,
            engine=settings.judge_engine,
            python=settings.judge_python,
            arguments=list(settings.judge_arguments),
            repeats=settings.repeats,
        ),
    }
