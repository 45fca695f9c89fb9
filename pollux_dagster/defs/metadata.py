"""Metadata that an asset shows in the Dagster UI: column schema, row count, small tables.

Tables are `TableMetadataValue`, never Markdown, because cell text comes from outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg
import duckdb

from pollux_dagster.core.text import escaped, shortened

if TYPE_CHECKING:
    import polars as pl

CODE_REFERENCES = "dagster/code_references"
MAX_ROWS = 20
MAX_CELL = 300


def row_count(con: duckdb.DuckDBPyConnection, schema: str, table: str) -> dict[str, dg.MetadataValue]:
    """`dagster/row_count` of one warehouse table. Its columns are metadata of the definition: see `with_columns`."""
    count = con.execute(f'SELECT count(*) FROM "{schema}"."{table}"').fetchall()[0][0]  # noqa: S608 - our own names
    return {"dagster/row_count": dg.MetadataValue.int(count)}


def with_columns(
    spec: dg.AssetSpec, columns: Mapping[str, Mapping[str, str]], texts: Mapping[str, Mapping[str, str]]
) -> dg.AssetSpec:
    """`spec` with its `dagster/column_schema`. `columns`: "schema.table" → column → type, of tables written by Python;
    `texts`: the same → description.

    It is metadata of the definition and not of each materialization: columns change only with the code, and they would
    be most of what a run stores.
    """
    found = columns.get(".".join(spec.key.path))
    if found is None:
        return spec
    told = texts.get(".".join(spec.key.path), {})
    schema = dg.TableSchema([dg.TableColumn(name, type_, told.get(name)) for name, type_ in found.items()])
    return spec.merge_attributes(metadata={"dagster/column_schema": schema})


def sources_of(definitions: Iterable[object]) -> dict[dg.AssetKey, dict[str, dg.MetadataValue]]:
    """Asset → a link to the function that makes it, of assets defined by a function.

    As `dagster.with_source_code_references`, which reads and tokenizes each file to find a line that the code knows.
    """
    sources: dict[dg.AssetKey, dict[str, dg.MetadataValue]] = {}
    for definition in definitions:
        if isinstance(definition, dg.AssetsDefinition):
            compute = getattr(definition.node_def, "compute_fn", None)
            if (function := getattr(compute, "decorated_fn", None)) is not None:
                link = code_reference(function.__code__.co_filename, function.__code__.co_firstlineno)
                sources |= dict.fromkeys(definition.keys, link)
    return sources


def with_source(spec: dg.AssetSpec, sources: Mapping[dg.AssetKey, dict[str, dg.MetadataValue]]) -> dg.AssetSpec:
    """`spec` with its link of `sources_of`, unless it has one: of a SQL model that is its file."""
    if CODE_REFERENCES in spec.metadata or spec.key not in sources:
        return spec
    return spec.merge_attributes(metadata=sources[spec.key])


def code_reference(file: str, line: int) -> dict[str, dg.MetadataValue]:
    """Where an asset is defined, as the UI shows it."""
    found = dg.LocalFileCodeReference(file_path=file, line_number=line, label=file.rsplit("/", 1)[-1])
    return {CODE_REFERENCES: dg.CodeReferencesMetadataValue(code_references=[found])}


def with_owners(spec: dg.AssetSpec, owners: Sequence[str]) -> dg.AssetSpec:
    """`spec` with these owners, unless it names its own."""
    return spec if spec.owners else spec.replace_attributes(owners=owners)


def rows_table(frame: pl.DataFrame, limit: int = MAX_ROWS) -> dg.MetadataValue:
    """The first rows of a frame as a table; long cells are cut, and control characters are shown as escapes."""
    if frame.is_empty():
        return dg.MetadataValue.text("none")
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({k: _cell(v) for k, v in row.items()}) for row in frame.head(limit).iter_rows(named=True)
        ]
    )


def _cell(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return shortened(escaped(value), MAX_CELL)
