"""The golden set on a judge's server: judged first, and once in each state of the judge."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
import duckdb
import pytest

from pollux_dagster.app.golden_set import pin_golden_set
from pollux_dagster.definitions import build_defs
from pollux_dagster.defs.partitions import landed_models, register_models
from pollux_dagster.ingest.sync import sync
from pollux_dagster.runs.instance import open_instance
from pollux_dagster.settings import PACKAGE_TAXONOMY, Settings
from pollux_dagster.warehouse.connection import connect
from pollux_dagster.warehouse.schema import create_schema
from tests.fakes.fake_judge import KEY, Call, FakeJudge, Raw, as_json, completion, score_of
from tests.pipeline_world import ANSWERS, write_answers, write_instructions

INSTRUCTIONS = 8


def scoring(call: Call) -> Raw:
    """Gates never trip; the other criterion gets what the prompt says."""
    score = 0.0 if "Отказ или заглушка" in call.prompt else score_of(call.prompt)
    return as_json(completion(call.request_id, content=f"\n\n{score:g}"))


def judge_new_model(settings: Settings, model_id: str) -> None:
    """A model lands, and the two judging steps run over every model."""
    write_answers(settings.landing, model_id, INSTRUCTIONS, lambda i: f"{ANSWERS[i % 3]} {model_id} {i}")
    con = connect(settings.warehouse)
    create_schema(con)
    sync(con, settings.landing, run_id="test", taxonomy=PACKAGE_TAXONOMY)
    keys = list(landed_models(con))
    con.close()
    with open_instance(settings.dagster_home) as instance:
        register_models(instance, keys)
        job = build_defs(settings).resolve_job_def("evaluate")
        steps = [dg.AssetKey(["judging", "requests"]), dg.AssetKey(["judging", "verdicts"])]
        assert job.execute_in_process(instance=instance, asset_selection=steps).success


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_pinned_set_is_judged_first_and_once_in_each_state(
    world: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLLUX_JUDGE_API_KEY", KEY)
    write_instructions(world.landing, INSTRUCTIONS)
    with FakeJudge(otherwise=scoring) as fake:
        settings = replace(world, profile="pollux-4b", judge_url=fake.url, judge_served_model="judge")
        changed = replace(settings, judge_arguments=("--another-flag",))

        judge_new_model(settings, "first")
        assert len(fake.calls) == 2 * INSTRUCTIONS
        assert pin_golden_set(settings, 100) == 2 * INSTRUCTIONS

        judge_new_model(settings, "second")
        baseline, new = fake.calls[2 * INSTRUCTIONS : 4 * INSTRUCTIONS], fake.calls[4 * INSTRUCTIONS :]
        assert all(" first " in call.prompt for call in baseline)
        assert all(" second " in call.prompt for call in new)
        assert len(new) == 2 * INSTRUCTIONS

        asked = len(fake.calls)
        judge_new_model(settings, "third")
        assert len(fake.calls) - asked == 2 * INSTRUCTIONS  # a known state: its round is not judged again

        asked = len(fake.calls)
        judge_new_model(changed, "fourth")
        assert len(fake.calls) - asked == 2 * 2 * INSTRUCTIONS
    with duckdb.connect(str(settings.warehouse), read_only=True) as con:
        rounds = con.execute("SELECT arguments, is_baseline FROM judging.golden_rounds ORDER BY position").fetchall()
    assert rounds == [("", True), ("--another-flag", False)]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_going_back_to_the_old_state_is_noticed_with_nothing_to_judge(
    world: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLLUX_JUDGE_API_KEY", KEY)
    write_instructions(world.landing, INSTRUCTIONS)
    harsh = False

    def judge(call: Call) -> Raw:
        return as_json(completion(call.request_id, content="\n\n0")) if harsh else scoring(call)

    with FakeJudge(otherwise=judge) as fake:
        settings = replace(world, profile="pollux-4b", judge_url=fake.url, judge_served_model="judge")
        changed = replace(settings, judge_arguments=("--another-flag",))
        judge_new_model(settings, "first")
        pin_golden_set(settings, 100)
        judge_new_model(settings, "second")

        harsh = True
        judge_new_model(changed, "third")
        assert latest_arguments(settings) == "--another-flag"

        harsh = False
        asked = len(fake.calls)
        judge_new_model(settings, "third")
        assert len(fake.calls) == asked  # nothing is pending and its round is known: the state was to be learned
        assert latest_arguments(settings) == ""

        written = judged_at(settings)
        judge_new_model(settings, "third")
        assert judged_at(settings) == written  # all is well: nothing new, no server


def latest_arguments(settings: Settings) -> str:
    with duckdb.connect(str(settings.warehouse), read_only=True) as con:
        rows = con.execute("SELECT arguments FROM judging.golden_rounds ORDER BY position DESC LIMIT 1").fetchall()
    return str(rows[0][0])


def judged_at(settings: Settings) -> list[tuple[object, ...]]:
    with duckdb.connect(str(settings.warehouse), read_only=True) as con:
        return con.execute("SELECT round_id, judged_at FROM judging.golden_rounds ORDER BY ALL").fetchall()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_lost_warehouse_loses_neither_the_golden_set_nor_another_judge(
    world: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLLUX_JUDGE_API_KEY", KEY)
    write_instructions(world.landing, INSTRUCTIONS)
    with FakeJudge(otherwise=scoring) as fake:
        settings = replace(world, profile="pollux-4b", judge_url=fake.url, judge_served_model="judge", repeats=2)
        judge_new_model(replace(settings, judge_revision="earlier"), "first")
        judge_new_model(settings, "second")
        pin_golden_set(settings, 100)
        judge_new_model(settings, "third")
        before = known(settings)

        settings.warehouse.unlink()
        asked = len(fake.calls)
        judge_new_model(settings, "third")
    assert len(fake.calls) == asked
    assert known(settings) == before
    assert len(before["meta.judges"]) == 2


def known(settings: Settings) -> dict[str, list[tuple[object, ...]]]:
    """The tables that nobody could compute again, and every judge's requests."""
    tables = ("meta.judges", "judging.golden_requests", "judging.golden_rounds", "judging.requests")
    with duckdb.connect(str(settings.warehouse), read_only=True) as con:
        return {table: con.execute(f"FROM {table} ORDER BY ALL").fetchall() for table in tables}
