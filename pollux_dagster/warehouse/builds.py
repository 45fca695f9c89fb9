"""What each built table held, and what its sources held when it was built: how two states are told apart.

Two runs may build at once, step by step on one warehouse. Recorded here, a table that was made from what another run
has replaced since is known as such, and is not published beside the replacement.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb


def record_build(con: duckdb.DuckDBPyConnection, table: str, sources: Iterable[str]) -> None:
    """Remember what `table` ("schema.table") holds now, and what those of its `sources` hold that are built too.

    Call it in the transaction that writes the table. Reads the table once: the fingerprint is of its rows, in any
    order, so that building the same again changes nothing.
    """
    con.execute(_RECORD.format(table=table), {"table": table, "sources": [*sources]})


def outdated_tables(con: duckdb.DuckDBPyConnection, tables: Iterable[str]) -> list[tuple[str, str]]:
    """Those of `tables` that were built from other rows of a source than it has now: (table, source), sorted."""
    return [(table, source) for table, source in con.execute(_OUTDATED, {"tables": [*tables]}).fetchall()]


_RECORD = """
INSERT OR REPLACE INTO meta.builds
SELECT
    $table,
    (SELECT count(*) || ':' || coalesce(sum(hash(built)::HUGEINT), 0) FROM {table} AS built),
    (SELECT coalesce(map(list(table_name), list(fingerprint)), map())
     FROM meta.builds WHERE list_contains($sources::VARCHAR[], table_name))
"""
_OUTDATED = """
SELECT built.table_name, source.table_name
FROM (SELECT table_name, unnest(map_entries(sources)) AS used FROM meta.builds) AS built
JOIN meta.builds AS source ON source.table_name = built.used.key
WHERE built.used.value <> source.fingerprint AND list_contains($tables::VARCHAR[], built.table_name)
ORDER BY ALL
"""
