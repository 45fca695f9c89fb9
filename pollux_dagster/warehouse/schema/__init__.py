"""The tables that Python writes, as DDL files: the contract between the parts.

Tables made by SELECT live in `dbt_like_sql/` and are not created here.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from pollux_dagster.warehouse.transactions import transaction

SCHEMA_VERSION = 2

_FOLDER = Path(__file__).parent
# Views in `judging` read `raw`, so this is an order and not a listing.
_FILES = ("landing.sql", "raw.sql", "judging.sql", "golden.sql", "meta.sql", "statistics.sql")


VIEWS = ("judging.judgeable", "judging.coverage")
"""Views that no step makes: what they read is made by steps."""


class SchemaVersionError(RuntimeError):
    """The warehouse was written by a newer version of this package."""


def create_schema(con: duckdb.DuckDBPyConnection) -> None:
    """Create what is missing, tables and columns, in one transaction; what rows hold stays as it is.

    Raises:
        SchemaVersionError: the database has a schema newer than this code.
    """
    with transaction(con):
        for name in _FILES:
            con.execute((_FOLDER / name).read_text(encoding="utf-8"))
        (found,) = con.execute("SELECT max(version) FROM meta.schema_version").fetchone() or (None,)
        if found is not None and found > SCHEMA_VERSION:
            raise SchemaVersionError(
                f"the warehouse has schema version {found}, this code knows {SCHEMA_VERSION}: "
                "update the package, or point it at another warehouse file"
            )
        if found != SCHEMA_VERSION:
            con.execute("INSERT INTO meta.schema_version VALUES (?, now())", [SCHEMA_VERSION])
