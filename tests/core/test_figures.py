"""One rule of rounding, in Python and in SQL."""

from __future__ import annotations

import random

import duckdb
import pytest

from pollux_dagster.core.figures import rounded, rounded_in_sql
from pollux_dagster.page.summary import score
from pollux_dagster.text_tables import figure, interval

VALUES = [0.5625, 0.0625, -0.5625, 0.1235, 1.0005, 0.0005, 1e-7, 0.0, 1.0, 2 / 3, 0.99949999]


@pytest.mark.parametrize("value", [*VALUES, *(random.Random(1).random() for _ in range(50))])
def test_python_and_sql_round_alike(value: float) -> None:
    (of_sql,) = duckdb.sql(f"SELECT {rounded_in_sql(f'({value!r})::DOUBLE')}").fetchone() or (None,)
    assert of_sql == rounded(value) == figure(value)
    assert score(value) == str(rounded(value))
    assert interval({"ci_low": value, "ci_high": value}) == f"{rounded(value)} to {rounded(value)}"


def test_halves_go_away_from_zero() -> None:
    assert [str(rounded(value)) for value in (0.5625, -0.5625, 0.1235)] == ["0.563", "-0.563", "0.124"]
