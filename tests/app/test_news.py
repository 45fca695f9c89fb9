"""Without news an evaluation is not run; anything that could change a table, or leave one unchecked, is news."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import dagster as dg
import duckdb
import pytest
from typer.testing import CliRunner

from pollux_dagster.app import news
from pollux_dagster.app.news import published_without_news, published_without_news_within, settled_sentences
from pollux_dagster.cli import app
from pollux_dagster.defs.automation import nightly_schedule
from pollux_dagster.runs.home_lock import FORCED_TAG
from pollux_dagster.settings import Settings
from pollux_dagster.warehouse.publish import mark_stale
from tests.fakes.instant_judge import MUMBLE, InstantJudge
from tests.flow.flow_world import execute, flow_settings, land_instructions, land_model, publication, published

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with a landing folder and its evaluated home, and the judge's address."""
    folder = tmp_path_factory.mktemp("evaluated")
    with InstantJudge() as judge:
        settings = at(folder, judge.url)
        assert published_without_news(settings) is None
        land_instructions(settings)
        land_model(settings, "first")
        assert published_without_news(settings) is None
        assert execute(settings)
        assert published_without_news(settings)
        yield folder, judge.url


def at(folder: Path, url: str, **variables: str) -> Settings:
    """Files are known by their content, because the home is copied here."""
    return flow_settings(folder, url, POLLUX_TRUST_FILE_TIMES="false", **variables)


@pytest.fixture
def settled(evaluated: tuple[Path, str]) -> Iterator[Settings]:
    """That home, put back as it was afterwards; in the same place, because ledger segments are known by their path."""
    folder, url = evaluated
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    try:
        yield at(folder, url)
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)


def test_a_run_without_news_names_what_is_not_read(settled: Settings) -> None:
    (settled.landing / "elsewhere").symlink_to(settled.landing.parent)
    ran = CliRunner().invoke(app, ["run"], env=settled.to_environment())
    assert ran.stdout.startswith("nothing is new"), ran.output
    assert "not read: elsewhere: a link to a folder is not followed\n" in ran.stdout


def change(path: str, rows: str) -> Callable[[Settings], None]:
    return lambda settings: write(settings.landing / path, rows, "a")


def write(path: Path, text: str, mode: Literal["a", "w"] = "w") -> None:
    with path.open(mode) as file:
        file.write(text)


def edit(published: Path) -> None:
    with duckdb.connect(str(published)) as con:
        con.execute("UPDATE marts.model_quality SET mean_score = 0.99")


def query(sql: str) -> Callable[[Settings], None]:
    def run(settings: Settings) -> None:
        with duckdb.connect(str(settings.warehouse)) as con:
            con.execute(sql)

    return run


NEWS: dict[str, Callable[[Settings], None]] = {
    "an answer more": change(
        "first.jsonl", '{"prompt_id": 1, "model_id": "first", "answer": "а", "sample_index": 1}\n'
    ),
    "a file more": change("second.jsonl", '{"prompt_id": 1, "model_id": "second", "answer": "а"}\n'),
    "a file that cannot be read": change("broken.jsonl", "{\n"),
    "a file less": lambda settings: (settings.landing / "first.jsonl").unlink(),
    "what a landing.toml says": change("landing.toml", '[[files]]\nmatch = "first.jsonl"\nignore = true\n'),
    "a verdict that failed": query("UPDATE judging.verdicts SET status = 'server_error' WHERE rowid = 0"),
    "a verdict that is missing": query("DELETE FROM judging.verdicts WHERE rowid = 0"),
    "a segment of the ledger that is gone": lambda settings: next((settings.ledger / "segments").iterdir()).unlink(),
    "a journal that another process left": lambda settings: (settings.ledger / "active" / "x-0001.active").touch(),
    "a round of the golden set": query(
        "INSERT INTO judging.golden_rounds VALUES ('r', 'j', 'm', 'vllm', '0', '[]', true, now(), 'run', 1)"
    ),
    "a record that is gone": lambda settings: shutil.rmtree(settings.ledger / "records"),
    "a landing folder that is gone": lambda settings: shutil.rmtree(settings.landing),
    "a publication that was edited": lambda settings: edit(settings.published),
    "a picture that is gone": lambda settings: settings.published.with_name("leaderboard.png").unlink(),
    "a publication that is gone": lambda settings: settings.published.unlink(),
    "a publication that could not be renewed": lambda settings: mark_stale(
        settings.published, reason="a check failed", run_id="x"
    ),
    "a warehouse that is gone": lambda settings: settings.warehouse.unlink(),
    "a warehouse that is damaged": lambda settings: write(settings.warehouse, "x" * 8192),
}


# One of each kind is in every test run: of files, of the ledger, of the publication, of the warehouse.
OFTEN = (
    "an answer more",
    "a file less",
    "a verdict that failed",
    "a publication that was edited",
    "a record that is gone",
)


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in NEWS])
def test_what_could_change_a_table_is_news(settled: Settings, name: str) -> None:
    assert published_without_news(settled)
    NEWS[name](settled)
    assert published_without_news(settled) is None


def test_a_publication_comes_with_its_picture_its_report_and_its_place_in_the_trend(settled: Settings) -> None:
    beside = {path.name for path in settled.published.parent.iterdir()}
    assert {"leaderboard.png", "report.html", "history.jsonl"} < beside


@pytest.mark.slow
def test_a_verdict_that_can_never_be_ok_is_asked_in_three_runs_and_then_when_forced(tmp_path: Path) -> None:
    with InstantJudge() as judge:
        settings = at(tmp_path, judge.url, POLLUX_MINIMUM_COVERAGE="0.5")
        land_instructions(settings)
        land_model(settings, "odd", text=MUMBLE, spoiled=1)
        asked = []
        for _ in range(4):
            assert execute(settings)
            asked.append(sum(count for prompt, count in judge.prompts.items() if MUMBLE in prompt))
            if len(asked) < 3:
                assert published_without_news(settings) is None
        assert asked[0] < asked[1] < asked[2] == asked[3]
        assert published_without_news(settings)
        [said] = settled_sentences(settings)
        assert "in 3 runs (unparseable: " in said
        assert execute(settings, tags={FORCED_TAG: "yes"})
        assert sum(count for prompt, count in judge.prompts.items() if MUMBLE in prompt) > asked[3]
        assert published_without_news(settings)
    assert published(settings, "SELECT min(coverage) < 1 FROM marts.leaderboard") == [(True,)]


@pytest.mark.slow
def test_only_a_whole_evaluation_settles_what_it_published(settled: Settings) -> None:
    """The tables that other jobs publish were not made by all the steps that news are about."""
    write(settled.landing / "first.jsonl", '{"prompt_id": 1, "model_id": "first", "answer": "б"}\n')
    assert execute(settled, "ingest")
    assert execute(settled, "rebuild_tables")
    assert published_without_news(settled) is None
    assert execute(settled)
    assert published_without_news(settled)
    other = replace(settled, repeats=2)
    assert execute(other, assets=["published/tables"])
    assert published_without_news(other) is None
    assert published_without_news(settled) is None


def test_a_touched_file_is_read_again_only_where_times_are_trusted(settled: Settings) -> None:
    (settled.landing / "first.jsonl").touch()
    assert published_without_news(settled)
    assert published_without_news(replace(settled, trust_file_times=True)) is None


@pytest.mark.parametrize(
    "variables",
    [
        {"POLLUX_JUDGE_MODEL": "another"},
        {"POLLUX_PROFILE": "pollux-4b-no-heading"},
        {"POLLUX_REPEATS": "2"},
        {"POLLUX_MINIMUM_COVERAGE": "0.5"},
        {"POLLUX_MAXIMUM_REJECTED_SHARE": "0.5"},
        {"POLLUX_FAILING_MODELS": "leave_out"},
        {"POLLUX_HUMAN_AGGREGATION": "median"},
        {"POLLUX_CALIBRATION_PROXY": "both"},
        {"POLLUX_JUDGE_REASONING": "true"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_a_setting_that_could_change_a_table_is_news(evaluated: tuple[Path, str], variables: dict[str, str]) -> None:
    folder, url = evaluated
    assert published_without_news(at(folder, url))
    assert published_without_news(at(folder, url, **variables)) is None


def test_another_version_of_the_code_is_news(evaluated: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "_code_state", lambda: "of another version")
    assert published_without_news(at(*evaluated)) is None


def test_a_warehouse_that_another_process_writes_to_is_not_waited_for(evaluated: tuple[Path, str]) -> None:
    settings = at(*evaluated)
    with duckdb.connect(str(settings.warehouse)):
        assert published_without_news(settings) is None
    assert published_without_news(settings)


def test_a_night_without_news_launches_nothing(evaluated: tuple[Path, str], tmp_path: Path) -> None:
    settings = at(*evaluated)
    due = at(*evaluated, POLLUX_FRESH_WITHIN_HOURS="24")
    before = publication(settings)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, dg.build_schedule_context(instance) as context:
        skipped = nightly_schedule(settings)(context)
        assert isinstance(skipped, dg.SkipReason)
        assert "nothing is new since the publication of 20" in str(skipped.skip_message)
        assert isinstance(nightly_schedule(due)(context), dg.RunRequest)  # its policy counts the hours
    assert publication(settings) == before


@pytest.mark.slow
def test_a_home_that_takes_long_to_compare_has_its_night(evaluated: tuple[Path, str]) -> None:
    assert published_without_news_within(at(*evaluated), 60.0)
    assert published_without_news_within(at(*evaluated), 0.01) is None
