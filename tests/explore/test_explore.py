"""The notebook answers the questions of docs/query.md on a publication, and the command says what it needs."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pollux_dagster.cli import app
from tests.fakes import fake_marimo

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "pollux_dagster" / "explore" / "notebook.py"


@pytest.mark.slow
def test_the_notebook_asks_the_questions_of_the_documentation_and_gets_answers(
    published: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    tables: list[tuple[str, Any]] = []
    monkeypatch.setitem(sys.modules, "marimo", fake_marimo.module(str(published), tables))
    spec = importlib.util.spec_from_file_location("notebook", NOTEBOOK)
    assert spec is not None and spec.loader is not None
    notebook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(notebook)
    fake_marimo.run(notebook.app, ("ask", "con", "mo"))
    assert len(tables) == 12
    empty = [note for note, rows in tables if rows.is_empty()]
    assert empty == [
        "Score by score, in the rubrics' own units; marts.judge_agreement has the figures to quote.",
        "No rows means that every row was usable.",
    ], "this world has no human scores and no rejected rows"


def test_its_sql_is_that_of_the_documentation() -> None:
    page = (ROOT / "docs" / "query.md").read_text()
    section = page.split("\n## Queries to start from\n")[1].split("\n## ")[0]
    queries = re.findall(r"^```sql\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(queries) == 10
    assert [query for query in queries if query not in NOTEBOOK.read_text()] == []


@pytest.fixture
def home(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "pollux.duckdb").symlink_to(published)
    monkeypatch.setenv("POLLUX_HOME", str(tmp_path))
    return tmp_path


def test_without_marimo_a_sentence_says_how_to_get_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["explore"])
    assert result.exit_code == 1
    assert "pip install 'pollux_dagster[explore]'" in result.output
    assert not (home / "explore.py").exists()


def test_the_notebook_in_the_home_is_the_users_and_is_never_overwritten(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())

    def call(command: list[str]) -> int:
        called.append(command)
        return 0

    monkeypatch.setattr("subprocess.call", call)
    assert CliRunner().invoke(app, ["explore", "--headless"]).exit_code == 0
    notebook = home / "explore.py"
    assert notebook.read_text() == NOTEBOOK.read_text()
    notebook.write_text("mine")
    assert CliRunner().invoke(app, ["explore", "--edit", "--port", "2718"]).exit_code == 0
    assert notebook.read_text() == "mine"
    shown, edited = (command[2:] for command in called)
    publication = ["--", "--publication", str(home / "published" / "pollux.duckdb")]
    assert shown == ["marimo", "run", str(notebook), "--token", "--headless", *publication]
    assert edited[:3] == ["marimo", "edit", "--skip-update-check"]
    assert edited[3:] == [str(notebook), "--token", "--port", "2718", *publication]


@pytest.mark.slow
def test_it_runs_in_marimo_itself(published: Path, tmp_path: Path) -> None:
    """In an environment of its own, which has this one's packages behind marimo's."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    installed = subprocess.run([python, "-m", "pip", "install", "-q", "marimo>=0.25,<0.26"], check=False)
    if installed.returncode:
        pytest.skip("marimo cannot be installed here")
    here = os.pathsep.join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])
    words = ["notebook", "--publication", str(published)]
    code = (
        f"import runpy, sys; sys.path += {here!r}.split({os.pathsep!r}); sys.argv = {words!r}; "
        f"runpy.run_path({str(NOTEBOOK)!r}, run_name='__main__')"
    )
    ran = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "MPLBACKEND": "agg"}
    )
    assert ran.returncode == 0, ran.stderr
