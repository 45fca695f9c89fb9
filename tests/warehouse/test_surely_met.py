"""What the database says of expectations is what Great Expectations says of them, and in doubt it says nothing."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import duckdb
import pandas as pd
import pytest

from pollux_dagster.warehouse.audit import _validate
from pollux_dagster.warehouse.contracts import NO_ROWS, Expectation, not_null, unique
from pollux_dagster.warehouse.surely_met import surely_met

KNOWN: Expectation = ("expect_column_values_to_be_in_set", {"column": "word", "value_set": ["ok", "off_scale"]})
SHARE: Expectation = (
    "expect_column_values_to_be_between",
    {"column": "share", "min_value": 0, "max_value": 1, "strict_min": True},
)
AT_MOST: Expectation = ("expect_column_values_to_be_between", {"column": "number", "max_value": 2})
EVERY_KIND = (*not_null("word"), *unique("word"), *unique("word", "number"), KNOWN, SHARE, AT_MOST)
COLUMNS = {"word": "VARCHAR", "number": "INTEGER", "share": "DOUBLE"}
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "as expected": [("ok", 1, 0.5), ("off_scale", 2, 1.0)],
    "none": [],
    "nulls": [(None, None, None), ("ok", None, None), (None, 2, 0.5)],
    "repeated": [("ok", 1, 0.5), ("ok", 1, 0.5)],
    "repeated in one column, at the end of a range": [("ok", 1, 0.0), ("ok", 2, 0.5)],
    "repeated without a word": [(None, 1, 0.5), (None, 1, 0.5)],
    "out of range, of no set": [("OK", 3, 1.5), ("off_scale", -1, -0.5)],
}


def world(rows: list[tuple[Any, ...]]) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(f"CREATE TABLE t ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})")
    if rows:
        con.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    return con


def great_expectations_says(frame: pd.DataFrame, expectations: tuple[Expectation, ...]) -> dict[str, bool]:
    """By the expectation's name and column."""
    return {name: bool(result["success"]) and not problem for name, result, problem in _validate(frame, expectations)}


def test_the_database_says_what_great_expectations_says() -> None:
    said: set[tuple[str, bool]] = set()
    for rows in ROWS.values():
        with world(rows) as con:
            theirs = great_expectations_says(con.sql("FROM t").df(), (*EVERY_KIND, *NO_ROWS))
            for kind, arguments in (*EVERY_KIND, *NO_ROWS):
                name = f"{kind}({arguments.get('column', arguments.get('column_list', ''))})"
                met = surely_met(con, "FROM t", [(kind, arguments)])
                assert met == theirs[name], (rows, name)
                said.add((name, met))
    assert len(said) == 2 * len((*EVERY_KIND, *NO_ROWS)), "each was met and violated"


def test_all_have_to_be_met() -> None:
    with world(ROWS["as expected"]) as con:
        assert surely_met(con, "FROM t", EVERY_KIND)
        assert not surely_met(con, "FROM t", (*EVERY_KIND, *NO_ROWS))


@pytest.mark.parametrize(
    "expectation",
    [
        ("expect_column_values_to_not_be_null", {"column": "Word"}),
        ("expect_column_values_to_not_be_null", {"column": "word", "mostly": 0.5}),
        ("expect_column_values_to_be_between", {"column": "share", "min_value": 0, "strict_max": True}),
        ("expect_column_values_to_be_between", {"column": "word", "min_value": 0}),
        ("expect_column_values_to_be_in_set", {"column": "number", "value_set": ["1"]}),
        ("expect_column_mean_to_be_between", {"column": "share", "max_value": 1}),
    ],
)
def test_what_is_not_known_here_is_not_said_to_be_met(expectation: Expectation) -> None:
    with world(ROWS["as expected"]) as con:
        assert not surely_met(con, "FROM t", [expectation])


def test_a_number_that_is_none_is_a_null_as_it_is_in_a_frame() -> None:
    with world([("ok", 1, math.nan)]) as con:
        assert not surely_met(con, "FROM t", not_null("share"))
        assert [*great_expectations_says(con.sql("FROM t").df(), not_null("share")).values()] == [False]


def test_great_expectations_is_not_loaded_for_checks_that_pass() -> None:
    code = (
        "import sys, duckdb; from pollux_dagster.warehouse.surely_met import surely_met; "
        "from pollux_dagster.warehouse import audit; from pollux_dagster.warehouse.contracts import not_null; "
        "assert surely_met(duckdb.connect(), 'SELECT 1 AS x', not_null('x')); "
        "assert not {'great_expectations', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
