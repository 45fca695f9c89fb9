"""The examples run: the `bash` blocks of each README as they stand, and the nightly unit's own command line.

Only the judges' addresses are changed. The judges are HTTP servers of the tests, so the scores mean nothing: what is
looked at is which rows there are.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.core.profile_files import packaged_profile
from tests.fakes.fake_judge import KEY, Call, FakeJudge, Raw, as_json, completion
from tests.fakes.instant_judge import InstantJudge, score_of

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

Run = Callable[..., str]


@pytest.fixture
def judge() -> Iterator[InstantJudge]:
    with InstantJudge(model=packaged_profile("pollux-4b").model) as judge:
        yield judge


@pytest.fixture
def shell(tmp_path: Path) -> Run:
    """Runs a script in a folder that has the examples and `pollux` on its path; returns what was printed."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    pollux = tmp_path / "bin" / "pollux"
    pollux.parent.mkdir()
    pollux.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m pollux_dagster.cli "$@"\n')
    pollux.chmod(0o755)

    def run(script: str, **environment: str) -> str:
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env={"PATH": f"{pollux.parent}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    return run


def commands(example: str, **addresses: str) -> list[str]:
    """The `bash` blocks of an example's README, with the judges' addresses replaced: `at_8000=…`."""
    page = (EXAMPLES / example / "README.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for place, url in addresses.items():
        port = place.removeprefix("at_")
        assert f"http://127.0.0.1:{port}/v1" in page
        blocks = [block.replace(f"http://127.0.0.1:{port}/v1", url) for block in blocks]
    return blocks


def published(home: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(home / "published" / "pollux.duckdb"), read_only=True) as con:
        return con.execute(query).fetchall()


def test_own_criteria(shell: Run, tmp_path: Path, judge: InstantJudge) -> None:
    planned_and_run, by_criterion, worst = commands("own_criteria", at_8000=judge.url)
    assert re.search(r"assistant-a +24 ", shell(planned_and_run))  # 8 replies, 3 criteria
    printed = shell(by_criterion)
    assert all(name in printed for name in ("Решение вопроса", "Пустые слова", "Разглашение чужих")), printed
    assert "assistant-b" in shell(worst)
    home = tmp_path / ".pollux" / "own_criteria"
    assert published(home, "SELECT reason FROM raw.rejected_rows") == []
    assert published(home, "SELECT criteria_name, is_gate, higher_is_better FROM raw.criteria ORDER BY 1") == [
        ("Пустые слова", False, False),
        ("Разглашение чужих данных", True, None),
        ("Решение вопроса", False, True),
    ]
    assert published(home, "SELECT DISTINCT model_id, n_requests FROM marts.policy_strict ORDER BY 1") == [
        ("assistant-a", 16),
        ("assistant-b", 16),
    ]


def other_opinion(call: Call) -> Raw:
    """A second judge, which replies as POLLUX's 7B does and does not always agree."""
    score = score_of(f"{call.prompt}\n\nвторое мнение")
    return as_json(completion(call.request_id, content=f"[FEEDBACK] Потому что. [RESULT] {score} [END]"))


def test_two_judges(shell: Run, tmp_path: Path, judge: InstantJudge) -> None:
    with FakeJudge(other_opinion) as second:
        second.model = packaged_profile("pollux-7b").model
        both, agreement, nearer, order = commands("two_judges", at_8000=judge.url, at_8001=second.url)
        shell(both, POLLUX_JUDGE_API_KEY=KEY)
    assert "all criteria" in shell(agreement)
    assert "rmse" in shell(nearer)
    assert len(re.findall(r"topol", shell(order))) == 2
    home = tmp_path / ".pollux" / "two_judges"
    query = "SELECT judge_name, model_id, prompt_id, criterion_id, score FROM staging.scores"
    scores: dict[object, dict[object, object]] = {}
    for judge_name, *request, score in published(home, query):
        scores.setdefault(judge_name, {})[tuple(request)] = score
    first, other = (scores[name] for name in sorted(scores, key=str))
    assert len(first) == len(other) == 60  # 10 questions, 3 models, 2 criteria
    equal = sum(first[request] == other[request] for request in first)
    assert 0 < equal < 60
    rows = published(home, (EXAMPLES / "two_judges" / "agreement.sql").read_text())
    ((_, _, _, n, share, *_),) = (row for row in rows if row[2] == "all criteria")
    assert (n, share) == (60, equal / 60)
    assert sorted(row[2] for row in rows) == ["all criteria", "Верность", "Ясность"]  # type: ignore[type-var]
    assert published(home, "SELECT n_judges, n FROM marts.judge_comparison") == [(2, 60), (2, 60)]


def test_nightly_by_hand(shell: Run, tmp_path: Path, judge: InstantJudge) -> None:
    (by_hand,) = commands("nightly")
    settings = tmp_path / "examples" / "nightly" / "pollux.env"
    settings.write_text(settings.read_text().replace("http://127.0.0.1:8000/v1", judge.url))
    shell(by_hand)
    assert published(tmp_path / ".pollux" / "nightly", "SELECT count(*) FROM marts.leaderboard") == [(2,)]


@pytest.fixture
def unit(tmp_path: Path) -> ConfigParser:
    """The nightly service on this machine: `/` of its paths is a folder of the test."""
    text = (EXAMPLES / "nightly" / "pollux-nightly.service").read_text()
    text = re.sub(r"(?<=[=:])/(etc|opt|srv|var)/", rf"{tmp_path}/root/\1/", text)
    found = ConfigParser(interpolation=None, strict=False, comment_prefixes=("#", ";"))
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(text)
    return found


def test_the_nightly_unit_judges_once_and_then_finds_nothing_to_do(
    shell: Run, unit: ConfigParser, tmp_path: Path, judge: InstantJudge
) -> None:
    root, service = tmp_path / "root", unit["Service"]
    landing = root / "srv/pollux/landing"
    shutil.copytree(EXAMPLES / "own_criteria" / "landing", landing)
    settings = dict(
        line.split("=", 1)
        for line in (EXAMPLES / "nightly" / "pollux.env").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert service["EnvironmentFile"] == str(root / "etc/pollux/pollux.env")
    assert settings["POLLUX_HOME"] == f"/var/lib/{service['StateDirectory']}"
    settings = {name: re.sub(r"^/(srv|var)/", rf"{root}/\1/", value) for name, value in settings.items()}
    settings["POLLUX_JUDGE_URL"] = judge.url
    name, source = service["LoadCredential"].split(":")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / name).write_text("a-key\n")
    assert source == str(root / "etc/pollux/judge.key")
    variable, value = service["Environment"].replace("%d", str(credentials)).split("=", 1)
    program, *arguments = shlex.split(service["ExecStart"])
    assert program == str(root / "opt/pollux/.venv/bin/pollux")
    for _ in range(2):
        shell(shlex.join(["pollux", *arguments]), **settings, **{variable: value})
        asked = judge.prompts.total()
    assert asked == len(judge.prompts) > 0  # each prompt once, in the first night
    assert published(Path(settings["POLLUX_HOME"]), "SELECT count(*) FROM marts.leaderboard") == [(2,)]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    units = ("pollux-nightly.service", "pollux-nightly.timer")
    for name in units:
        text = (EXAMPLES / "nightly" / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/pollux/.venv/bin/pollux", sys.executable))
    ran = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            "--man=no",
            tmp_path / "pollux-nightly.service",
            tmp_path / "pollux-nightly.timer",
        ],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    about_ours = [line for line in ran.stderr.splitlines() if "pollux" in line]
    assert about_ours == [], ran.stderr
    (when,) = re.findall(
        r"^OnCalendar=(.+)$", (EXAMPLES / "nightly" / "pollux-nightly.timer").read_text(), re.MULTILINE
    )
    subprocess.run(["systemd-analyze", "calendar", when], check=True, capture_output=True)


def test_every_file_of_an_example_is_named_in_its_readme() -> None:
    for example in (folder for folder in EXAMPLES.iterdir() if folder.is_dir()):
        page = (example / "README.md").read_text()
        for file in (path for path in example.rglob("*") if path.is_file() and path.name != "README.md"):
            name = str(file.relative_to(example)).removeprefix("landing/")
            assert name in page or file.parent.name == "answers", f"{example.name}: README.md does not name {name}"
            if file.suffix == ".jsonl":
                assert [json.loads(line) for line in file.read_text().splitlines()]
