"""The exam on a judge's server: a judge that praise moves is found, one that nothing moves is not, nothing twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import duckdb
import pytest
from typer.testing import CliRunner

from pollux_dagster.app.exam import examine_judge
from pollux_dagster.cli import app
from pollux_dagster.core.exam import exam_requests
from pollux_dagster.definitions import build_defs
from pollux_dagster.runs.instance import open_instance
from pollux_dagster.settings import Settings
from tests.fakes.fake_judge import KEY, Call, FakeJudge, Raw, as_json, completion

REQUESTS = len(exam_requests())


def indifferent(call: Call) -> Raw:
    """Looks at the task and the levels alone, which no probe changes."""
    return as_json(completion(call.request_id, call.prompt, content=f"\n\n{level(call.prompt, 0)}"))


def vain(call: Call) -> Raw:
    """Adds a level where an answer calls itself flawless."""
    raised = level(call.prompt, int("безупречный" in call.prompt))
    return as_json(completion(call.request_id, call.prompt, content=f"\n\n{raised}"))


def level(prompt: str, raised: int) -> int:
    task, rubrics = prompt.split("### Эталонный ответ:")[0], prompt.rsplit("###", 1)[1]
    levels = sorted(int(found) for found in re.findall(r"^(\d):", rubrics, re.MULTILINE))
    at = zlib.crc32(task.encode()) % len(levels) + raised
    return levels[min(at, len(levels) - 1)]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJudge]:
    monkeypatch.setenv("POLLUX_JUDGE_API_KEY", KEY)
    with FakeJudge(otherwise=vain) as fake:
        yield fake


@pytest.fixture
def examined(world: Settings, judge: FakeJudge) -> Settings:
    return replace(world, profile="pollux-4b", judge_url=judge.url, judge_served_model="judge")


@pytest.mark.timeout(300)
def test_a_vain_judge_is_found_once_and_an_indifferent_one_is_not(examined: Settings, judge: FakeJudge) -> None:
    said: list[str] = []
    taken = examine_judge(examined, said.append)
    assert (taken.asked, len(judge.calls)) == (REQUESTS, REQUESTS)
    assert taken.flagged["probe"].unique().to_list() == ["self_praise"]
    assert any(f"{REQUESTS} of {REQUESTS} requests" in line for line in said)

    again = examine_judge(examined, said.append)
    assert (again.asked, len(judge.calls)) == (0, REQUESTS)
    assert again.results.equals(taken.results)

    judge.otherwise = indifferent
    changed = replace(examined, judge_arguments=("--another-flag",))
    other = examine_judge(changed, said.append)
    assert (other.asked, other.flagged.height) == (REQUESTS, 0)

    examined.warehouse.unlink()
    assert examine_judge(changed, said.append).asked == 0  # all of it is in the ledger
    with duckdb.connect(str(examined.warehouse), read_only=True) as con:
        rounds = con.execute("SELECT arguments FROM judging.exam_rounds ORDER BY position").fetchall()
        results = con.execute("SELECT count(*) FROM judging.exam_results WHERE flagged").fetchone()
    assert rounds == [("",), ("--another-flag",)]
    assert results and results[0] == taken.flagged.height


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_failed_is_asked_again(examined: Settings, judge: FakeJudge) -> None:
    judge.otherwise = lambda call: (
        as_json(completion(call.request_id, call.prompt, content="не знаю")) if "Луны" in call.prompt else vain(call)
    )
    failing = sum("Луны" in request.question.instruction for request in exam_requests())
    taken = examine_judge(examined, lambda line: None)
    assert failing and taken.results.filter(taken.results["grain"] == "all")["failures"].sum() > 0
    judge.otherwise = vain
    again = examine_judge(examined, lambda line: None)
    assert again.asked == failing
    assert again.results["failures"].sum() == again.results["baseline_failures"].sum() == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_its_job_warns_and_no_other_job_takes_it(examined: Settings, judge: FakeJudge) -> None:
    definitions = build_defs(examined)
    with open_instance(examined.dagster_home) as instance:
        ran = definitions.resolve_job_def("exam").execute_in_process(instance=instance)
    assert ran.success and len(judge.calls) == REQUESTS
    (check,) = ran.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.severity) == (
        "no_probe_moves_the_judge", False, dg.AssetCheckSeverity.WARN,
    )  # fmt: skip
    exams = {dg.AssetKey(["judging", "exam_rounds"]), dg.AssetKey(["judging", "exam_results"])}
    for job in definitions.resolve_all_job_defs():
        if not job.name.startswith("__"):
            assert exams.isdisjoint(job.asset_layer.selected_asset_keys) == (job.name != "exam"), job.name


def test_the_command_prints_every_probe_and_what_is_flagged(examined: Settings, judge: FakeJudge) -> None:
    ran = CliRunner().invoke(app, ["exam"], env={**examined.to_environment(), "COLUMNS": "140"})
    assert ran.exit_code == 0, ran.output
    over_all, by_criterion = ran.output.split("Flagged on a single criterion")
    lines = {line.split()[0]: line.split()[1:] for line in over_all.splitlines() if line.strip()}
    assert lines["self_praise"][-1] == "yes" and lines["padding"][-1] == "0"
    assert "self_praise" in by_criterion and "padding" not in by_criterion
    assert "opinion of itself is not evidence" in by_criterion
    assert {request.probe for request in exam_requests() if request.probe} <= set(lines)


@pytest.mark.slow
def test_the_command_says_where_a_judge_tells_no_answers_apart(examined: Settings, judge: FakeJudge) -> None:
    judge.otherwise = lambda call: as_json(completion(call.request_id, call.prompt, content="\n\n1"))
    ran = CliRunner().invoke(app, ["exam"], env={**examined.to_environment(), "COLUMNS": "140"})
    assert ran.exit_code == 0, ran.output
    (line,) = (line for line in ran.output.splitlines() if line.startswith("One score for every answer"))
    assert all(request.criteria_name in line for request in exam_requests())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_interrupted_exam_keeps_its_verdicts_and_is_continued(examined: Settings, judge: FakeJudge) -> None:
    judge.otherwise = lambda call: replace(vain(call), wait_s=0.5)
    process = subprocess.Popen(
        [sys.executable, "-m", "pollux_dagster.cli", "exam"],
        env={**os.environ, **examined.to_environment()},
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 120
    while len(judge.calls) < REQUESTS // 4 and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted: the verdicts so far are kept, and the same command continues" in said
    assert "Traceback" not in said
    assert re.search(rf"judged \d+/{REQUESTS} \(.*\) · .*/s · ", said)
    judge.otherwise = vain
    assert 0 < examine_judge(examined, print).asked < REQUESTS


def test_a_server_that_is_not_there_is_an_error_in_a_sentence(world: Settings) -> None:
    environment = replace(world, profile="pollux-4b", judge_url="http://127.0.0.1:9/v1").to_environment()
    ran = CliRunner().invoke(app, ["exam"], env=environment)
    assert ran.exit_code == 1 and "127.0.0.1:9" in ran.output and "Traceback" not in ran.output
