"""Fingerprints of each built table, and of its sources when it was built, to tell states apart.

Two runs may build at once, step by step on one warehouse. By these records, a table built from rows that another run
has replaced since is recognised, and is not published beside the replacement.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb


def fingerprint(con: duckdb.DuckDBPyConnection, rows: str) -> str:
    """Count and hash of the rows of a table or of a subquery in parentheses; independent of the order of the rows."""
    query = f"SELECT count(*) || ':' || coalesce(sum(hash(found)::HUGEINT), 0) FROM {rows} AS found"  # noqa: S608 - ours
    (text,) = con.execute(query).fetchone() or ("",)
    return str(text)


def record_builds(con: duckdb.DuckDBPyConnection, tables: Iterable[str], sources: Iterable[str]) -> dict[str, str]:
    """Record the fingerprints of `tables` ("schema.table") and of their `sources`; returns those of `tables`.

    Call it in the transaction that writes the tables. Reads each table once, and those sources that are not built
    themselves: raw and judging tables, which change without a record here.
    """
    built = dict(con.execute("SELECT table_name, fingerprint FROM meta.builds").fetchall())
    seen = {source: built.get(source) or fingerprint(con, source) for source in sources if _is_data(source)}
    now = {table: fingerprint(con, table) for table in tables}
    con.execute(
        "INSERT OR REPLACE INTO meta.builds "
        "SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), map(?::VARCHAR[], ?::VARCHAR[])",
        [[*now], [*now.values()], [*seen], [*seen.values()]],
    )
    return now


def outdated_tables(con: duckdb.DuckDBPyConnection, tables: Iterable[str]) -> list[tuple[str, str]]:
    """Those of `tables` that were built from other rows of a source than it has now: (table, source), sorted."""
    rows = con.execute(
        "SELECT table_name, fingerprint, map_keys(sources), map_values(sources) FROM meta.builds"
    ).fetchall()
    now = {table: text for table, text, _, _ in rows}
    wanted = set(tables)
    found = []
    for table, _, sources, seen in rows:
        for source, text in zip(sources, seen, strict=True) if table in wanted else ():
            if source not in now:
                now[source] = fingerprint(con, source)
            if now[source] != text:
                found.append((table, source))
    return sorted(found)


def _is_data(source: str) -> bool:
    """Whether publishing an older state of the source beside newer tables would be wrong; `meta` is bookkeeping."""
    return not source.startswith("meta.")
