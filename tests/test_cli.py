"""What the `pollux` command says when there is nothing to judge, and that two first uses of a home may meet."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pollux_dagster import __version__
from pollux_dagster.cli import app
from pollux_dagster.cli.terminal import console
from pollux_dagster.settings import Settings
from pollux_dagster.text_tables import print_rows
from tests.fakes.instant_judge import InstantJudge

OPEN = """
import sys
from pathlib import Path
from pollux_dagster.runs.instance import open_instance
print("ready", flush=True)
sys.stdin.readline()
with open_instance(Path(sys.argv[1])) as instance:
    print(len(instance.get_runs()))
"""


@pytest.mark.parametrize("group", [[], ["judges"], ["golden"]], ids=" ".join)
def test_the_list_of_commands_cuts_no_description_on_80_columns(group: list[str]) -> None:
    shown = CliRunner().invoke(app, [*group, "--help"], terminal_width=80).stdout
    _, listed = shown.split("Commands:\n")
    assert listed.strip()
    assert "..." not in listed


def test_a_folder_without_answers_is_an_error_that_names_it_and_why_its_rows_were_refused(world: Settings) -> None:
    (world.landing / "instructions.jsonl").write_text('{"prompt_id": "a", "instruction": "q"}\n')
    (world.landing / "broken.jsonl").write_text("garbage\n")
    with InstantJudge() as judge:
        ran = CliRunner().invoke(app, ["run", "--judge-url", judge.url], env=world.to_environment())
    assert ran.exit_code == 1
    assert f"expected answers of at least one model in {world.landing}, found none" in ran.stderr
    assert "  broken.jsonl" in ran.stderr
    assert "`pollux doctor`" in ran.stderr
    assert "unknown_format" in ran.stderr


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("count", [1, 4, 5, 12])
def test_a_table_wider_than_80_columns_loses_nothing(count: int, is_terminal: bool) -> None:
    columns = [f"name{at:02}" for at in range(count)]
    row = [f"{at:02}-{'x' * 12}" for at in range(count)] if count > 1 else ["y" * 300]
    out = io.StringIO()
    print_rows(Console(file=out, width=80, force_terminal=is_terminal), "Title", columns, [row, row])
    printed = "".join(out.getvalue().split())
    assert all(printed.count(cell) >= 2 for cell in row) or printed.count("y") == 600
    assert all(name in printed for name in [*columns, "Title"])
    if is_terminal:
        assert max(map(len, out.getvalue().splitlines())) <= 80 + len("\x1b[1m\x1b[0m" * 8)


def test_what_goes_into_a_pipe_has_every_column_whole_though_their_cells_are_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    out = io.StringIO()
    columns = [f"labels_standard_error_{at:02}" for at in range(30)]
    print_rows(type(console)(file=out), "", columns, [[None] * len(columns)])
    assert out.getvalue().count("labels_stand") == len(columns)
    assert len({line.count("labels_stand") for line in out.getvalue().splitlines()} - {0}) == 1, "in one line"


@pytest.mark.parametrize("width", [70, 80, 90])
def test_the_end_of_a_table_that_just_fits_is_not_cut_off(width: int) -> None:
    columns = ("instruction", "task", "score", "most off by", "its score", "why", "verdict")
    rows = [
        (str(at), "счёт", "0.000", f"{words} вместо ответа", "1", "Потому что.", f"dcf9728e6f{at}a")
        for at, words in enumerate(["Отказ или заглушка", "Отсутствие", "界" * 20])
    ]
    out = io.StringIO()
    print_rows(Console(file=out, width=width), "Title", columns, rows)
    assert all(row[-1] in out.getvalue() for row in rows)
    assert out.getvalue().count("界") == 20


def test_the_version_is_the_packages_and_a_wrong_option_ends_with_2() -> None:
    asked = CliRunner().invoke(app, ["--version"])
    assert (asked.exit_code, asked.output) == (0, f"pollux_dagster {__version__}\n")
    assert CliRunner().invoke(app, ["show", "--hom", "x"]).exit_code == 2


@pytest.mark.slow
def test_processes_that_open_a_new_home_at_the_same_time_all_get_it(world: Settings) -> None:
    command = [sys.executable, "-c", OPEN, str(world.dagster_home)]
    opening = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in opening:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in opening:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in opening:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out) == (0, "0\n"), err
