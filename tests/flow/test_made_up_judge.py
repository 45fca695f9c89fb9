"""The profile made-up: its scores are levels of the rubric, and everything says that nobody has judged."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from pollux_dagster.app.resources import Resources
from pollux_dagster.cli import app
from pollux_dagster.cli.options import say_which_profile
from pollux_dagster.core.profile_files import packaged_profile
from pollux_dagster.core.prompts import render
from pollux_dagster.judge.server.made_up_server import RATIONALE, completion, made_up_score
from pollux_dagster.settings import Settings


def prompt(answer: str, rubrics: str) -> str:
    return render(packaged_profile("made-up").template, "Вопрос", None, answer, "Польза", rubrics)


def test_a_score_is_a_level_of_the_rubric_and_the_same_for_the_same_prompt() -> None:
    answers = [f"7: ответ {number}\n9: и ещё" for number in range(40)]
    for rubrics, levels in (("0: нет\n1: да", {"0", "1"}), ("-1: зло\n0,5: так\n2: добро", {"-1", "0,5", "2"})):
        assert {made_up_score(prompt(answer, rubrics)) for answer in answers} == levels
    assert made_up_score(prompt("да", "0: нет\n1: да")) == made_up_score(prompt("да", "0: нет\n1: да"))
    assert made_up_score("Напишите слово.") == "0"
    (choice,) = completion({"messages": [{"content": prompt("да", "3: да")}]}, "no-model")["choices"]
    assert (choice["message"]["content"], choice["message"]["reasoning"]) == ("\n\n3", RATIONALE)


def test_the_profile_says_what_it_is_and_starts_no_engine(world: Settings) -> None:
    judge = Resources.of(replace(world, profile="made-up")).judge
    assert judge.identity().is_demonstration and judge.identity().model == "no-model"
    assert judge.model_copy(update={"model": "a-real-one"}).identity() == judge.identity()
    spec = judge.server_spec()
    assert (spec.engine, spec.command[0]) == ("command", sys.executable)
    assert Path(spec.command[2]).name == "made_up_server.py"


def test_a_server_that_the_settings_name_is_asked_nothing(world: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    settings = replace(world, profile="made-up", judge_url="http://judge:8000/v1")
    assert Resources.of(settings).judge.url == ""
    assert Resources.of(replace(settings, profile="pollux-4b")).judge.url == "http://judge:8000/v1"
    say_which_profile(settings)
    assert "is asked nothing" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_new_folder_comes_to_a_leaderboard_without_any_engine(
    tmp_path: Path, pollux_environment: dict[str, str]
) -> None:
    environment = {name: value for name, value in pollux_environment.items() if not name.startswith("POLLUX_")}
    assert CliRunner().invoke(app, ["init", str(tmp_path / "begun")]).exit_code == 0
    command = [sys.executable, "-m", "pollux_dagster.cli", "run", "--profile", "made-up", "--home", "trial"]
    ran = subprocess.run(command, cwd=tmp_path / "begun", env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    said = " ".join(ran.stdout.split())
    assert "DEMONSTRATION: judged by made-up@" in said and "which is no judge of quality" in said
    assert "making scores up at managed/" in ran.stderr and "unknown" not in ran.stderr
    with duckdb.connect(str(tmp_path / "begun/trial/published/pollux.duckdb"), read_only=True) as con:
        assert con.sql("SELECT DISTINCT status, rationale FROM judging.verdicts").fetchall() == [("ok", RATIONALE)]
        assert con.sql("SELECT has_demonstration_judge FROM meta.publication").fetchall() == [(True,)]
        ((models,),) = con.sql("SELECT count(*) FROM marts.leaderboard WHERE is_demonstration").fetchall()
    assert models == 2
