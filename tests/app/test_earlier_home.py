"""A home that an earlier version made opens, keeps its verdicts and asks nothing again.

`home_of_0_1_0.tar.xz` was made by `pollux run` at commit 592c36d, before the verdict key became a macro: two
models, four instructions, 16 verdicts of the instant judge, with Dagster's own storage.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.app.evaluation import evaluate_landing
from pollux_dagster.definitions import build_defs
from pollux_dagster.explain.answer import ExplainedAnswer
from pollux_dagster.explain.mean import ExplainedMean
from pollux_dagster.explain.verdict import ExplainedVerdict, explain_verdict
from pollux_dagster.explain.walk import Wanted, walk_back
from pollux_dagster.publication_access import open_publication
from pollux_dagster.runs.instance import DAGSTER_YAML
from pollux_dagster.settings import Settings
from tests.fakes.instant_judge import MODEL, InstantJudge
from tests.pipeline_world import write_answers

HOME = Path(__file__).parent / "home_of_0_1_0.tar.xz"
SCORES = "FROM staging.scores SELECT verdict_key, model_id, prompt_id, criteria_name, status, score ORDER BY ALL"
QUALITY = "FROM marts.model_quality SELECT judge_id, model_id, mean_score, n, coverage ORDER BY ALL"


def read(published: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(published), read_only=True) as con:
        return con.sql(query).fetchall()


@pytest.fixture
def judge() -> Iterator[InstantJudge]:
    with InstantJudge() as judge:
        yield judge


@pytest.fixture
def profile() -> str:
    """The profile that asks as `pollux-4b` did then."""
    return "pollux-4b-no-heading"


@pytest.fixture
def settings(tmp_path: Path, judge: InstantJudge, profile: str) -> Settings:
    """Of the unpacked home."""
    with tarfile.open(HOME) as archive:
        archive.extractall(tmp_path, filter="data")
    return Settings.from_environment(
        {
            "POLLUX_HOME": str(tmp_path / "home"),
            "POLLUX_LANDING": str(tmp_path / "landing"),
            "POLLUX_PROFILE": profile,
            "POLLUX_JUDGE_URL": judge.url,
            "POLLUX_JUDGE_MODEL": MODEL,
        }
    )


def with_the_present_storage(settings: Settings) -> None:
    """Add the lines to the home's dagster.yaml that docs/reference/operations.md gives: a run then hardly waits for the
    disk. The slow tests leave the home as it is.
    """
    config = settings.dagster_home / "dagster.yaml"
    names_the_class = re.search(r"^instance_class:.*\n(?:  .*\n)+", DAGSTER_YAML, re.MULTILINE)
    assert names_the_class and "instance_class" not in config.read_text()
    config.write_text(config.read_text() + names_the_class[0])


def test_its_publication_is_explained_as_it_is(settings: Settings, profile: str) -> None:
    keys = read(settings.published, "SELECT DISTINCT verdict_key FROM staging.scores")
    with open_publication(settings.published) as con:
        means = walk_back(con, Wanted("model-a"), settings.home, "demo")
        for (key,) in keys:
            verdict = explain_verdict(con, str(key), settings.home)
            assert verdict.key.is_equal
            assert (verdict.prompt.profile, verdict.prompt.problem) == (profile, "")
    assert not isinstance(means, ExplainedAnswer | ExplainedVerdict)
    assert [isinstance(each, ExplainedMean) and each.recomputed["agrees"] for each in means] == [True]


@pytest.mark.timeout(300)
def test_a_home_of_an_earlier_version_is_published_again_without_a_request(
    settings: Settings, judge: InstantJudge
) -> None:
    with_the_present_storage(settings)
    scores, quality = read(settings.published, SCORES), read(settings.published, QUALITY)
    (before,) = read(settings.published, "SELECT published_at FROM meta.publication")
    assert evaluate_landing(build_defs(settings), settings)
    assert not judge.prompts
    assert read(settings.published, "SELECT published_at FROM meta.publication") > [before]
    assert (read(settings.published, SCORES), read(settings.published, QUALITY)) == (scores, quality)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_new_model_in_a_home_of_an_earlier_version_is_all_that_is_asked_for(
    settings: Settings, judge: InstantJudge
) -> None:
    scores = read(settings.published, SCORES)
    write_answers(settings.landing, "model-c", 4, lambda i: f"Новый ответ {i}.")
    assert evaluate_landing(build_defs(settings), settings)
    assert judge.prompts.total() == len(scores) / 2
    assert set(scores) < set(read(settings.published, SCORES))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("profile", ["pollux-4b"])
def test_the_makers_prompt_is_another_judge_beside_the_earlier_one(settings: Settings, judge: InstantJudge) -> None:
    scores = read(settings.published, SCORES)
    assert evaluate_landing(build_defs(settings), settings)
    assert judge.prompts.total() == len(scores)
    assert set(scores) < set(read(settings.published, SCORES))
