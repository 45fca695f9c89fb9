"""Asks the database whether expectations hold, so that Great Expectations is loaded only where one may not.

Importing Great Expectations takes three seconds, and it needs every checked row in a pandas frame. What is said here is
never more than it would say: `surely_met` is true only where every expectation would succeed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from pollux_dagster.warehouse.contracts import Expectation

_BOUNDS = {"min_value": ">=", "max_value": "<="}
_FRACTIONS = {"FLOAT", "DOUBLE"}
_NUMBERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", *_FRACTIONS}
_UNTOLD: tuple[str, list[Any]] = ("FALSE", [])


def surely_met(con: duckdb.DuckDBPyConnection, query: str, expectations: Sequence[Expectation]) -> bool:
    """Whether the rows of `query` surely meet every one of `expectations`.

    False where one is violated, and where that cannot be told here: an expectation or an argument of another kind than
    those of `contracts`, a column that is not there or of another type.

    Raises duckdb.Error where the query cannot be run.
    """
    rows = con.sql(query)
    types = dict(zip(rows.columns, map(str, rows.types), strict=True))
    conditions, values = ["count(*) >= 0"], []
    for kind, arguments in expectations:
        condition, own = _condition(kind, arguments, types)
        conditions.append(condition)
        values += own
    met = f"SELECT {' AND '.join(conditions)} FROM ({query}) AS found"  # noqa: S608 - our own text
    return con.execute(met, values).fetchone() == (True,)


def _condition(kind: str, arguments: Mapping[str, Any], types: Mapping[str, str]) -> tuple[str, list[Any]]:
    """A condition on all rows, an aggregate, and the values of its parameters."""
    names = arguments.get("column_list") or [arguments[name] for name in ("column",) if name in arguments]
    if any(name not in types for name in names):
        return _UNTOLD
    columns = [f'"{name}"' for name in names]
    kinds = {types[name] for name in names}
    match (kind, *sorted(arguments)):
        case ("expect_table_row_count_to_equal", "value"):
            return "count(*) = ?", [arguments["value"]]
        case ("expect_column_values_to_not_be_null", "column"):
            # A frame has one word for NULL and for NaN.
            null = f"{columns[0]} IS NULL" + (f" OR isnan({columns[0]})" if kinds <= _FRACTIONS else "")
            return f"count(*) FILTER (WHERE {null}) = 0", []
        case ("expect_column_values_to_be_unique", "column"):
            return f"count({columns[0]}) = count(DISTINCT {columns[0]})", []
        case ("expect_compound_columns_to_be_unique", "column_list"):
            return f"count(*) = count(DISTINCT row({', '.join(columns)}))", []
        case ("expect_column_values_to_be_in_set", "column", "value_set") if kinds == {"VARCHAR"}:
            return f"count(*) FILTER (WHERE NOT list_contains(?, {columns[0]})) = 0", [arguments["value_set"]]
        case ("expect_column_values_to_be_between", *_) if kinds <= _NUMBERS:
            return _between(columns[0], {name: value for name, value in arguments.items() if name != "column"})
    return _UNTOLD


def _between(column: str, bounds: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Nulls are not looked at. NaN, which a frame takes for one, is greater than everything here."""
    signs = _BOUNDS | ({"min_value": ">"} if bounds.get("strict_min") else {})
    given = [name for name in signs if name in bounds]
    if not given or not set(bounds) <= {*given, "strict_min"}:
        return _UNTOLD
    inside = " AND ".join(f"{column} {signs[name]} ?" for name in given)
    return f"count(*) FILTER (WHERE NOT ({inside})) = 0", [bounds[name] for name in given]
