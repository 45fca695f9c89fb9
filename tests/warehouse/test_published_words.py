"""The published file explains itself to a client that knows nothing but DuckDB."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.warehouse.publish import mark_stale
from pollux_dagster.warehouse.published_words import words_of
from pollux_dagster.warehouse.sql_models import SqlModel

AT_FRONT = [
    *("calibrated_quality", "criterion_quality", "judge_agreement", "judge_coverage", "judge_exam", "leaderboard"),
    *("pairwise_comparison", "policy_comparison", "tables", "task_quality", "worst_answers"),
]


@pytest.fixture(scope="module")
def reader(published: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(published), read_only=True) as con:
        yield con


def test_what_to_quote_from_is_found_without_a_schema(reader: duckdb.DuckDBPyConnection) -> None:
    assert [name for (name,) in reader.sql("SHOW TABLES").fetchall()] == AT_FRONT
    for name in AT_FRONT:
        schema = "meta" if name == "tables" else "marts"
        rows = reader.sql(f"FROM {name}").fetchall()
        assert rows == reader.sql(f"FROM {schema}.{name}").fetchall()
        assert rows or name in ("judge_agreement", "judge_exam")


def test_a_copy_under_another_name_attached_to_another_database_says_the_same(
    reader: duckdb.DuckDBPyConnection, published: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "копия 2.duckdb"
    shutil.copyfile(published, copy)
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{copy}' AS other (READ_ONLY)")
        assert con.sql("FROM other.leaderboard").fetchall() == reader.sql("FROM leaderboard").fetchall()
        con.execute("USE other")
        assert [name for (name,) in con.sql("SHOW TABLES").fetchall()] == AT_FRONT
        assert con.sql("FROM leaderboard").fetchall() == reader.sql("FROM leaderboard").fetchall()


def test_every_table_view_and_column_has_a_comment(reader: duckdb.DuckDBPyConnection, models: list[SqlModel]) -> None:
    commented = reader.sql(
        "SELECT schema_name || '.' || table_name AS name, NULL AS column_name, comment FROM duckdb_tables() "
        "UNION ALL SELECT schema_name || '.' || view_name, NULL, comment FROM duckdb_views() WHERE NOT internal "
        "UNION ALL SELECT schema_name || '.' || table_name, column_name, comment FROM duckdb_columns() "
        "WHERE NOT internal"
    ).fetchall()
    assert [row[:2] for row in commented if not row[2]] == []
    comments = {(table, column): comment for table, column, comment in commented}
    for model in models:
        for place in (model.table, f"main.{model.name}") if model.front else (model.table,):
            assert comments[place, None] == " ".join(model.description.split())
            for column, text in model.columns.items():
                assert comments[place, column] == " ".join(text.split())
    assert comments["judging.verdicts", "latency_s"] == "Seconds that the last attempt took."
    assert comments["statistics.golden_drift", "shift"] == comments["marts.golden_drift", "shift"]


def test_the_guide_lists_every_table_and_each_example_runs(reader: duckdb.DuckDBPyConnection) -> None:
    there = reader.sql(
        "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_schema <> 'main'"
    ).fetchall()
    listed = reader.sql("FROM tables").fetchall()
    assert {table for table, *_ in listed} == {table for (table,) in there}
    assert [table for table, at_front, *_ in listed if at_front] == [
        *(f"marts.{name}" for name in AT_FRONT if name != "tables"),
        "meta.tables",
    ]
    found = 0
    for table, _, grain, description, example in listed:
        assert grain.startswith("One row") and description, table
        assert table in example
        found += bool(reader.sql(example).fetchall())
    assert found > len(listed) / 2, "most examples find something in a small publication"


def test_no_words_are_about_what_is_not_published(reader: duckdb.DuckDBPyConnection, models: list[SqlModel]) -> None:
    there = {table for (table,) in reader.sql("SELECT table_name FROM tables").fetchall()}
    assert set(words_of(models)) == there | {"judging.requests"}, "the requests' columns are only shown by Dagster"


def test_a_publication_that_was_marked_as_stale_is_still_described(published: Path, tmp_path: Path) -> None:
    target = tmp_path / "pollux.duckdb"
    shutil.copyfile(published, target)
    mark_stale(target, reason="the disk is full", run_id="run-2")
    with duckdb.connect(str(target), read_only=True) as con:
        rows = con.sql("SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'staleness'").fetchall()
        assert con.sql("SELECT count(*) FROM meta.staleness").fetchone() == (1,)
    assert dict(rows)["reason"] == "Why, in words."
    assert all(comment for _, comment in rows)
