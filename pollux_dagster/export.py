"""Writes rows of the publication as CSV for spreadsheets.

A cell is data and never a formula. A spreadsheet executes a cell that begins with `=` or the like, whoever wrote it, so
such a text gets a leading apostrophe, as OWASP's page on CSV injection advises.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb

from pollux_dagster.publication_access import QueryLimits, bounded, open_publication, require_one_read

_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_BATCH = 10_000  # rows in memory at a time


def write_csv(
    published: Path,
    sql: str,
    target: Path,
    limits: QueryLimits | None = None,
    *,
    files: Path | None = None,
    abandon: Callable[[str], None] | None = None,
) -> int:
    """Write the rows of one query on the publication to `target`; returns their number.

    UTF-8 with a byte order mark, by which spreadsheets recognise it. Texts are quoted, so that no separator a
    spreadsheet may expect splits them; missing values are empty. The file is private to its owner and is written
    completely or not at all. `files` and `abandon` as in `publication_access`.

    Raises:
        FileNotFoundError: nothing has been published there yet, or the folder of `target` or `files` does not exist.
        QueryError: the statement does more than read, or took more than `limits`.
        duckdb.Error: the query is wrong; the message is DuckDB's.
    """
    bounds = limits or QueryLimits()
    draft = target.with_name(f".{target.name}.{os.getpid()}")

    def leave(message: str) -> None:
        if abandon is not None:
            draft.unlink(missing_ok=True)
            abandon(message)

    try:
        with open_publication(published, bounds, files=files) as con, bounded(con, bounds, leave):
            require_one_read(con, sql)
            rows = _write(con.execute(sql), draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return rows


def _write(result: duckdb.DuckDBPyConnection, draft: Path) -> int:
    rows = 0
    with open(
        draft, "w", encoding="utf-8-sig", newline="", opener=lambda name, flags: os.open(name, flags, 0o600)
    ) as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow([_cell(column) for column, *_ in result.description or ()])
        while batch := result.fetchmany(_BATCH):
            writer.writerows([_cell(value) for value in row] for row in batch)
            rows += len(batch)
    return rows


def _cell(value: object) -> object:
    """A number unchanged, anything else as a text that no spreadsheet evaluates."""
    if value is None or (isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)):
        return value
    text = str(value)
    return f"'{text}" if _FORMULA.match(text) else text
