"""What a run's config may say: nothing but how much is logged. Programs, paths, addresses and keys are settings."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster import DagsterInvalidConfigError
from dagster._config import ConfigType, ConfigTypeKind

from pollux_dagster.app.resources import JudgeResource
from pollux_dagster.definitions import build_defs
from pollux_dagster.settings import Settings

# How much and what the terminal of the run's process prints; its log has everything.
MAY_BE_SAID = {"loggers.console.config.log_level", "loggers.console.config.says_causes"}
# The job of the UI's "Materialize" lets any name stand beside its own, of which it knows none and reads none.
EXTRA_NAMES = {"resources", "ops"}
SHAPES = (ConfigTypeKind.STRICT_SHAPE, ConfigTypeKind.PERMISSIVE_SHAPE, ConfigTypeKind.SELECTOR)

DEFS = build_defs(Settings.from_environment({"POLLUX_PROFILE": "demo"}))
JOBS = {job.name: job for job in DEFS.get_repository_def().get_all_jobs()}
KEYS = sorted(JOBS["__ASSET_JOB"].asset_layer.executable_asset_keys, key=str)


def what_may_be_said(config: ConfigType, path: str = "") -> set[str]:
    """Every place of a config schema that takes a value, and every one that takes any name."""
    if config.kind not in SHAPES:
        return {path}
    found = {path} if config.kind == ConfigTypeKind.PERMISSIVE_SHAPE else set()
    for name, field in config.fields.items():  # type: ignore[attr-defined]
        found |= what_may_be_said(field.config_type, f"{path}.{name}".lstrip("."))
    return found


def test_the_walk_through_a_schema_finds_fields_any_values_and_open_objects() -> None:
    @dg.op(config_schema={"a": {"b": str}, "c": dg.Permissive({"d": int})})
    def one() -> None: ...

    @dg.op
    def two() -> None: ...

    @dg.job
    def both() -> None:
        one()
        two()

    found = what_may_be_said(both.run_config_schema.config_type)
    assert {f"ops.{rest}" for rest in ("one.config.a.b", "one.config.c", "one.config.c.d", "two.config")} <= found
    assert any(place.endswith("marker_to_close") for place in found)


@pytest.mark.parametrize("name", sorted(JOBS))
def test_a_runs_config_offers_nothing_but_what_is_printed(name: str) -> None:
    allowed = MAY_BE_SAID | (EXTRA_NAMES if name == "__ASSET_JOB" else set())
    assert what_may_be_said(JOBS[name].run_config_schema.config_type) <= allowed


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.to_user_string())
def test_a_single_asset_materialized_by_hand_offers_no_more(key: dg.AssetKey) -> None:
    job = JOBS["__ASSET_JOB"]
    step = dg.AssetSelection.assets(key).required_multi_asset_neighbors().resolve(job.asset_layer.asset_graph)
    alone = job.get_subset(asset_selection=step)
    assert what_may_be_said(alone.run_config_schema.config_type) <= MAY_BE_SAID | EXTRA_NAMES


@pytest.mark.parametrize("name", sorted(JOBS))
@pytest.mark.parametrize(
    "config",
    [
        {"resources": {"judge": {"config": {"python": "/tmp/program"}}}},
        {"resources": {"judge": {"config": {"url": "http://elsewhere/v1"}}}},
        {"resources": {"landing": {"config": {"path": "/etc"}}}},
        {"resources": {"publication": {"config": {"path": "/tmp/published"}}}},
        {"resources": {"warehouse": {"config": {"connection_config": {"allow_unsigned_extensions": "true"}}}}},
        {"resources": {"io_manager": {"config": {"base_dir": "/tmp"}}}},
        {"execution": {"config": {"marker_to_close": "/tmp/made"}}},
    ],
    ids=str,
)
def test_a_run_that_names_a_program_a_path_or_an_address_is_refused(name: str, config: dict[str, object]) -> None:
    with pytest.raises(DagsterInvalidConfigError):
        dg.validate_run_config(JOBS[name], config)


def test_a_step_takes_no_config_that_it_would_not_read() -> None:
    with pytest.raises(DagsterInvalidConfigError):
        dg.validate_run_config(JOBS["evaluate"], {"ops": {"judging__verdicts": {"config": {"python": "/tmp/program"}}}})


def test_a_resource_given_by_a_test_is_what_the_steps_get_and_is_as_fixed_as_ours() -> None:
    given = JudgeResource(profile="demo", state_root="/nowhere", python="/opt/other/python")
    defs = build_defs(Settings.from_environment({"POLLUX_PROFILE": "demo"}), {"judge": given})
    job = defs.resolve_job_def("evaluate")
    assert job.resource_defs["judge"](None) is given
    with pytest.raises(DagsterInvalidConfigError):
        dg.validate_run_config(job, {"resources": {"judge": {"config": {"python": "/tmp/program"}}}})
