"""A server of the OpenLineage API is told what a run built from what, with columns and the results of checks."""

# No `from __future__ import annotations`: Dagster looks at the type of `context` itself.

import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pollux_dagster.runs.executor import Conclusion, conclude
from pollux_dagster.runs.lineage import LineageReceiver
from tests.fakes.lineage_server import LineageServer

COLUMNS = {
    "dagster/column_schema": dg.TableSchema([dg.TableColumn("mean_score", "DOUBLE", "the mean")]),
    "dagster/column_lineage": dg.TableColumnLineage(
        {"mean_score": [dg.TableColumnDep(dg.AssetKey(["staging", "scores"]), "score")]}
    ),
}


@dg.asset(key=["staging", "scores"])
def scores() -> None: ...


@dg.asset(key=["marts", "leaderboard"], deps=[scores], metadata=COLUMNS)
def leaderboard(context: dg.AssetExecutionContext) -> None:
    if context.run.tags.get("breaks"):
        raise RuntimeError("Bearer sk-hush-1234 has no right")


@dg.asset_check(asset=scores)
def on_scale() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, description="2 of 100 off the scale", severity=dg.AssetCheckSeverity.WARN)


def run(to: LineageReceiver | None, tmp_path: Path, **tags: str) -> list[str]:
    """Run two tables and a check; what the run's page says besides Dagster's own events."""
    evaluate = dg.define_asset_job("evaluate", selection=dg.AssetSelection.all())
    job = dg.Definitions([scores, leaderboard], asset_checks=[on_scale], jobs=[evaluate]).resolve_job_def("evaluate")
    with dg.DagsterInstance.ephemeral() as instance:
        ended = job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)
        at = Conclusion(None, tmp_path / "metrics", lambda: {"sk-hush-1234"}, lineage=to)
        conclude(instance, job, ended.run_id, ended.all_events, at)
        said = instance.all_logs(ended.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        return [entry.dagster_event.message or "" for entry in said if entry.dagster_event]


def of_job(events: list[dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    """The events of one job by their type."""
    return {event["eventType"]: event for event in events if event["job"]["name"] == name}


def test_tables_columns_sources_and_checks_are_told(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("of-the-server\n")
    with LineageServer() as server:
        run(LineageReceiver(server.url, "night", str(tmp_path / "key")), tmp_path)
    assert server.authorizations == {"Bearer of-the-server"}
    assert set(of_job(server.events, "evaluate")) == {"START", "COMPLETE"}
    run_ids = {event["job"]["name"]: event["run"]["runId"] for event in server.events}
    assert len(set(run_ids.values())) == len(run_ids), "a run is one of one job"
    assert {event["job"]["namespace"] for event in server.events} == {"night"}
    assert {event["path"] for event in server.events} == {"/api/v1/lineage"}

    told = of_job(server.events, "marts/leaderboard")
    assert set(told) == {"START", "COMPLETE"} and told["START"]["eventTime"] <= told["COMPLETE"]["eventTime"]
    (table,) = told["COMPLETE"]["outputs"]
    assert table["name"] == "marts/leaderboard"
    assert [source["name"] for source in told["COMPLETE"]["inputs"]] == ["staging/scores"]
    assert table["facets"]["schema"]["fields"] == [
        {"name": "mean_score", "type": "DOUBLE", "description": "the mean", "fields": []}
    ]
    (source,) = table["facets"]["columnLineage"]["fields"]["mean_score"]["inputFields"]
    assert (source["namespace"], source["name"], source["field"]) == ("night", "staging/scores", "score")

    parent = told["COMPLETE"]["run"]["facets"]["parent"]
    assert (parent["run"]["runId"], parent["job"]["name"]) == (run_ids["evaluate"], "evaluate")

    (checked,) = of_job(server.events, "staging/scores.checks")["COMPLETE"]["inputs"]
    (assertion,) = checked["inputFacets"]["dataQualityAssertions"]["assertions"]
    found = [assertion[name] for name in ("assertion", "success", "severity", "actual")]
    assert found == ["on_scale", False, "warn", "2 of 100 off the scale"]


def test_a_failed_run_says_which_tables_are_missing_and_why_and_nothing_secret(tmp_path: Path) -> None:
    with LineageServer() as server:
        run(LineageReceiver(server.url, "night"), tmp_path, breaks="yes")
    assert server.authorizations == {None}
    failed = of_job(server.events, "marts/leaderboard")["FAIL"]
    assert "Bearer *** has no right" in failed["run"]["facets"]["errorMessage"]["message"]
    assert "COMPLETE" in of_job(server.events, "staging/scores")
    assert set(of_job(server.events, "evaluate")) == {"START", "FAIL"}


def test_a_receiver_that_is_down_or_refuses_is_told_of_on_the_runs_page_and_changes_nothing(tmp_path: Path) -> None:
    down = run(LineageReceiver("http://127.0.0.1:9", "night"), tmp_path)
    assert "its lineage did not all reach http://127.0.0.1:9: ConnectionError" in down[-1]
    with LineageServer(status=403) as server:
        refused = run(LineageReceiver(server.url, "night"), tmp_path)
    assert "403" in refused[-1] and len(server.events) == 1, "the rest is not sent"
    assert (tmp_path / "metrics").exists()


def test_a_receiver_that_is_too_slow_is_not_waited_for(tmp_path: Path) -> None:
    with LineageServer() as server:
        said = run(LineageReceiver(server.url, "night", patience_s=0.0), tmp_path)
    assert "TimeoutError: it did not take them within 0 s, and the rest was not sent" in said[-1]
    assert not of_job(server.events, "evaluate").get("COMPLETE")


@pytest.mark.parametrize("held", ["sk-hush-1234\nsk-hush-5678", "sk-hush-1234-ключ", ""])
def test_a_file_that_holds_no_key_is_named_and_what_it_holds_is_not(tmp_path: Path, held: str) -> None:
    (tmp_path / "key").write_text(held)
    with LineageServer() as server:
        said = run(LineageReceiver(server.url, "night", str(tmp_path / "key")), tmp_path)
    assert f"expected one API key in {tmp_path / 'key'}" in said[-1]
    assert "sk-hush" not in "".join(said) and not server.events


def test_without_the_package_the_runs_page_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openlineage.client", None)
    said = run(LineageReceiver("http://127.0.0.1:9", "night"), tmp_path)
    assert "pip install 'pollux_dagster[openlineage]'" in said[-1]
