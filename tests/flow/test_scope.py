"""A part of the work, run for real: a sample of the instructions, some of the models, and what the whole then asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner, Result

from pollux_dagster.app.news import published_without_news
from pollux_dagster.cli import app
from pollux_dagster.core.scope import Scope
from pollux_dagster.runs.instance import open_instance
from pollux_dagster.settings import Settings
from tests.fakes.instant_judge import InstantJudge
from tests.flow.flow_world import (
    INSTRUCTIONS,
    execute,
    flow_settings,
    land_instructions,
    land_model,
    on_the_leaderboard,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def judge() -> Iterator[InstantJudge]:
    with InstantJudge() as judge:
        yield judge


@pytest.fixture
def settings(tmp_path: Path, judge: InstantJudge) -> Settings:
    settings = flow_settings(tmp_path, judge.url)
    land_instructions(settings)
    for model in ("alpha", "beta"):
        land_model(settings, model)
    return settings


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["run", *arguments], env={**settings.to_environment(), "COLUMNS": "200"})


def sampled(settings: Settings, model: str) -> set[str]:
    with duckdb.connect(str(settings.sample), read_only=True) as con:
        found = con.execute("SELECT DISTINCT prompt_id FROM staging.scores WHERE model_id = ?", [model]).fetchall()
    return {prompt for (prompt,) in found}


def test_a_sample_is_published_apart_and_the_whole_asks_only_the_rest(settings: Settings, judge: InstantJudge) -> None:
    small = run(settings, "--limit", "3")
    assert small.exit_code == 0, small.output
    assert f"SAMPLE of 3 of {INSTRUCTIONS} instructions" in small.output
    three = sampled(settings, "alpha")
    assert (len(three), sampled(settings, "beta")) == (3, three)
    assert not settings.published.exists()
    assert f"Sample of 3 of {INSTRUCTIONS} instructions" in settings.sample.with_name("report.html").read_text()
    assert "add --sample" in CliRunner().invoke(app, ["show"], env=settings.to_environment()).output
    assert published_without_news(settings, Scope(limit=3))
    assert not published_without_news(settings)

    asked = judge.prompts.total()
    assert run(settings, "--limit", "5").exit_code == 0
    assert three < sampled(settings, "beta")
    assert judge.prompts.total() < 2 * asked

    # Whoever builds the tables again publishes them as what they are.
    assert execute(settings, "rebuild_tables")
    assert not settings.published.exists()

    whole = run(settings)
    assert whole.exit_code == 0, whole.output
    assert "SAMPLE" not in whole.output
    assert max(judge.prompts.values()) == 1  # nothing twice
    made = settings.published.stat()
    assert run(settings, "--limit", "4").exit_code == 0
    assert settings.published.stat().st_mtime_ns == made.st_mtime_ns
    assert max(judge.prompts.values()) == 1


def test_only_the_named_model_is_asked_and_none_that_was_published_disappears(
    settings: Settings, judge: InstantJudge
) -> None:
    unknown = run(settings, "--model", "alpa")
    assert unknown.exit_code == 1
    assert "did you mean alpha?" in unknown.output
    first = run(settings, "--model", "alpha")
    assert first.exit_code == 0, first.output
    assert on_the_leaderboard(settings) == {"alpha"}
    assert "not asked about in this run (--model): 0 of its" in " ".join(first.output.split())
    assert published_without_news(settings, Scope(models=("alpha",)))
    assert run(settings).exit_code == 0
    assert on_the_leaderboard(settings) == {"alpha", "beta"}
    assert max(judge.prompts.values()) == 1

    land_model(settings, "gamma")
    for spoiled in (3, INSTRUCTIONS):  # beta was published, and is incomplete now, or has no verdict at all
        land_model(settings, "beta", text=f"другое {spoiled}", spoiled=spoiled)
        held = run(settings, "--model", "gamma")
        assert held.exit_code == 1
        assert on_the_leaderboard(settings) == {"alpha", "beta"}
    with duckdb.connect(str(settings.published), read_only=True) as con:
        assert not con.execute("FROM meta.staleness").fetchall(), "a run of a part says nothing about the whole"
    with open_instance(settings.dagster_home) as instance:
        assert {run.tags.get("pollux/part") for run in instance.get_runs()} == {"yes", None}
