"""CONTRIBUTING.md is true: its blocks are applied to a copy of the tree, its commands run, the outcome looked at.

In each section a block with a file's name is that file, a `diff` is applied with `git apply`, and the `bash` blocks are
run by one shell in the root of the copy, where `.venv/bin` leads to the interpreter and the package of the copy.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from tests.security.running_ui import free_port

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTED_PORT = "8000"
pytestmark = pytest.mark.timeout(600)

Follow = Callable[[str], str]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The judge for development, started as the page says but for the port."""
    (line,) = re.findall(r"^\.venv/bin/python (tests/\S+) 8000$", SECTIONS["Set up"], re.MULTILINE)
    chosen = free_port()
    judge = subprocess.Popen([sys.executable, line, str(chosen)], cwd=ROOT)
    try:
        _wait_for(f"http://127.0.0.1:{chosen}/health")
        yield chosen
    finally:
        judge.kill()
        judge.wait()


@pytest.fixture
def follow(tmp_path: Path, port: int) -> Follow:
    """Does what a section of the page says, on top of "Set up", in a copy of its own; returns what was printed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():  # neither a deleted file that git still lists nor a link to a folder
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / name)
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name, module in {"python": "", "pollux": " -m pollux_dagster.cli"}.items():
        (commands / name).write_text(
            f'#!/bin/sh\nPYTHONPATH="{tmp_path}" exec "{sys.executable}"{module} "$@"\n', encoding="utf-8"
        )
        (commands / name).chmod(0o755)
    _apply(SECTIONS["Set up"], tmp_path)

    def do(section: str) -> str:
        _apply(SECTIONS[section], tmp_path)
        script = "".join(content for language, _, content in BLOCK.findall(SECTIONS[section]) if language == "bash")
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace(f":{DOCUMENTED_PORT}/", f":{port}/")],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "COLUMNS": "200", "LANG": "C.UTF-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    return do


def _apply(section: str, folder: Path) -> None:
    for language, name, content in BLOCK.findall(section):
        if language == "diff":
            applied = subprocess.run(
                ["git", "apply", "-"], cwd=folder, input=content, capture_output=True, text=True, check=False
            )
            assert applied.returncode == 0, f"{applied.stderr}\n{content}"
        elif name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")


def _wait_for(url: str) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < until, f"nothing answers at {url}"
            time.sleep(0.2)


def published(folder: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(folder / ".pollux/published/pollux.duckdb"), read_only=True) as con:
        return con.execute(query).fetchall()


@pytest.mark.slow
def test_a_reader_is_added(follow: Follow, tmp_path: Path) -> None:
    printed = follow("Add a reader for a file format")
    assert "7 passed" in printed, printed
    (planned,) = re.findall(r"^ *support-7b +(\d+) ", printed, re.MULTILINE)
    assert int(planned) > 0, printed
    is_formatted(tmp_path, "pollux_dagster/ingest", "tests/ingest", "tests/test_docs.py")


@pytest.mark.slow
def test_a_judge_profile_is_added(follow: Follow, tmp_path: Path) -> None:
    follow("Add a judge profile")
    judged = published(tmp_path, "SELECT judge_name, model_id FROM marts.leaderboard ORDER BY ALL")
    assert [model for _, model in judged] == ["alpha", "beta"]
    assert {str(judge).partition("@")[0] for judge, _ in judged} == {"t-pro"}
    is_formatted(tmp_path, "pollux_dagster/core")


@pytest.mark.slow
def test_a_criterion_is_added(follow: Follow, tmp_path: Path) -> None:
    follow("Add a criterion")
    query = "SELECT model_id, n FROM marts.criterion_quality WHERE criteria_name = 'Вежливый тон' ORDER BY ALL"
    assert published(tmp_path, query) == [("alpha", 1), ("beta", 1)]


@pytest.mark.slow
def test_a_table_is_added(follow: Follow, tmp_path: Path) -> None:
    follow("Add a table")
    rows = published(tmp_path, "SELECT model_id, difficulty, n > 0 FROM marts.difficulty_quality ORDER BY ALL")
    assert rows == [(model, level, True) for model in ("alpha", "beta") for level in ("easy", "hard", "medium")]
    assert "marts/difficulty_quality" in (tmp_path / "tests/defs/asset_graph.json").read_text()
    assert "## `marts.difficulty_quality`" in (tmp_path / "docs/reference/tables.md").read_text()


@pytest.mark.slow
def test_a_check_is_added_and_fails_on_the_planted_row(follow: Follow, tmp_path: Path) -> None:
    follow("Add a check")
    query = "SELECT passed, failing_rows, sample FROM meta.check_results WHERE check_name = ?"
    with duckdb.connect(str(tmp_path / ".pollux/published/pollux.duckdb"), read_only=True) as con:
        ((passed, failing, sample),) = con.execute(query, ["answers_differ_from_their_instruction"]).fetchall()
    assert (passed, failing) == (False, 1)
    assert json.loads(sample)[0]["model_id"] == "echo"
    is_formatted(tmp_path, "pollux_dagster/warehouse")


def test_every_diff_fits_the_tree() -> None:
    """What the slow tests need first, told at once to whoever moves the code that the page quotes."""
    diffs = [content for language, _, content in BLOCK.findall(PAGE) if language == "diff"]
    assert diffs
    misfits = []
    for diff in diffs:
        applied = subprocess.run(
            ["git", "apply", "--check", "-"], cwd=ROOT, input=diff, capture_output=True, text=True, check=False
        )
        if applied.returncode != 0:
            misfits.append(f"{applied.stderr}\n{diff}")
    assert not misfits, "\n".join(misfits)


def test_every_section_that_adds_something_is_tested() -> None:
    tested = set(re.findall(r'follow\("(.+?)"\)', Path(__file__).read_text()))
    assert tested == {name for name in SECTIONS if name.startswith("Add ")}


def is_formatted(folder: Path, *changed: str) -> None:
    """What `make test` begins with, for what a contributor adds; of that only ruff, since mypy takes a minute."""
    for arguments in (["check"], ["format", "--check"]):
        command = [str(Path(sys.executable).with_name("ruff")), *arguments, *changed]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
