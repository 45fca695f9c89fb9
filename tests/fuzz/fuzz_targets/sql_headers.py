"""Any text as a SQL model file's header: a header, or a SqlModelError that names file and line."""

from __future__ import annotations

from pathlib import Path

from pollux_dagster.warehouse.sql_header import SqlModelError, parse_header, split_header

PATH = Path("marts/numbers.sql")
SEEDS = (
    b"/*\ndescription: a\nowners: [team:a]\nmaterialized: table\ncolumns:\n  n: A number.\n*/\nSELECT 1 AS n",
    b"/*\ndescription: >\n  a\nowners: [team:a]\ntags: {layer: marts}\nmaterialized: view\ncolumns: {n: N}\nchecks:\n"
    b"  - unique: [n]\n  - not_null: [n]\n  - name: c\n    description: d\n    severity: warn\n"
    b"    sql: SELECT 1\n*/\nSELECT 1",
    b"/* [a, b] */ SELECT 1",
    b"/* a: &a [*a] */ SELECT 1",
    b"/* !!python/object/apply:os.system [a] */ SELECT 1",
    b"/* description: a",
)


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        header_text, _ = split_header(PATH, text)
        header = parse_header(PATH, header_text, "marts.numbers")
    except SqlModelError as error:
        assert str(error).startswith(f"{PATH}:{error.line}:")
        assert error.line >= 1
        return
    assert header.description
    assert header.columns
    assert header.line_count <= text.count("\n")
    assert all(check.name and check.sql for check in header.checks)
