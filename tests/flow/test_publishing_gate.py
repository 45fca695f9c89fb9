"""No road leads to a publication round a blocking check, and what cannot be judged holds back nobody else.

One home goes through its life once, stage by stage; the tests look at what each stage left. The roads that nobody takes
by accident are tried on another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from pollux_dagster.app.evaluation import evaluate_landing
from pollux_dagster.defs.automation import NEW, SCOPE_TAG, evaluate_job, is_whole, nightly_schedule
from pollux_dagster.runs.instance import open_instance
from pollux_dagster.settings import Settings
from tests.fakes.instant_judge import MUMBLE, REFUSE, InstantJudge
from tests.flow.flow_world import definitions_of, execute, flow_settings, land_instructions, land_model

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Stage:
    """What a run came to: whether it succeeded, and the publication after it."""

    succeeded: bool
    asked: int
    publication: object
    models: list[object]
    staleness: list[tuple[object, ...]]
    left_out: dict[object, str]
    failed_checks: set[tuple[object, object]]
    is_whole: bool


class Life:
    """A home, and what each stage of its life left."""

    def __init__(self, settings: Settings, judge: InstantJudge) -> None:
        self.settings = settings
        self.judge = judge
        self.stages: dict[str, Stage] = {}
        self._asked = 0

    def note(self, name: str, succeeded: bool) -> None:
        with duckdb.connect(str(self.settings.published), read_only=True) as con:

            def said(query: str) -> list[tuple[object, ...]]:
                return con.execute(query).fetchall()

            self.stages[name] = Stage(
                succeeded=succeeded,
                asked=self.judge.prompts.total() - self._asked,
                publication=said("SELECT run_id FROM meta.publication"),
                models=[model for (model,) in said("SELECT model_id FROM marts.leaderboard ORDER BY ALL")],
                staleness=said("SELECT stale_since, reason FROM meta.staleness"),
                left_out={
                    model: str(reason)
                    for model, reason in said("SELECT model_id, reason FROM judging.admission WHERE NOT is_admitted")
                },
                failed_checks={
                    (check, blocking)
                    for check, blocking in said("SELECT check_name, blocking FROM meta.check_results WHERE NOT passed")
                },
                is_whole=last_evaluation_is_whole(self.settings),
            )
        self._asked = self.judge.prompts.total()

    def publish(self, name: str) -> None:
        """The asset of the publication alone."""
        self.note(name, execute(self.settings, assets=["published/tables"]))


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    with InstantJudge() as judge:
        life = Life(flow_settings(tmp_path_factory.mktemp("home"), judge.url), judge)
        settings = life.settings
        land_instructions(settings)
        land_model(settings, "good")
        assert execute(settings, "ingest")
        typo = with_variables(settings, judge, POLLUX_JUDGE_MODEL="instatn")
        assert not execute(typo, assets=["judging/requests", "judging/verdicts"])
        life.note("good", execute(settings))
        life.publish("published again by hand")
        land_one_that_fails(settings)
        life.publish("landed and not evaluated")
        life.note("command", evaluate_landing(definitions_of(settings), settings))
        land_model(settings, "third")
        leaving_out = with_variables(settings, judge, POLLUX_FAILING_MODELS="leave_out")
        life.note("landing change, failing models left out", execute(leaving_out, tags={SCOPE_TAG: NEW}))
        yield life


@pytest.fixture
def stages(life: Life) -> dict[str, Stage]:
    return life.stages


@pytest.fixture(scope="module")
def refused(life: Life) -> Stage:
    """The last stage of it: the model that failed is mended, and another one refused."""
    land_model(life.settings, "half")
    land_model(life.settings, "refused", text=REFUSE, spoiled=12)
    life.note("refused", execute(life.settings))
    return life.stages["refused"]


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stage]]:
    """What came of every road that nobody takes by accident."""
    with InstantJudge() as judge:
        life = Life(flow_settings(tmp_path_factory.mktemp("home"), judge.url), judge)
        settings = life.settings
        land_instructions(settings)
        land_model(settings, "good")
        life.note("good", execute(settings))
        land_one_that_fails(settings)
        assert not evaluate_landing(definitions_of(settings), settings)
        life.note("backfill", backfill(settings))  # it leaves tables of one state, of which only a check failed
        life.publish("one asset by hand")
        report_all_checks_as_passed(settings)
        life.publish("checks reported by hand")
        yield life.stages


def land_one_that_fails(settings: Settings) -> None:
    land_model(settings, "half", text=MUMBLE, spoiled=4)
    assert execute(settings, "ingest")


def with_variables(settings: Settings, judge: InstantJudge, **variables: str) -> Settings:
    """The same home and landing folder under other settings."""
    return flow_settings(settings.landing.parent, judge.url, **variables)


def last_evaluation_is_whole(settings: Settings) -> bool:
    with open_instance(settings.dagster_home) as instance:
        (run,) = instance.get_runs(dg.RunsFilter(job_name="evaluate"), limit=1)
        return is_whole(instance, run)


def backfill(settings: Settings) -> bool:
    """As the UI's backfill launches it: the partitions in one run, then what is downstream in another."""
    with open_instance(settings.dagster_home) as instance:
        keys = instance.get_dynamic_partitions("models")
    chosen = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    execute(settings, assets=["judging/verdicts"], tags=chosen)
    graph = definitions_of(settings).resolve_asset_graph().get_all_asset_keys()
    downstream = [
        key.to_user_string() for key in graph if key.path[0] in ("staging", "statistics", "marts", "published")
    ]
    return execute(settings, assets=downstream)


def report_all_checks_as_passed(settings: Settings) -> None:
    """As anybody who can use the UI may, by its address for reports: Dagster believes it, the tables do not."""
    with open_instance(settings.dagster_home) as instance:
        for check in definitions_of(settings).resolve_asset_graph().asset_check_keys:
            passed = dg.AssetCheckEvaluation(asset_key=check.asset_key, check_name=check.name, passed=True, metadata={})
            instance.report_runless_asset_event(passed)


def test_the_command_does_not_publish_a_model_that_failed_its_blocking_check(stages: dict[str, Stage]) -> None:
    good, after = stages["published again by hand"], stages["command"]
    assert not after.succeeded
    assert after.publication == good.publication
    assert after.models == ["good"]


@pytest.mark.slow
@pytest.mark.parametrize("road", ["backfill", "one asset by hand", "checks reported by hand"])
def test_nor_does_any_other_road(roads: dict[str, Stage], road: str) -> None:
    good, after = roads["good"], roads[road]
    assert not after.succeeded
    assert after.publication == good.publication
    assert after.models == ["good"]


@pytest.mark.slow
def test_nor_does_the_job_that_rebuilds_the_tables(life: Life, refused: Stage) -> None:
    land_model(life.settings, "half", text=MUMBLE, spoiled=4)
    assert not execute(life.settings)
    life.note("rebuild job", execute(life.settings, "rebuild_tables"))
    after = life.stages["rebuild job"]
    assert not after.succeeded
    assert after.publication == refused.publication
    assert after.models == refused.models


def test_a_whole_run_is_known_as_one(stages: dict[str, Stage]) -> None:
    """What the landing sensor goes by: an evaluation of a part leaves the rest of a drop to it."""
    whole = ("good", "command", "landing change, failing models left out")
    assert [stages[name].is_whole for name in whole] == [True] * 3
    assert not stages["published again by hand"].is_whole


@pytest.mark.slow
def test_a_run_of_a_part_is_told_from_a_whole_one(roads: dict[str, Stage]) -> None:
    assert [roads[name].is_whole for name in ("good", "one asset by hand", "backfill")] == [True, False, False]


def test_schedule_and_flow_launch_the_job_that_the_command_runs(tmp_path: Path) -> None:
    schedule = nightly_schedule(flow_settings(tmp_path, "http://127.0.0.1:1/v1"))
    assert schedule.job_name == evaluate_job.name
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, dg.build_schedule_context(instance) as context:
        request = schedule(context)
    assert isinstance(request, dg.RunRequest)
    assert dict(request.tags) == {}


def test_what_was_checked_is_published_by_hand_and_what_was_not_is_refused(stages: dict[str, Stage]) -> None:
    assert stages["published again by hand"].succeeded
    assert stages["published again by hand"].publication != stages["good"].publication
    landed = stages["landed and not evaluated"]
    assert not landed.succeeded
    assert landed.publication == stages["published again by hand"].publication
    ((_, reason),) = landed.staleness
    assert "raw.model_outputs" in str(reason)


def test_the_last_good_publication_says_since_when_it_is_not_renewed_and_why(stages: dict[str, Stage]) -> None:
    assert stages["good"].staleness == []
    ((first, _),) = stages["landed and not evaluated"].staleness
    ((since, reason),) = stages["command"].staleness
    assert since == first
    assert "coverage_is_sufficient of judging.admission failed" in str(reason)
    assert stages["landing change, failing models left out"].staleness == []


@pytest.mark.slow
def test_a_road_that_led_nowhere_says_so_too(roads: dict[str, Stage]) -> None:
    ((_, reason),) = roads["one asset by hand"].staleness
    assert "coverage_is_sufficient of judging.admission" in str(reason)


def test_a_failing_model_is_left_out_by_name_where_that_is_the_setting(stages: dict[str, Stage]) -> None:
    stage = stages["landing change, failing models left out"]
    assert stage.succeeded
    assert stage.models == ["good", "third"]
    assert list(stage.left_out) == ["half"]
    assert "16 of its 24 requests" in stage.left_out["half"]
    assert "unparseable 8" in stage.left_out["half"]
    assert ("every_model_is_admitted", False) in stage.failed_checks


def test_a_landing_change_asks_for_what_is_new_and_not_for_what_had_failed(stages: dict[str, Stage]) -> None:
    stage = stages["landing change, failing models left out"]
    assert stage.succeeded
    assert "third" in stage.models
    assert stage.asked == 24


@pytest.mark.slow
def test_a_model_that_the_judge_refuses_fails_alone_and_the_others_are_published(refused: Stage) -> None:
    assert refused.succeeded
    assert refused.models == ["good", "half", "third"]
    assert list(refused.left_out) == ["refused"]
    assert "refused_by_server 24" in refused.left_out["refused"]
    assert "this text is not judged here" in refused.left_out["refused"]
    assert ("every_model_is_admitted", False) in refused.failed_checks


def test_a_judge_that_was_named_by_mistake_leaves_no_tables_and_no_warning_behind(stages: dict[str, Stage]) -> None:
    """Before the stage "good", the judging steps of its home asked the server for a model that it does not serve."""
    stage = stages["good"]
    assert stage.succeeded
    assert stage.models == ["good"]
    assert stage.failed_checks == set()
    assert stage.left_out == {}


@pytest.mark.slow
def test_where_the_judge_gives_nothing_usable_of_any_model_nothing_is_published(
    tmp_path: Path, judge: InstantJudge
) -> None:
    settings = flow_settings(tmp_path, judge.url)
    land_instructions(settings)
    land_model(settings, "only", text=MUMBLE, spoiled=12)
    assert not execute(settings)
    assert not settings.published.exists()
    with duckdb.connect(str(settings.warehouse), read_only=True) as con:
        assert con.execute("SELECT model_id, is_admitted FROM judging.admission").fetchall() == [("only", True)]
