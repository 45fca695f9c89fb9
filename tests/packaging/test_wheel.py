"""The wheel, installed in an environment of its own and used in an empty folder: nothing of it needs the checkout.

What it depends on is taken from this environment, so that no index has to be reached; the project itself is not.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest

from pollux_dagster import __version__
from tests.fakes.instant_judge import MODEL, InstantJudge
from tests.pipeline_world import write_answers, write_instructions
from tests.security.running_ui import free_port

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).resolve().parents[2]
DATA = {
    *(".sql", ".json", ".jsonl", ".jinja", ".safetensors", ".typed", ".yaml", ".toml", ".txt"),
    *(".css", ".j2", ".js"),
}
# What a project folder of one's own holds to have `dg` work on the installed package: docs/reference/operations.md.
DG_TOML = """\
directory_type = "project"

[project]
root_module = "pollux_dagster"
code_location_target_module = "pollux_dagster.definitions"
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tree, in which somebody has also left results."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in ("pollux_dagster", "dbt_like_sql"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, tree / name)
    (tree / ".pollux" / "demo").mkdir(parents=True)
    (tree / ".pollux" / "demo" / "mine.jsonl").write_text("{}")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-v", "-w", str(folder), "."]
    built = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True)
    assert "Package would be ignored" not in built.stdout + built.stderr  # a folder with SQL
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts' folder of an environment that has the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    inside = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    # A path in a .pth file is searched, but .pth files in it are not read: this project's editable install is not seen.
    Path(inside, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "bin" / "python"
    install = ["-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", "--force-reinstall"]
    subprocess.run([sys.executable, *install, "--prefix", str(folder), str(wheel)], check=True, capture_output=True)
    return folder / "bin"


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere" / "answers"
    folder.mkdir(parents=True)
    write_instructions(folder, 2)
    write_answers(folder, "model-a", 2, lambda i: f"Ответ {i}.")
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Nothing of this project's, and no way to the checkout."""
    foreign = ("POLLUX_", "DAGSTER_", "PYTHONPATH", "PYTEST_")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(foreign)}, "HOME": str(folder), **more}


def run(command: list[str], folder: Path, **more: str) -> str:
    done = subprocess.run(command, cwd=folder, env=environment(folder, **more), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "empty"
    folder.mkdir()
    yield folder


def test_every_file_of_both_packages_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for name in ("pollux_dagster", "dbt_like_sql")
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {Path(name).suffix for name in wanted} <= DATA | {".py", ".md"}
    assert packed == wanted
    assert f"-{__version__}-" in wheel.name


@pytest.mark.slow  # test_every_file_of_both_packages_is_in_the_wheel says whether it is whole
def test_it_judges_a_folder_on_an_attached_server(installed: Path, empty: Path, landing: Path) -> None:
    where = run([str(installed / "python"), "-c", "import pollux_dagster; print(pollux_dagster.__file__)"], empty)
    assert Path(where).is_relative_to(installed.parent)
    with InstantJudge() as judge:
        command = [str(installed / "pollux"), "run", "--landing", str(landing), "--home", "results"]
        printed = run([*command, "--judge-url", judge.url], empty, POLLUX_JUDGE_MODEL=MODEL)
    assert "model-a" in printed
    with duckdb.connect(str(empty / "results" / "published" / "pollux.duckdb"), read_only=True) as con:
        assert con.sql("SELECT model_id, coverage, n > 0 FROM marts.model_quality").fetchall() == [
            ("model-a", 1.0, True)
        ]
        assert con.sql("SELECT git_commit FROM meta.publication").fetchall() == [(None,)]


@pytest.mark.slow  # tests/defs/test_graph.py has `dg` and Dagster load the checkout
def test_dagster_loads_it_by_the_module_and_dg_from_a_folder_of_ones_own(installed: Path, empty: Path) -> None:
    python = str(installed / "python")
    run([python, "-m", "dagster", "definitions", "validate", "-m", "pollux_dagster.definitions"], empty)
    (empty / "dg.toml").write_text(DG_TOML)
    listed = run([python, "-c", "from dagster_dg_cli.cli import main; main()", "list", "defs", "--json"], empty)
    assert '"asset_key": "marts/model_quality"' in listed


@pytest.mark.slow  # tests/security/test_ui_doors.py has the UI of the checkout answer
def test_its_ui_answers(installed: Path, empty: Path, landing: Path) -> None:
    port = free_port()
    up = subprocess.Popen(
        [str(installed / "pollux"), "up", "--port", str(port)],
        cwd=empty, env=environment(empty, POLLUX_LANDING=str(landing), POLLUX_JUDGE_URL="http://127.0.0.1:9/v1"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        query = b'{"query": "{repositoriesOrError {... on RepositoryConnection {nodes {location {name}}}}}"}'
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/graphql", query, {"Content-Type": "application/json"}
        )
        answer = ""
        while "pollux" not in answer:
            assert up.poll() is None
            with suppress(OSError), urllib.request.urlopen(request, timeout=10) as reply:
                answer = reply.read().decode()
            time.sleep(0.5)
    finally:
        up.send_signal(signal.SIGTERM)
        assert up.wait(120) == 0
    assert (empty / ".pollux" / "dagster" / "dagster.yaml").exists()
