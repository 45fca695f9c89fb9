"""Segments: immutable Parquet files of sealed verdicts that can be verified on their own.

A segment's name ends in the sha256 of its bytes, so a truncated, empty or bit-flipped file is detected by reading it
alone. When and by whom segments are sealed is in `ledger`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pollux_dagster.core.files import sync_to_disk
from pollux_dagster.ledger.journal import LedgerError, read_error, write_error

SEGMENT_SUFFIX = ".parquet"
MERGED_PREFIX = "merged-"
TEMPORARY_SUFFIX = ".tmp"
_DIGEST_CHARS = 32
_ROW_GROUP_ROWS = 8_192
_SOURCES_KEY = b"pollux.sources"

# The columns of judging.verdicts, in its order.
SCHEMA = pa.schema(
    [
        pa.field("verdict_key", pa.string(), nullable=False),
        pa.field("judge_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("rationale", pa.string()),
        pa.field("raw_text", pa.string()),
        pa.field("error", pa.string()),
        pa.field("finish_reason", pa.string()),
        pa.field("prompt_tokens", pa.int64(), nullable=False),
        pa.field("completion_tokens", pa.int64(), nullable=False),
        pa.field("cached_tokens", pa.int64(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("latency_s", pa.float64(), nullable=False),
        pa.field("engine", pa.string(), nullable=False),
        pa.field("engine_version", pa.string(), nullable=False),
        pa.field("system_fingerprint", pa.string()),
        pa.field("server", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("created_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("level_probabilities", pa.list_(pa.float64())),  # segments of before 0.2 have none
    ]
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a segment cannot be trusted."""

    path: Path
    reason: str
    size_bytes: int


def find_fault(segment: Path) -> Fault | None:
    """Read the whole file and compare it with the digest in its name, and its columns with those of verdicts. None when
    it is intact.

    Only what the bytes themselves show is a fault: a file that cannot be read now may be intact, and its verdicts were
    paid for. Raises LedgerError for such a file, FileNotFoundError for one that is gone.
    """
    try:
        with segment.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:_DIGEST_CHARS]
        size = segment.stat().st_size
    except FileNotFoundError:
        raise
    except OSError as error:
        raise read_error(error, segment) from error
    expected = segment.name.removesuffix(SEGMENT_SUFFIX).rpartition(".")[2]
    if size == 0:
        return Fault(segment, "the file is empty", 0)
    if digest != expected:
        return Fault(segment, f"expected sha256 {expected}…, got {digest}…: truncated or altered on disk", size)
    try:
        schema = _require_columns(segment)
        if any(schema.field(field.name).nullable for field in SCHEMA if not field.nullable):  # none of ours
            judges_of(segment)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise read_error(error, segment) from error
    except ValueError as error:
        return Fault(segment, str(error), size)
    return None


def is_whole(segment: Path) -> bool:
    """Whether the segment exists and has no fault. Raises LedgerError when it cannot be read."""
    try:
        return find_fault(segment) is None
    except FileNotFoundError:
        return False


def sources_of(segment: Path) -> tuple[str, ...]:
    """The names of the segments that a merged one replaces; none for any other, or for one deleted meanwhile.

    Raises LedgerError when it cannot be read.
    """
    if not segment.name.startswith(MERGED_PREFIX):
        return ()
    try:
        metadata = pq.read_schema(segment).metadata or {}
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise read_error(error, segment) from error
    return tuple(json.loads(metadata.get(_SOURCES_KEY, b"[]")))


def count_rows(segment: Path) -> int:
    """The number of verdicts in an intact segment, from its footer."""
    rows: int = pq.read_metadata(segment).num_rows
    return rows


def judges_of(segment: Path) -> frozenset[str]:
    """The ids of the judges whose verdicts an intact segment has.

    Raises ValueError for a file that is no Parquet file, or whose columns could not be loaded into judging.verdicts:
    one is missing, of another type, or null where it must not be.
    """
    _require_columns(segment)
    with _refused_unless_parquet():
        required = [field.name for field in SCHEMA if not field.nullable]
        table = pq.read_table(segment, columns=required)
        if nulls := [name for name in required if table.column(name).null_count]:
            raise ValueError(f"expected verdicts with {', '.join(nulls)}, got rows without")
        return frozenset(table.column("judge_id").unique().to_pylist())


@contextmanager
def _refused_unless_parquet() -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise ValueError(f"expected a segment of verdicts in Parquet: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(f"expected a segment of verdicts in Parquet: {error}") from error  # Arrow's, of bytes it read


def _require_columns(segment: Path) -> pa.Schema:
    """The columns of a segment, from its footer. Raises ValueError when they are not those of SCHEMA."""
    with _refused_unless_parquet():
        schema = pq.read_schema(segment)
    wrong = []
    for field in SCHEMA:
        types = [each.type for each in schema if each.name == field.name]
        if types != [field.type] and (types or field.name != "level_probabilities"):
            wrong.append(f"{field.name}: expected {field.type}, got {', '.join(map(str, types)) or 'no such column'}")
    if wrong:
        raise ValueError(f"expected the columns of a segment of verdicts: {'; '.join(wrong)}")
    return schema


def seal(records: Iterable[dict[str, Any]], folder: Path, base: str) -> Path | None:
    """Write records as the segment `base`: temporary name, fsync, rename. Returns None when there are no records.

    Memory holds one row group. Raises LedgerError and leaves no file behind when writing fails.
    """
    return _publish(folder, base, SCHEMA, _tables(records))


def merge(segments: list[Path], folder: Path, base: str) -> Path:
    """Write one segment with the rows of all `segments`, naming them as its sources. Memory use is constant."""
    schema = SCHEMA.with_metadata({_SOURCES_KEY: json.dumps([path.name for path in segments]).encode()})

    def tables() -> Iterator[pa.Table]:
        for segment in segments:
            with pq.ParquetFile(segment) as file:
                for batch in file.iter_batches(batch_size=_ROW_GROUP_ROWS):
                    table = pa.Table.from_batches([batch])
                    for name in (name for name in SCHEMA.names if name not in table.column_names):
                        table = table.append_column(name, pa.nulls(table.num_rows, SCHEMA.field(name).type))
                    yield table.select(SCHEMA.names).cast(schema)

    merged = _publish(folder, base, schema, tables())
    if merged is None:
        raise LedgerError(f"merging {len(segments)} ledger segments in {folder} found no rows in any of them")
    return merged


def _publish(folder: Path, base: str, schema: pa.Schema, tables: Iterator[pa.Table]) -> Path | None:
    first = next(tables, None)
    if first is None:
        return None
    temporary = folder / f".{base}{TEMPORARY_SUFFIX}"  # whoever seals `base` holds its lock: no second writer
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
                writer.write_table(first)
                for table in tables:
                    writer.write_table(table)
            file.flush()
            os.fsync(file.fileno())
        with temporary.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:_DIGEST_CHARS]
        segment = folder / f"{base}.{digest}{SEGMENT_SUFFIX}"
        temporary.rename(segment)
        sync_to_disk(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise write_error(error, folder / base, "sealing verdicts into a ledger segment") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return segment


def _tables(records: Iterable[dict[str, Any]]) -> Iterator[pa.Table]:
    rows = iter(records)
    while chunk := list(islice(rows, _ROW_GROUP_ROWS)):
        for row in chunk:
            row["created_at"] = datetime.fromisoformat(row["created_at"])
        yield _table(chunk)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows as a table of SCHEMA; a field that a row lacks is null.

    Through polars, because Arrow's own conversion of Python objects imports pandas, which takes half a second and which
    a run without a failed check does not need.
    """
    import polars as pl

    types = {pa.string(): pl.String(), pa.float64(): pl.Float64(), pa.int64(): pl.Int64(), pa.int32(): pl.Int32()}
    columns = []
    for field in SCHEMA:
        values = [row.get(field.name) for row in rows]
        if pa.types.is_timestamp(field.type):
            column = pl.Series(field.name, values, dtype=pl.Datetime("us", "UTC"))
        elif pa.types.is_list(field.type):
            floats = [None if value is None else [float(each) for each in value] for value in values]
            column = pl.Series(field.name, floats, dtype=pl.List(pl.Float64))
        else:
            column = pl.Series(field.name, values, dtype=types[field.type])
        columns.append(column)
    return pl.DataFrame(columns).to_arrow().cast(SCHEMA)
