"""A build replaces the table whole or not at all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.warehouse.connection import connect
from pollux_dagster.warehouse.materialize import SqlCheckFailedError, build_sql_model
from pollux_dagster.warehouse.schema import create_schema
from pollux_dagster.warehouse.sql_model_files import load_sql_models
from pollux_dagster.warehouse.sql_models import SqlModel

HEADER = """/*
description: Numbers.
owners: [team:evaluation]
materialized: {kind}
columns:
  n: A number.
checks:
  - not_null: [n]
  - name: small
    description: Numbers stay below 3.
    severity: {severity}
    sql: SELECT n FROM marts.numbers WHERE n >= 3
*/
"""


def numbers(root: Path, select: str, *, severity: str = "error", kind: str = "table") -> SqlModel:
    path = root / "marts" / "numbers.sql"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER.format(severity=severity, kind=kind) + select)
    (model,) = load_sql_models(root)
    return model


def rows(con: duckdb.DuckDBPyConnection) -> list[int]:
    return [n for (n,) in con.execute("SELECT n FROM marts.numbers ORDER BY n").fetchall()]


def test_a_build_reports_what_it_made(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report = build_sql_model(con, numbers(tmp_path, "SELECT range AS n FROM range(3)"))
    assert (report.table, report.rows, report.columns) == ("marts.numbers", 3, {"n": "BIGINT"})
    assert [(check.name, check.passed) for check in report.checks] == [("not_null_n", True), ("small", True)]


def test_a_failed_check_keeps_the_last_good_table(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    build_sql_model(con, numbers(tmp_path, "SELECT 1 AS n"))
    with pytest.raises(SqlCheckFailedError, match=r"small \(Numbers stay below 3\.\): 97 failing rows") as caught:
        build_sql_model(con, numbers(tmp_path, "SELECT range AS n FROM range(100)"))
    assert rows(con) == [1]
    (small,) = [check for check in caught.value.report.checks if check.name == "small"]
    assert (small.failing_rows, len(small.sample), small.sample[0]) == (97, 20, {"n": 3})


def test_a_failed_warning_replaces_the_table_and_is_reported(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report = build_sql_model(con, numbers(tmp_path, "SELECT 5 AS n", severity="warn"))
    assert rows(con) == [5]
    assert [check.passed for check in report.checks] == [True, False]


def test_check_results_are_kept_even_when_the_build_is_refused(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(SqlCheckFailedError):
        build_sql_model(con, numbers(tmp_path, "SELECT 7 AS n"), run_id="run-9")
    kept = con.execute(
        "SELECT run_id, asset, check_name, blocking, passed, failing_rows, sample FROM meta.check_results "
        "WHERE NOT passed"
    ).fetchall()
    assert [row[:6] for row in kept] == [("run-9", "marts.numbers", "small", True, False, 1)]
    assert json.loads(kept[0][6]) == [{"n": 7}]


def test_an_error_in_the_middle_keeps_the_last_good_table(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    build_sql_model(con, numbers(tmp_path, "SELECT 1 AS n"))
    con.execute(
        "INSERT INTO raw.model_outputs BY NAME SELECT 'm' AS model_id, 'p' AS prompt_id, 0 AS sample_index, "
        "'not a number' AS answer, 'h' AS answer_hash, 'f' AS file_path, 1 AS row_number"
    )
    with pytest.raises(duckdb.ConversionException):
        build_sql_model(con, numbers(tmp_path, "SELECT answer::INTEGER AS n FROM raw.model_outputs"))
    assert rows(con) == [1]
    con.execute("BEGIN; COMMIT")  # no transaction was left open


def test_a_view_can_become_a_table_and_a_table_a_view(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for kind, n in (("view", 0), ("table", 1), ("view", 2)):
        build_sql_model(con, numbers(tmp_path, f"SELECT {n} AS n", kind=kind))
        assert rows(con) == [n]


def test_lineage_is_kept_beside_the_table_and_replaced_with_it(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for column in ("sample_index", "row_number"):
        build_sql_model(con, numbers(tmp_path, f"SELECT {column} AS n FROM raw.model_outputs"))
        assert con.execute("FROM meta.column_lineage").fetchall() == [
            ("marts.numbers", "n", "raw.model_outputs", column)
        ]


@pytest.mark.slow
def test_a_build_killed_in_the_middle_leaves_the_last_good_table(tmp_path: Path) -> None:
    database = tmp_path / "w.duckdb"
    con = connect(database)
    create_schema(con)
    build_sql_model(con, numbers(tmp_path, "SELECT 1 AS n"))
    con.close()
    # The replacement is written first, then its check counts for minutes: killed between write and swap.
    numbers(tmp_path, "SELECT 2 AS n")
    model = tmp_path / "marts" / "numbers.sql"
    endless = "SELECT count(*) AS c FROM marts.numbers, range(10000000000), range(1000) HAVING count(*) = 0"
    model.write_text(model.read_text().replace("SELECT n FROM marts.numbers WHERE n >= 3", endless))
    script = (
        "import sys, pathlib\n"
        "from pollux_dagster.warehouse.materialize import build_sql_model\n"
        "from pollux_dagster.warehouse.connection import connect\n"
        "from pollux_dagster.warehouse.sql_model_files import load_sql_models\n"
        "(model,) = load_sql_models(pathlib.Path(sys.argv[2]))\n"
        "con = connect(sys.argv[1])\n"
        "print('building', flush=True)\n"
        "build_sql_model(con, model)\n"
        "print('built', flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(database), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "building\n"
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=1.5)
    child.send_signal(signal.SIGKILL)
    assert child.communicate()[0] == ""
    con = connect(database)
    assert rows(con) == [1]
    assert con.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'marts'").fetchall() == [
        ("numbers",)
    ]
    con.close()
