"""Hostile text where people look at it: the Dagster UI, the terminal, the log. It is shown and never obeyed."""

from __future__ import annotations

import ast
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

import pollux_dagster
from pollux_dagster.cli import app
from pollux_dagster.core.text import escaped
from pollux_dagster.defs.metadata import MAX_CELL, rows_table
from pollux_dagster.queries import print_query
from pollux_dagster.runs.terminal import _Line
from tests.security.hostile import CONTROLS, HOSTILE, acts

PACKAGE = Path(pollux_dagster.__file__).parent
# What the UI renders as something other than the text it is given.
RENDERED = {"md", "url", "notebook", "MarkdownMetadataValue", "UrlMetadataValue", "NotebookMetadataValue"}


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def test_no_metadata_is_markdown_or_a_link() -> None:
    for path, tree in modules():
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        of_constants = [
            call.func
            for call in calls
            if call.args
            and not call.keywords
            and all(isinstance(arg, ast.Name) and arg.id.isupper() for arg in call.args)
        ]
        for node in ast.walk(tree):
            if node in of_constants:
                continue  # such as the address of the report: nothing in it comes from outside
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            owner = node.value if isinstance(node, ast.Attribute) else None
            owned = isinstance(owner, ast.Attribute | ast.Name) and "MetadataValue" in ast.unparse(owner)
            assert not (name in RENDERED and (owned or name.endswith("Value"))), f"{path}: {ast.unparse(node)}"


def test_no_html_is_made_by_pasting_texts_together() -> None:
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                literal = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
                assert not any(tag in literal for tag in ("<td", "<div", "<p>", "<a ")), f"{path}:{node.lineno}"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_of_the_ui_holds_cut_text_without_control_characters(name: str) -> None:
    value = rows_table(pl.DataFrame({"model_id": [HOSTILE[name]], "reasons": [[HOSTILE[name]]], "n": [1]}))
    assert isinstance(value, dg.TableMetadataValue)
    (record,) = value.records
    for cell in (record.data["model_id"], record.data["reasons"]):
        assert isinstance(cell, str)
        assert len(cell) <= MAX_CELL
        assert not acts(cell)
        assert "\n" not in cell
    assert record.data["n"] == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_the_terminal_shows_hostile_text_and_does_not_obey_it(name: str) -> None:
    shown = escaped(HOSTILE[name])
    assert not acts(shown)
    assert "\n" not in shown


@pytest.mark.parametrize("character", CONTROLS)
def test_every_character_that_moves_hides_or_reorders_text_becomes_an_escape(character: str) -> None:
    assert not character.isprintable()
    assert escaped(character).startswith("\\")


def test_a_printed_table_is_text_whatever_its_cells_and_columns_say(tmp_path: Path) -> None:
    published = tmp_path / "published.duckdb"
    with duckdb.connect(str(published)) as con:
        con.execute("CREATE TABLE t (name VARCHAR, answer VARCHAR)")
        con.executemany("INSERT INTO t VALUES (?, ?)", [[k, v[:500]] for k, v in HOSTILE.items()])
    out = io.StringIO()
    query = 'SELECT name, answer, [answer] AS listed, answer AS "\x1b[2J[bold]" FROM t'
    print_query(published, query, Console(file=out, force_terminal=False, width=200))
    printed = out.getvalue()
    assert not acts(printed)
    assert "[bold red]x[/bold red]" in printed.replace("\n", "")


def test_an_error_that_quotes_a_value_is_printed_without_its_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "published").mkdir()
    with duckdb.connect(str(tmp_path / "published" / "pollux.duckdb")) as con:
        con.execute("CREATE TABLE t AS SELECT ? AS answer", [HOSTILE["ansi clear"] + HOSTILE["bidi"]])
    monkeypatch.setenv("POLLUX_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["query", "SELECT answer::INTEGER FROM t"])
    assert result.exit_code == 1
    assert "ERROR" in result.output
    assert not acts(result.output)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_log_line_stays_one_entry_without_control_characters(name: str) -> None:
    record = logging.LogRecord("run", logging.INFO, "", 0, HOSTILE[name].replace("%", "%%"), None, None)
    first, *rest = _Line().format(record).split("\n")
    assert not acts(first + "".join(rest))
    assert all(line.startswith(" " * 10) for line in rest), "a line of the message could pass for an entry of the log"
