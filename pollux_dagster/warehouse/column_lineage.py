"""The upstream columns from which each column of a SELECT is computed.

One hop: sources are the tables that the SELECT names, not the tables these were built from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp

ColumnSource = tuple[str, str]
"""(table as schema.name, column)"""
ViewSources = Mapping[str, tuple[ColumnSource, ...]]
"""A view's column → the columns it is computed from."""


def column_sources(select: exp.Expr, upstream: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[ColumnSource, ...]]:
    """Sources of every output column of `select`; `upstream` is table → column → type.

    A column computed from no upstream column (a constant, `count(*)`) has no sources.
    """
    from sqlglot import exp
    from sqlglot.lineage import lineage

    schema: dict[str, dict[str, dict[str, str]]] = {}
    for table, columns in upstream.items():
        database, name = table.split(".")
        schema.setdefault(database, {})[name] = dict(columns)
    nodes = lineage(None, select, schema=schema, dialect="duckdb", trim_selects=False)
    sources: dict[str, tuple[ColumnSource, ...]] = {}
    for output, node in nodes.items():
        found = {
            (f"{leaf.expression.db}.{leaf.expression.name}", leaf.name.rpartition(".")[2])
            for leaf in node.walk()
            if isinstance(leaf.expression, exp.Table) and leaf.expression.db
        }
        sources[output] = tuple(sorted(found))
    return sources


def through_views(sources: tuple[ColumnSource, ...], views: Mapping[str, ViewSources]) -> tuple[ColumnSource, ...]:
    """`sources` with each column of a view replaced by the columns behind it."""
    found: set[ColumnSource] = set()
    for table, column in sources:
        found |= set(views[table][column]) if table in views else {(table, column)}
    return tuple(sorted(found))
