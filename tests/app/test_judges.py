"""`pollux judges` against a server, and that what judged is what is recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import duckdb
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pollux_dagster.app.judges import TRIALS
from pollux_dagster.app.resources import Resources
from pollux_dagster.cli import app, judges
from pollux_dagster.core.model_names import is_name_of
from pollux_dagster.core.profile_files import packaged_profile
from pollux_dagster.judge.server import AddressError
from pollux_dagster.settings import Settings
from tests.fakes.emulations import AZURE, EmulatedServer
from tests.fakes.fake_judge import KEY, Call, FakeJudge, Raw, as_json, completion, replying
from tests.pipeline_world import write_answers, write_instructions

OWN = """
model = "mine/judge"
description = "Мой судья"

[prompt]
template = "{instruction} {reference_answer} {answer} {criteria_name} {criteria_rubrics}"

[reply]
score = "tag"
"""


def pollux(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command, whose tables are as wide as COLUMNS says (200)."""
    # A console takes its width when the module is imported, which another test may have done.
    wide = Console(width=int(environment.get("COLUMNS", "200")))
    with patch.object(judges, "console", wide):
        ran = CliRunner().invoke(app, arguments, env={"POLLUX_JUDGE_API_KEY": KEY, **environment})
    return ran.exit_code, ran.stdout, ran.stderr


@pytest.fixture
def judge() -> Iterator[FakeJudge]:
    with FakeJudge() as judge:
        yield judge


@pytest.fixture
def attached(world: Settings, judge: FakeJudge, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The world, judged by `pollux-4b` on a server that calls its model `judge`."""
    monkeypatch.setenv("POLLUX_JUDGE_API_KEY", KEY)
    return replace(world, profile="pollux-4b", judge_url=judge.url)


def test_the_list_has_the_packaged_and_the_homes_profiles(tmp_path: Path) -> None:
    (tmp_path / "judges").mkdir()
    (tmp_path / "judges" / "mine.toml").write_text(OWN, encoding="utf-8")
    (tmp_path / "judges" / "broken.toml").write_text("model = 1", encoding="utf-8")
    code, out, err = pollux("judges", "list", "--home", str(tmp_path), COLUMNS="1000")
    assert (code, err) == (0, "")
    assert all(word in out for word in ("pollux-4b", "ai-forever/Pollux-4B-Judge", "mine/judge", "Мой судья"))
    assert "cannot be used" in out


def test_a_misspelt_profile_is_told_the_nearest_and_the_variable_only_where_it_was_used() -> None:
    _, _, err = pollux("judges", "show", "polux-4b")
    assert "got 'polux-4b'; did you mean pollux-4b?" in err and "POLLUX_PROFILE" not in err
    assert pollux("judges", "show", "prometheus")[2].endswith("mean prometheus-7b-v2.0 or prometheus-8x7b-v2.0?\n")
    assert pollux("judges", "show", "nope")[2].endswith("got 'nope'\n")
    _, _, err = pollux("plan", POLLUX_PROFILE="pollux4b")
    assert err.startswith("error: POLLUX_PROFILE: ") and err.endswith("got 'pollux4b'; did you mean pollux-4b?\n")


def test_a_profile_is_shown_with_its_identity_its_request_and_its_prompts(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN, encoding="utf-8")
    code, out, err = pollux("judges", "show", str(path))
    assert (code, err) == (0, "")
    identity = Resources.of(Settings.from_environment({"POLLUX_PROFILE": str(path)})).judge.identity()
    assert identity.judge_id in out
    assert "tried on the real weights: no" in out
    assert "description: Мой судья" in out and "system message: none" in out
    shown = json.loads(out.partition("identity:\n")[2].partition("\nlicense:")[0])
    assert shown == json.loads(identity.canonical_json()) | {"decoding_constraint": {"read_from": {"tag": "score"}}}
    assert '"repetition_penalty": 1.0' in out
    assert "Столица Франции? Париж Столица Франции — Париж. Верность ответа 0: Ответ неверен." in out


def test_a_file_that_replaces_a_packaged_profile_is_named(tmp_path: Path) -> None:
    own = tmp_path / "judges" / "json.toml"
    own.parent.mkdir()
    own.write_text(OWN.replace("[prompt]", '[prompt]\nsystem = "Будь строг."'), encoding="utf-8")
    code, out, err = pollux("judges", "show", "json", "--home", str(tmp_path))
    assert (code, err) == (0, f"profile json is {own}, not the packaged one\n")
    assert "system message: Будь строг." in out
    listed = pollux("judges", "list", "--home", str(tmp_path), COLUMNS="1000")[1].splitlines()
    assert [f"packaged, replaced by {own}" in line for line in listed if line.startswith("json ")] == [True, False]
    assert pollux("judges", "show", str(own))[2] == pollux("judges", "show", "openai", "--home", str(tmp_path))[2] == ""


def test_the_shown_prompt_keeps_the_heading_of_an_empty_reference(tmp_path: Path) -> None:
    code, out, _ = pollux("judges", "show", "pollux-4b", "--home", str(tmp_path))
    assert code == 0
    without = out.partition("prompt without a reference:\n")[2]
    assert "### Эталонный ответ:\n\n\n### Ответ для оценки:" in without


def test_a_wrong_profile_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace("model =", "modle ="), encoding="utf-8")
    for command in ("show", "check"):
        code, out, err = pollux("judges", command, str(path))
        assert (code, out) == (1, "")
        assert f"{path}: model: a value is missing; modle: no such field; did you mean model?" in err
        assert "Traceback" not in err


def test_a_judge_is_tried_with_three_requests_and_what_was_read_is_shown(judge: FakeJudge, tmp_path: Path) -> None:
    scores = iter([1, 0, 2])

    def answer(call: Call) -> Raw:
        return as_json(completion(call.request_id, call.prompt, content=f"\n\n{next(scores)}"))

    judge.otherwise = answer
    arguments = ("judges", "check", "pollux-4b", "--judge-url", judge.url, "--home", str(tmp_path))
    code, out, err = pollux(*arguments, "--judge-model", "judge")
    assert (code, err) == (0, "")
    assert len(judge.calls) == len(TRIALS) == 3
    assert out.splitlines()[1:3] == [
        "model: judge, which the server calls judge",
        f"server: openai-compatible, version unknown, at {judge.url}",
    ]
    assert out.count("> ### Задание для оценки:") == 3
    assert "< Потому что." in out
    assert [line for line in out.splitlines() if line.startswith("read:")] == [
        "read: status ok, score 1.0",
        "read: status ok, score 0.0",
        "read: status ok, score 2.0",
    ]
    assert not (tmp_path / "ledger").exists()


def test_every_server_of_a_judge_is_tried(judge: FakeJudge, tmp_path: Path) -> None:
    with FakeJudge() as second:
        judge.otherwise, second.otherwise = replying(content="\n\n1"), replying(content="Хороший ответ!")
        check = ("judges", "check", "pollux-4b", "--judge-model", "judge", "--home", str(tmp_path))
        code, out, err = pollux(*check, "--judge-url", judge.url, "--judge-url", second.url)
        assert [line.rpartition(" at ")[2] for line in out.splitlines() if line.startswith("server: ")] == [
            judge.url,
            second.url,
        ]
        assert (code, len(judge.calls)) == (1, 3)
        assert "3 of 6 replies gave no score" in err
        assert pollux(*check, POLLUX_JUDGE_URL=f"{second.url},{judge.url}")[1].count("server: ") == 2


def test_a_score_that_no_good_judge_gives_is_pointed_out(judge: FakeJudge, tmp_path: Path) -> None:
    judge.otherwise = replying(content="\n\n0")
    code, out, _ = pollux(
        *("judges", "check", "pollux-4b", "--judge-url", judge.url, "--judge-model", "judge", "--home", str(tmp_path))
    )
    assert code == 0
    assert out.count("where one of (1.0,) was expected") == 1
    assert out.count("where one of (1.0, 2.0) was expected") == 1


def test_replies_without_a_score_fail_the_check(judge: FakeJudge, tmp_path: Path) -> None:
    judge.otherwise = replying(content="Хороший ответ!")
    code, out, err = pollux(
        *("judges", "check", "pollux-4b", "--judge-url", judge.url, "--judge-model", "judge", "--home", str(tmp_path))
    )
    assert code == 1
    assert out.count("read: status unparseable, score None (expected one number, got 'Хороший ответ!')") == 3
    assert "3 of 3 replies gave no score" in err


def test_the_check_says_what_a_server_did_not_take(tmp_path: Path) -> None:
    with EmulatedServer(AZURE) as server:
        _, out, err = pollux(
            *("judges", "check", "json", "--judge-url", server.url, "--judge-model", "judge", "--home", str(tmp_path))
        )
    assert out.count("read: status ") == 3
    assert err.count("top_k = 0 is not sent") == 1


@pytest.mark.parametrize(
    ("served", "model", "is_it"),
    [
        ("ai-forever/Pollux-4B-Judge", "ai-forever/Pollux-4B-Judge", True),
        ("Pollux-4B-Judge", "ai-forever/Pollux-4B-Judge", True),
        ("pollux-4b-judge:latest", "ai-forever/Pollux-4B-Judge", True),
        ("/models/Pollux-4B-Judge/", "ai-forever/Pollux-4B-Judge", True),
        ("Pollux-4B-Judge-Q4_K_M.gguf", "ai-forever/Pollux-4B-Judge", False),
        ("pollux-4b-judge:q4", "ai-forever/Pollux-4B-Judge", False),
        ("judge", "ai-forever/Pollux-4B-Judge", False),
        ("judge", "judge", True),
        ("ai-forever/Pollux-4B-Judge", "/srv/weights/Pollux-4B-Judge", True),
        ("other/Pollux-4B-Judge", "ai-forever/Pollux-4B-Judge", False),
        ("gpt://b1g/yandexgpt/latest", "gpt://b1g/yandexgpt/latest", True),
        ("gpt://b1g/yandexgpt-lite/latest", "gpt://b1g/yandexgpt/latest", False),
        ("gpt://b1g/yandexgpt", "yandexgpt", False),
        ("/models/other/final", "/models/pollux/final", False),
        ("/models/other/final", "final", False),
        ("/runs/a/checkpoint-1234", "checkpoint-1234", False),
        ("/hub/models--a--b/snapshots/2e8eb78c0ffee", "2e8eb78c0ffee", False),
        ("/models/other/best_model", "org/best_model", False),
    ],
)
def test_which_names_mean_the_recorded_model(served: str, model: str, is_it: bool) -> None:
    assert is_name_of(served, model) is is_it


def test_another_model_than_the_recorded_one_is_refused_with_the_two_ways_out(attached: Settings) -> None:
    with pytest.raises(AddressError) as raised, Resources.of(attached).judge.serve(lambda _: None):
        pass
    said = str(raised.value)
    assert "serves 'judge', and its verdicts would be recorded as those of 'ai-forever/Pollux-4B-Judge'" in said
    assert "same model under another name, set POLLUX_JUDGE_SERVED_MODEL=judge." in said
    assert "'judge' does not tell which, so set POLLUX_JUDGE_SERVED_MODEL=judge and" in said
    assert "--accept-served-model" not in said


def test_a_served_name_that_tells_the_model_may_be_the_recorded_one(attached: Settings, judge: FakeJudge) -> None:
    judge.model = "Pollux-4B-Judge-Q4_K_M.gguf"
    with pytest.raises(AddressError) as raised, Resources.of(attached).judge.serve(lambda _: None):
        pass
    assert "set POLLUX_JUDGE_MODEL=Pollux-4B-Judge-Q4_K_M.gguf, or pass --accept-served-model" in str(raised.value)


def test_servers_of_one_judge_with_different_models_are_refused_and_all_named(
    attached: Settings, judge: FakeJudge
) -> None:
    with FakeJudge() as second:
        judge.model, second.model = "Pollux-4B-Judge", "Pollux-4B-Judge-Q4_K_M.gguf"
        both = Resources.of(replace(attached, judge_url=f"{judge.url} {second.url}")).judge
        with pytest.raises(AddressError) as raised, both.serve(lambda _: None):
            pass
    assert f"127.0.0.1:{second.port} serves 'Pollux-4B-Judge-Q4_K_M.gguf', and its verdicts" in str(raised.value)
    assert f"127.0.0.1:{judge.port} serves 'Pollux-4B-Judge'" in str(raised.value)


def test_a_name_to_record_behind_an_alias_needs_both_settings(attached: Settings) -> None:
    quantized = replace(attached, judge_model="demo-q8")
    with pytest.raises(AddressError, match="set both where they differ"), Resources.of(quantized).judge.serve(print):
        pass
    both = Resources.of(replace(quantized, judge_served_model="judge")).judge
    with both.serve(print) as server:
        assert (server.endpoint.model, both.identity().model) == ("judge", "demo-q8")


def test_a_check_may_accept_the_served_model(judge: FakeJudge, tmp_path: Path) -> None:
    judge.otherwise = replying(content="\n\n1")
    check = ("judges", "check", "pollux-4b", "--judge-url", judge.url, "--home", str(tmp_path))
    assert pollux(*check)[0] == 1
    code, _, err = pollux(*check, "--accept-served-model")
    assert (code, err) == (0, "verdicts are recorded as those of 'judge'\n")


def test_the_name_on_the_wire_is_no_part_of_the_identity_and_the_recorded_model_is(attached: Settings) -> None:
    known_as = Resources.of(replace(attached, judge_served_model="judge")).judge
    another = Resources.of(replace(attached, judge_model="judge")).judge
    for each in (known_as, another):
        with each.serve(lambda _: None) as server:
            assert server.endpoint.model == "judge"
    assert known_as.identity().judge_id == packaged_profile("pollux-4b").identity().judge_id
    assert another.identity().judge_id != known_as.identity().judge_id
    assert another.identity().model == "judge"


def test_a_context_that_no_prompt_fits_into_is_refused_before_the_first_request(
    attached: Settings, judge: FakeJudge
) -> None:
    judge.max_model_len = packaged_profile("pollux-4b").sampling.max_tokens
    known_as = Resources.of(replace(attached, judge_served_model="judge")).judge
    with (
        pytest.raises(
            AddressError, match="has a context of 2048 tokens, and a reply of this judge alone may have 2048"
        ),
        known_as.serve(lambda _: None),
    ):
        pass
    assert not judge.calls


@pytest.mark.slow
def test_a_run_that_accepts_the_served_model_records_it(world: Settings, judge: FakeJudge) -> None:
    write_instructions(world.landing, 2)
    write_answers(world.landing, "a", 2, lambda number: f"Ответ {number}")
    environment = {**os.environ, **world.to_environment(), "POLLUX_JUDGE_API_KEY": KEY, "POLLUX_PROFILE": "pollux-4b"}
    command = [sys.executable, "-m", "pollux_dagster.cli", "run", "--judge-url", judge.url, "--accept-served-model"]
    accepted = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert accepted.returncode == 0, accepted.stderr[-2_000:]
    assert "verdicts are recorded as those of 'judge'" in accepted.stderr
    with duckdb.connect(str(world.published), read_only=True) as published:
        assert published.execute("SELECT DISTINCT model FROM meta.judges").fetchall() == [("judge",)]
    judge.stop()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.stdout.startswith("nothing is new"), again.stderr  # and the server is not asked
    command[command.index(judge.url)] = "http://127.0.0.1:9/v1"
    elsewhere = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "http://127.0.0.1:9/v1" in elsewhere.stderr and elsewhere.returncode == 1  # another one is
