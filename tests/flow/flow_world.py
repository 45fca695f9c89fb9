"""A home that is judged by an instant judge: what the tests of runs and of the flow are made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from pollux_dagster.app.conclusion import conclusion
from pollux_dagster.definitions import build_defs
from pollux_dagster.runs.executor import conclude
from pollux_dagster.runs.instance import open_instance
from pollux_dagster.settings import Settings
from tests.fakes.instant_judge import MODEL
from tests.pipeline_world import ANSWERS, write_answers, write_instructions

INSTRUCTIONS = 12


def flow_settings(folder: Path, judge_url: str, **variables: str) -> Settings:
    """Landing folder and home in `folder`, the judge at `judge_url`; `variables` are settings (POLLUX_…)."""
    (folder / "landing").mkdir(exist_ok=True)
    return Settings.from_environment(
        {
            "POLLUX_HOME": str(folder / "home"),
            "POLLUX_LANDING": str(folder / "landing"),
            "POLLUX_JUDGE_URL": judge_url,
            "POLLUX_JUDGE_MODEL": MODEL,
            **variables,
        }
    )


def land_instructions(settings: Settings) -> None:
    write_instructions(settings.landing, INSTRUCTIONS)


def land_model(settings: Settings, model_id: str, *, text: str = "", spoiled: int = 0) -> None:
    """Answers of one model, different from every other model's; `text` stands in the first `spoiled` of them."""

    def answer(number: int) -> str:
        return f"{ANSWERS[number % 3]} {model_id} {number} {text if number < spoiled else ''}"

    write_answers(settings.landing, model_id, INSTRUCTIONS, answer)


@lru_cache(maxsize=4)
def definitions_of(settings: Settings) -> dg.Definitions:
    """The code location of a home, loaded once for all its runs: as in the daemon, it holds nothing of any of them."""
    return build_defs(settings)


def execute(
    settings: Settings,
    job: str = "evaluate",
    *,
    assets: list[str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> bool:
    """Run a job in this process, whole or of some assets only ("schema/name"); whether it succeeded.

    Dagster leaves the executor out of such runs, so what ours records of a run's end is recorded here.
    """
    with open_instance(settings.dagster_home) as instance:
        selection = [dg.AssetKey(asset.split("/")) for asset in assets] if assets else None
        definition = definitions_of(settings).resolve_job_def(job)
        result = definition.execute_in_process(
            instance=instance, asset_selection=selection, tags=tags, raise_on_error=False
        )
        conclude(instance, definition, result.run_id, result.all_events, conclusion(settings))
        return result.success


def published(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(settings.published), read_only=True) as con:
        return con.execute(query).fetchall()


def on_the_leaderboard(settings: Settings) -> set[object]:
    return {model for (model,) in published(settings, "SELECT model_id FROM marts.leaderboard")}


def publication(settings: Settings) -> object:
    """The run that made it: another one, another publication."""
    return published(settings, "SELECT run_id FROM meta.publication")[0][0]
