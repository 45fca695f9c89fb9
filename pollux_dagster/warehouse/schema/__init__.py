"""The tables that Python writes, as DDL files: the contract between the parts.

Tables built by a SELECT are in `dbt_like_sql/` and are not created here.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from pollux_dagster.core.transactions import transaction

SCHEMA_VERSION = 2
"""Raise it when an earlier version of this code must not write to a warehouse that this one has opened."""

_FOLDER = Path(__file__).parent
# Views in `judging` read `raw`, so the order of the files matters.
_FILES = ("landing.sql", "raw.sql", "judging.sql", "golden.sql", "exam.sql", "meta.sql", "statistics.sql")


VIEWS = ("judging.judgeable", "judging.selected", "judging.coverage", "judging.model_failures")
"""Views that no step builds: the tables they read are written by steps."""


def table_columns() -> dict[str, dict[str, str]]:
    """The tables that Python writes, as in a new warehouse: "schema.table" → column → DuckDB type, in order."""
    with duckdb.connect(":memory:") as con:
        create_schema(con)
        rows = con.execute(
            "SELECT schema_name || '.' || table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE NOT internal ORDER BY schema_name, table_name, column_index"
        ).fetchall()
    tables: dict[str, dict[str, str]] = {}
    for table, column, data_type in rows:
        tables.setdefault(table, {})[column] = data_type
    return tables


class SchemaVersionError(RuntimeError):
    """The warehouse was written by a newer version of this package."""


def create_schema(con: duckdb.DuckDBPyConnection) -> None:
    """Create missing tables and columns, in one transaction; the contents of existing rows stay unchanged.

    Raises:
        SchemaVersionError: the database has a schema newer than this code.
    """
    with transaction(con):
        found = refuse_newer_schema(con)
        if found is not None:
            _make_defaults_constant(con)
        for name in _FILES:
            con.execute((_FOLDER / name).read_text(encoding="utf-8"))
        if found is not None and found < SCHEMA_VERSION:
            con.execute((_FOLDER / "upgrade.sql").read_text(encoding="utf-8"))
        if found is None or found < SCHEMA_VERSION:
            # Not as a parameter: for its first one a process imports pandas, and every load of the definitions is here.
            con.execute(f"INSERT INTO meta.schema_version VALUES ({SCHEMA_VERSION}, now())")  # noqa: S608 - a number


def refuse_newer_schema(con: duckdb.DuckDBPyConnection) -> int | None:
    """The version of the warehouse's schema; None for a database that has none yet.

    Raises:
        SchemaVersionError: it is newer than this code, which would write rows that the newer version cannot trust.
    """
    if not con.execute(_HAS_VERSION).fetchone():
        return None
    (found,) = con.execute("SELECT max(version) FROM meta.schema_version").fetchone() or (None,)
    if found is not None and found > SCHEMA_VERSION:
        raise SchemaVersionError(
            f"the warehouse has schema version {found}, this code knows {SCHEMA_VERSION}: a newer version of the "
            "package has opened it; update this one, or point it at another home"
        )
    return None if found is None else int(found)


def _make_defaults_constant(con: duckdb.DuckDBPyConnection) -> None:
    """Replace defaults that call a function. Tables of schema version 1 have `DEFAULT []`, which is such a call.

    DuckDB 1.5 cannot replay a logged ALTER of a table that has one: a process killed after the commit would leave a
    file that cannot be opened.
    """
    for schema, table, column in con.execute(_LIST_DEFAULTS).fetchall():
        con.execute(f"ALTER TABLE {schema}.{table} ALTER {column} SET DEFAULT '[]'")


_HAS_VERSION = """
SELECT 1 FROM duckdb_tables()
WHERE database_name = current_database() AND schema_name = 'meta' AND table_name = 'schema_version'
"""
_LIST_DEFAULTS = """
SELECT schema_name, table_name, column_name FROM duckdb_columns()
WHERE database_name = current_database() AND NOT internal AND column_default LIKE '%list_value()%'
"""
