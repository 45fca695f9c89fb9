"""The files that people and services read before the code: valid by their schemas, and true of the project."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import pollux_dagster
from tests.security.running_ui import free_port

ROOT = Path(__file__).parent.parent
GITHUB = ROOT / ".github"
CI = GITHUB / "workflows" / "ci.yml"
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        ("github-workflows", [CI]),
        ("github-issue-forms", [path for path in GITHUB.glob("ISSUE_TEMPLATE/*.yml") if path.stem != "config"]),
        ("github-issue-config", [GITHUB / "ISSUE_TEMPLATE" / "config.yml"]),
        ("citation-file-format", [ROOT / "CITATION.cff"]),
    ],
)
def test_files_follow_their_published_schemas(schema: str, paths: list[Path]) -> None:
    beside = Path(sys.executable).with_name("check-jsonschema")
    program = str(beside) if beside.exists() else shutil.which("check-jsonschema")
    if program is None:
        pytest.skip("check-jsonschema is not installed (requirements/dev.in)")
    assert paths
    command = [program, "--builtin-schema", f"vendor.{schema}", *map(str, paths)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_ci_calls_targets_that_exist() -> None:
    called = {
        target
        for job in read(CI)["jobs"].values()
        for step in job["steps"]
        for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))
    }
    assert called == {"test", "test-slow", "build"}
    assert called <= TARGETS


def test_ci_tries_the_python_versions_that_the_package_allows() -> None:
    (low, high) = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text()).groups()  # type: ignore[union-attr]
    jobs = read(CI)["jobs"]
    assert jobs["newest"]["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in range(int(low), int(high))]
    assert read(CI)[True]["schedule"], "nothing runs weekly"  # YAML reads the key `on` as true


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_smoke_of_ci_finds_a_published_leaderboard(tmp_path: Path) -> None:
    (script,) = (step["run"] for step in read(CI)["jobs"]["newest"]["steps"] if step.get("name") == "Smoke")
    for name, module in {"python": "", "pollux": "-m pollux_dagster.cli"}.items():
        (tmp_path / name).write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" {module} "$@"\n')
        (tmp_path / name).chmod(0o755)
    port = free_port()
    ran = subprocess.run(
        ["bash", "-e", "-c", script.replace(" 8000 ", f" {port} ").replace(":8000/", f":{port}/")],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "CHECKOUT": str(ROOT), "LANG": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert (tmp_path / "results" / "published" / "pollux.duckdb").exists()


def test_the_citation_is_of_this_version_and_has_what_citing_needs() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= citation.keys()
    assert citation["version"] == pollux_dagster.__version__
    assert citation["title"] == pollux_dagster.__name__
    (paper,) = citation["references"]
    assert (paper["url"].rpartition("/")[2], len(paper["authors"])) == ("2505.24616", 11)


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    versions = [version for version, _ in headings if version != "Unreleased"]
    assert versions[0] == pollux_dagster.__version__
    assert all(date for version, date in headings if version != "Unreleased")
    assert headings[0][0] in ("Unreleased", versions[0])


def test_hooks_run_what_make_test_begins_with() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for hook in (hook for repo in read(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]):
        program, *arguments = hook["entry"].split()
        words = [program.replace(".venv/bin", "$(BIN)"), *(word for word in arguments if not word.startswith("--"))]
        assert re.search(rf"^\t@?{re.escape(' '.join(words))}\b", makefile, re.MULTILINE), hook["entry"]


PAGES = [*ROOT.glob("*.md"), *GITHUB.glob("*.md"), *ROOT.glob("examples/**/*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_and_commands_exist(page: Path) -> None:
    text = page.read_text()
    for target, fragment in re.findall(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        file = page.parent / target if target else page
        assert file.exists(), f"{target} does not exist"
        if fragment:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert fragment in slugs, f"no heading #{fragment} in {file.name}"
    for line in re.findall(r"^make [a-z-]+|`make [a-z-]+", text, re.MULTILINE):
        assert line.split()[-1] in TARGETS, line


def test_dependencies_are_what_is_imported_and_all_of_it() -> None:
    """Neither a package that nobody imports, nor an import that only comes along with something else."""
    modules = {"pyyaml": "yaml", "dagster-webserver": "dagster_webserver", "vllm": None, "dagster-dg-cli": None}
    modules["openlineage-python"] = "openlineage"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = [
        *project["dependencies"],
        *(each for name in ("ui", "explore", "remote", "openlineage") for each in extras[name]),
    ]
    names = [re.split(r"[<>=!\[ ]", requirement)[0] for requirement in listed]
    declared = {modules.get(name, name.replace("-", "_")) for name in names} - {None}
    imported = {
        module.split(".")[0]
        for path in (ROOT / "pollux_dagster").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    # dagster_shared is a part of dagster that it pins itself; vLLM is imported in the engine's own process.
    foreign = imported - set(sys.stdlib_module_names) - {"pollux_dagster", "dagster_shared"}
    assert foreign == declared
