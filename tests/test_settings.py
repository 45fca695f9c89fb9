"""Settings from the environment: a value nobody can use is refused by name, and settings survive the round trip."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollux_dagster.app.resources import Resources
from pollux_dagster.settings import Settings


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("POLLUX_HUMAN_AGGREGATION", "average", "mean, median, mode"),
        ("POLLUX_CALIBRATION_PROXY", "mean", "number, expectation, both"),
        ("POLLUX_PROFILE", "gpt", "pollux-4b"),
        ("POLLUX_MINIMUM_COVERAGE", "98", "between 0 and 1"),
        ("POLLUX_MAXIMUM_REJECTED_SHARE", "2", "between 0 and 1"),
        ("POLLUX_JUDGE_ENGINE", "ollama", "vllm, sglang, transformers"),
        ("POLLUX_TRUST_FILE_TIMES", "no", "true or false"),
        ("POLLUX_REPEATS", "0", "at least 1"),
        ("POLLUX_REPEATS", "many", "expected a number"),
        ("POLLUX_REPEATS", "1.5", "a whole number"),
        ("POLLUX_JUDGE_ARGUMENTS", "--name 'a", "as in a shell"),
    ],
)
def test_an_unusable_value_is_named_with_what_was_expected(variable: str, value: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"{variable}: .*{expected}.*{value}"):
        Settings.from_environment({variable: value})


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("serve {model} --port 8000", r"expected \{port\} in it"),
        ("serve {modle} --port {port}", r"no words in braces but .*; got \{modle\}"),
    ],
)
def test_a_servers_command_names_its_port_and_nothing_unknown(command: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"POLLUX_JUDGE_COMMAND: .*{expected}"):
        Settings.from_environment({"POLLUX_JUDGE_ENGINE": "command", "POLLUX_JUDGE_COMMAND": command})


def test_a_servers_command_may_have_json_in_it() -> None:
    command = """serve --port={port} --kwargs '{"enable_thinking": true}'"""
    settings = Settings.from_environment({"POLLUX_JUDGE_ENGINE": "command", "POLLUX_JUDGE_COMMAND": command})
    assert settings.judge_command == ("serve", "--port={port}", "--kwargs", '{"enable_thinking": true}')


@pytest.mark.parametrize("address", ["judge:8000", "127.0.0.1:8000/v1", "ftp://judge/v1", "http:///v1", "judge"])
def test_an_address_that_is_none_is_refused_before_anything_is_done(address: str) -> None:
    with pytest.raises(ValueError, match=f"POLLUX_JUDGE_URL: expected an address like http.*, got '{address}'"):
        Settings.from_environment({"POLLUX_JUDGE_URL": address})
    for secret in ("user:secret@judge:8000/v1", "judge:8000/v1?key=secret"):
        with pytest.raises(ValueError, match="POLLUX_JUDGE_URL: ") as refused:
            Settings.from_environment({"POLLUX_JUDGE_URL": secret})
        assert "secret" not in str(refused.value)


def test_a_judge_may_have_several_addresses() -> None:
    settings = Settings.from_environment({"POLLUX_JUDGE_URL": "http://a:1/v1, http://b:2/v1\thttp://a:1/v1"})
    assert settings.judge_url == "http://a:1/v1 http://b:2/v1"
    assert Settings.from_environment({"POLLUX_JUDGE_URL": " "}).judge_url == ""
    for secret in ("http://a:1/v1 user:hidden@b:2", "b:2/v1?key=a,hidden http://a:1/v1"):
        with pytest.raises(ValueError, match="POLLUX_JUDGE_URL: expected an address like http") as refused:
            Settings.from_environment({"POLLUX_JUDGE_URL": secret})
        assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["http://judge:99999", "http://judge:0/v1", "http://judge:eighty/v1", "http://[::1:80"]
)
def test_an_address_without_a_possible_port_is_refused_by_what_is_wrong_with_it(address: str) -> None:
    with pytest.raises(ValueError, match="port from 1 to 65535") as refused:
        Settings.from_environment({"POLLUX_JUDGE_URL": address})
    assert repr(address) in str(refused.value)
    with pytest.raises(ValueError, match="port from 1 to 65535") as refused:
        Settings.from_environment({"POLLUX_JUDGE_URL": "http://user:hid,den@judge"})
    assert "hid" not in str(refused.value)


@pytest.mark.parametrize("ending", ["/chat/completions", "/chat/completions/", "/chat/completions?api-version=1"])
def test_an_address_of_chat_completions_is_cut_to_that_of_its_server(ending: str) -> None:
    settings = Settings.from_environment({"POLLUX_JUDGE_URL": f"http://judge:8000/v1{ending}"})
    assert settings.judge_url == "http://judge:8000/v1" + "?api-version=1" * ending.endswith("=1")


VARIABLES = {
    "POLLUX_HUMAN_AGGREGATION": "median",
    "POLLUX_CALIBRATION_PROXY": "both",
    "POLLUX_REPEATS": "3",
    "POLLUX_MAXIMUM_REJECTED_SHARE": "0.1",
    "POLLUX_TRUST_FILE_TIMES": "false",
    "POLLUX_JUDGE_REASONING": "true",
    "POLLUX_OWNERS": "team:judges a@b.example",
    "POLLUX_FRESH_WITHIN_HOURS": "36",
    "POLLUX_JUDGE_ENGINE": "sglang",
    "POLLUX_JUDGE_PYTHON": "/opt/sglang/bin/python",
    "POLLUX_JUDGE_ARGUMENTS": "--tp 2 --name 'a b'",
}


def test_settings_are_the_same_after_a_round_trip_through_the_environment() -> None:
    settings = Settings.from_environment(VARIABLES)
    assert Settings.from_environment(settings.to_environment()) == settings


@pytest.mark.parametrize(
    ("home", "landing"),
    [
        ("answers/results", "answers"),
        ("answers", "answers"),
        ("results", "results/answers"),
        ("link/results", "answers"),
    ],
)
def test_home_and_landing_folder_lie_apart(
    home: str, landing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("answers").mkdir()
    Path("link").symlink_to("answers")
    with pytest.raises(ValueError, match="POLLUX_HOME: expected a folder apart from POLLUX_LANDING"):
        Settings.from_environment({"POLLUX_HOME": home, "POLLUX_LANDING": landing})


def test_a_hidden_home_may_lie_in_the_landing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.from_environment({"POLLUX_LANDING": "."}).home == tmp_path / ".pollux"


def test_engine_and_interpreter_of_a_managed_server_are_the_configured_ones() -> None:
    judge = Resources.of(Settings.from_environment(VARIABLES)).judge
    assert (judge.engine, judge.python, judge.arguments) == (
        "sglang",
        "/opt/sglang/bin/python",
        ["--tp", "2", "--name", "a b"],
    )


def test_coverage_that_a_judge_must_reach_is_its_profiles_unless_it_is_set() -> None:
    assert Settings.from_environment({}).minimum_coverage == 0.98
    assert Settings.from_environment({"POLLUX_PROFILE": "demo"}).minimum_coverage == 0.9
    strict = {"POLLUX_PROFILE": "demo", "POLLUX_MINIMUM_COVERAGE": "1"}
    assert Settings.from_environment(strict).minimum_coverage == 1


@pytest.mark.parametrize(
    "address", ["/mnt/shared", "http://bucket/x", "s3://", "s3://user:secret@bucket", "s3://b?k=v"]
)
def test_a_location_of_work_is_a_folder_or_a_bucket_without_secrets(address: str) -> None:
    with pytest.raises(ValueError, match="POLLUX_WORK_URL: expected a location like file:///") as refused:
        Settings.from_environment({"POLLUX_WORK_URL": address})
    assert "secret" not in str(refused.value)
    assert Settings.from_environment({"POLLUX_WORK_URL": "s3://bucket/x/"}).work_url == "s3://bucket/x"
    for two_slashes in ("file://shared/folder", "file:folder"):
        with pytest.raises(ValueError, match=rf"three slashes, like file:///shared/folder, got '{two_slashes}'"):
            Settings.from_environment({"POLLUX_WORK_URL": two_slashes})
