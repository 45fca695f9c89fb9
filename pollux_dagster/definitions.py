"""The code location that Dagster loads: `dagster … -m pollux_dagster.definitions`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path

import dagster as dg

from pollux_dagster import defs as autoloaded
from pollux_dagster.app.conclusion import conclusion
from pollux_dagster.app.messages import known_secrets
from pollux_dagster.app.news import tables_configuration
from pollux_dagster.app.resources import Resources
from pollux_dagster.core.scope import WHOLE, Scope
from pollux_dagster.defs.automation import landing_sensor, nightly_schedule, retention_sensor
from pollux_dagster.defs.checks import contract_checks
from pollux_dagster.defs.metadata import sources_of, with_columns, with_owners, with_source
from pollux_dagster.defs.notifying import notification_sensor
from pollux_dagster.defs.publication import publication_asset
from pollux_dagster.defs.resource_definitions import fixed, no_io_manager
from pollux_dagster.defs.statistics import statistics_assets
from pollux_dagster.runs.executor import home_executor
from pollux_dagster.runs.instance import keep_files_private
from pollux_dagster.runs.instance_owner import claim_configured_instance
from pollux_dagster.runs.terminal import terminal_logger
from pollux_dagster.settings import Settings
from pollux_dagster.warehouse.contracts import contracts
from pollux_dagster.warehouse.published_words import words_of
from pollux_dagster.warehouse.schema import table_columns
from pollux_dagster.warehouse.sql_models import packaged_sql_models


@dg.definitions
def defs() -> dg.Definitions:
    """The code location of the home that the environment names.

    Raises:
        ForeignInstanceError: the Dagster instance belongs to another home; the UI shows a location that failed to load.
    """
    settings = Settings.load()
    keep_files_private()
    claim_configured_instance(settings)
    return build_defs(settings)


def build_defs(
    settings: Settings, resource_overrides: Mapping[str, object] | None = None, scope: Scope = WHOLE
) -> dg.Definitions:
    """The code location of one home: the definitions in the folder `defs`, and those that depend on settings. Its runs
    ask the judge for what is in `scope`.

    Tests replace resources through `resource_overrides`.
    """
    columns = table_columns()
    texts = {table: words.columns for table, words in words_of(packaged_sql_models()).items()}
    with warnings.catch_warnings():
        # Dagster calls single-run backfills beta and `map_asset_specs` a preview. The version is pinned.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        whole = dg.Definitions.merge(
            _settings_independent(), _settings_dependent(settings, resource_overrides or {}, scope)
        )
        sources = sources_of(whole.assets or ())

        def described(spec: dg.AssetSpec) -> dg.AssetSpec:
            return with_owners(with_source(with_columns(spec, columns, texts), sources), settings.owners)

        return whole.map_asset_specs(func=described)


@cache
def _settings_independent() -> dg.Definitions:
    """What the folder `defs` holds: the same for every home, so a process reads it once."""
    return dg.ComponentTree.from_module(defs_module=autoloaded, project_root=Path(__file__).parents[1]).build_defs()


def _settings_dependent(settings: Settings, resource_overrides: Mapping[str, object], scope: Scope) -> dg.Definitions:
    leave_out = settings.failing_models == "leave_out"
    rules = contracts(settings.minimum_coverage, settings.maximum_rejected_share, leave_out_failing=leave_out)
    use = Resources.of(settings, scope)
    resources = {**{field.name: getattr(use, field.name) for field in fields(use)}, **resource_overrides}
    return dg.Definitions(
        assets=[
            statistics_assets(settings.human_aggregation, settings.calibration_proxy),
            publication_asset(
                packaged_sql_models(), rules, settings.fresh_within, tables_configuration(settings, scope)
            ),
        ],
        asset_checks=contract_checks(rules),
        schedules=[nightly_schedule(settings)],
        sensors=[
            landing_sensor(settings.landing, trust_file_times=settings.trust_file_times),
            retention_sensor(settings),
            *filter(None, [notification_sensor(settings.notify, lambda: known_secrets(settings))]),
        ],
        resources={**{key: fixed(value) for key, value in resources.items()}, "io_manager": no_io_manager},
        executor=home_executor(settings.home, conclusion(settings, whole=scope.is_whole)),
        loggers={"console": terminal_logger},
    )
