"""Parquet and Arrow IPC to rows, with a limit on how much a few encoded bytes may unfold to.

A footer says how many bytes were encoded, not how many they decode to. Text columns therefore stay dictionary-encoded
until a slice of a batch is known to be small enough to become Python objects. Arrow's own files and streams, as
`save_to_disk` of `datasets` and Feather write them, are read batch by batch under the same limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pollux_dagster.ingest import limits
from pollux_dagster.ingest.rows import RawRow, Reason, RowRejected, usable_fields

BATCH_ROWS = 1024
PLAIN_BATCH_ROWS = 32
PIECE_BYTES = 32 * limits.MIB
_BYTES_PER_VALUE = 64  # approximate size of a small Python object

MEMORY_ERRORS = (MemoryError, pa.ArrowMemoryError)

# Besides Arrow's own errors: names and texts that are not UTF-8, dates beyond Python's range, bare C++ exceptions.
_ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError, RuntimeError)


def read_parquet(handle: BinaryIO) -> Iterator[RawRow]:
    """Rows of a Parquet file, numbered from 1. A file that breaks a limit or is incomplete is one rejected row 0."""
    try:
        handle.seek(0)
        parquet = pq.ParquetFile(handle, read_dictionary=_text_columns(handle), buffer_size=limits.MIB)
    except _ARROW_ERRORS as error:
        yield RawRow(0, RowRejected(Reason.UNREADABLE_FILE, f"not a whole Parquet file: {error}"))
        return
    if refusal := _refusal(parquet.metadata):
        yield RawRow(0, refusal)
        return
    number = unfolded = 0
    try:
        if repeated := _repeated_column(parquet.schema_arrow):
            yield RawRow(0, repeated)
            return
        for batch in _batches(handle, parquet):
            for piece, size in _pieces(batch):
                unfolded += size
                if unfolded > limits.MAX_PARQUET_BYTES:
                    detail = f"the file unfolds to more than {limits.MAX_PARQUET_BYTES:,} bytes here"
                    yield from _lost(parquet.metadata, number, RowRejected(Reason.TOO_LARGE, detail))
                    return
                for fields in _rows(piece, size):
                    number += 1
                    yield _row(number, fields)
    except _ARROW_ERRORS as error:
        left = parquet.metadata.num_rows - number
        detail = f"{left} rows from {number + 1} on cannot be read: {error}"
        yield from _lost(parquet.metadata, number, RowRejected(Reason.UNREADABLE_FILE, detail))


ARROW_FILE = b"ARROW1\0\0"
_ARROW_STREAM = b"\xff\xff\xff\xff"


def is_arrow(head: bytes) -> bool:
    """Whether a file with these first bytes is an Arrow IPC file, or a stream that opens with a schema."""
    return head.startswith(ARROW_FILE) or (head.startswith(_ARROW_STREAM) and head[6:8] == b"\0\0")


def read_arrow(handle: BinaryIO) -> Iterator[RawRow]:
    """Rows of an Arrow IPC file or stream, numbered from 1. What cannot be read after some row is one rejected row."""
    number = 0
    try:
        for schema, batch, refusal in _arrow_batches(handle):
            if refusal := refusal or (None if number else _repeated_column(schema)):
                yield RawRow(number + 1 if number else 0, refusal)
                return
            for piece, size in _pieces(batch):
                for fields in _rows(piece, size):
                    number += 1
                    yield _row(number, fields)
    except _ARROW_ERRORS as error:
        detail = f"not a whole Arrow file: the rows from {number + 1} on cannot be read: {error}"
        yield RawRow(number + 1 if number else 0, RowRejected(Reason.UNREADABLE_FILE, detail))
        return
    if not number:
        yield RawRow(0, RowRejected(Reason.EMPTY_FILE, "the Arrow file holds no rows"))


def unfold_arrow(handle: BinaryIO) -> None:
    """Decode the file as `read_arrow` does, but make no rows. Raises one of MEMORY_ERRORS when memory runs out."""
    try:
        for _, batch, refusal in _arrow_batches(handle):
            if refusal:
                return
            for _ in _pieces(batch):
                pass
    except MEMORY_ERRORS:
        raise
    except _ARROW_ERRORS as error:
        _raise_if_memory(error)


def _arrow_batches(handle: BinaryIO) -> Iterator[tuple[pa.Schema, pa.RecordBatch, RowRejected | None]]:
    """Each batch, whose offsets and texts are sound, with the file's schema; or why no more is read."""
    handle.seek(0)
    is_file = handle.read(len(ARROW_FILE)) == ARROW_FILE
    handle.seek(0)
    reader = pa.ipc.open_file(handle) if is_file else pa.ipc.open_stream(handle)
    batches: Iterable[pa.RecordBatch] = (
        (reader.get_batch(place) for place in range(reader.num_record_batches)) if is_file else reader
    )
    rows = unfolded = 0
    for batch in batches:
        rows += batch.num_rows
        if rows > limits.MAX_PARQUET_ROWS:
            detail = f"more than {limits.MAX_PARQUET_ROWS:,} rows, the limit of an Arrow file"
            yield reader.schema, batch, RowRejected(Reason.TOO_LARGE, detail)
            return
        batch.validate(full=True)
        unfolded += sum(map(_unfolded_bytes, batch.columns))
        if unfolded > limits.MAX_PARQUET_BYTES:
            detail = f"the file unfolds to more than {limits.MAX_PARQUET_BYTES:,} bytes here"
            yield reader.schema, batch, RowRejected(Reason.TOO_LARGE, detail)
            return
        yield reader.schema, batch, None


def _repeated_column(schema: pa.Schema | pa.StructType) -> RowRejected | None:
    """The refusal of a table, or of a column of objects, that has two fields of one name."""
    fields = [
        schema.field(place) for place in range(schema.num_fields if isinstance(schema, pa.StructType) else len(schema))
    ]
    repeated = [name for name, count in Counter(field.name for field in fields).items() if count > 1]
    if repeated:
        detail = f"expected each column once, got {', '.join(f'{name!r:.100}' for name in repeated)} more than once"
        return RowRejected(Reason.REPEATED_FIELD, detail)
    for field in fields:
        kind = field.type
        while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            kind = kind.value_type
        if pa.types.is_struct(kind) and (refusal := _repeated_column(kind)):
            return refusal
    return None


def unfold(handle: BinaryIO) -> None:
    """Decode the file to Arrow arrays as `read_parquet` does, but make no rows. An error of the file ends it silently.

    Raises one of MEMORY_ERRORS when memory runs out.
    """
    try:
        handle.seek(0)
        parquet = pq.ParquetFile(handle, read_dictionary=_text_columns(handle), buffer_size=limits.MIB)
        if _refusal(parquet.metadata):
            return
        unfolded = 0
        for batch in _batches(handle, parquet):
            for _, size in _pieces(batch):
                unfolded += size
                if unfolded > limits.MAX_PARQUET_BYTES:
                    return
    except MEMORY_ERRORS:
        raise
    except _ARROW_ERRORS as error:
        _raise_if_memory(error)


def _raise_if_memory(error: BaseException) -> None:
    """Raise MemoryError for a failed allocation, which C++ may report as an exception of another type."""
    if "alloc" in str(error):
        raise MemoryError(str(error)) from error


def _batches(handle: BinaryIO, parquet: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """All rows, with text dictionary-encoded as long as Arrow can read it so.

    It cannot where a page uses one of the newer text encodings. The rest is then read as plain text, in batches so
    small that no value can be repeated often. A damaged file fails both ways.
    """
    done = 0
    try:
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS):
            done += batch.num_rows
            yield batch
    except (OSError, pa.ArrowNotImplementedError) as error:
        _raise_if_memory(error)
        plain = pq.ParquetFile(handle, buffer_size=limits.MIB)
        first = 0
        for batch in plain.iter_batches(batch_size=PLAIN_BATCH_ROWS):
            if first + batch.num_rows > done:
                yield batch.slice(max(0, done - first))
            first += batch.num_rows


def _lost(metadata: pq.FileMetaData, read: int, rejection: RowRejected) -> Iterator[RawRow]:
    """Every row after the first `read` ones, rejected with the same reason."""
    return (RawRow(number, rejection) for number in range(read + 1, metadata.num_rows + 1))


def _text_columns(handle: BinaryIO) -> list[str]:
    columns = pq.ParquetFile(handle).schema
    handle.seek(0)
    leaves = (columns.column(index) for index in range(len(columns)))
    return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]


def _refusal(metadata: pq.FileMetaData) -> RowRejected | None:
    # Row groups only: pyarrow kills the process when asked for the metadata of a column with damaged statistics.
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    if size > limits.MAX_PARQUET_BYTES:
        detail = f"{size:,} bytes uncompressed; a Parquet file may have {limits.MAX_PARQUET_BYTES:,}"
        return RowRejected(Reason.TOO_LARGE, detail)
    if metadata.num_rows > limits.MAX_PARQUET_ROWS:
        detail = f"{metadata.num_rows:,} rows; a Parquet file may have {limits.MAX_PARQUET_ROWS:,}"
        return RowRejected(Reason.TOO_LARGE, detail)
    if not metadata.num_rows:
        return RowRejected(Reason.EMPTY_FILE, "the Parquet file holds no rows")
    return None


def _pieces(batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The batch in slices of one row or of at most PIECE_BYTES unfolded, each with its unfolded size in bytes."""
    size = sum(map(_unfolded_bytes, batch.columns))
    if batch.num_rows <= 1 or size <= PIECE_BYTES:
        yield batch, size
        return
    half = batch.num_rows // 2
    yield from _pieces(batch.slice(0, half))
    yield from _pieces(batch.slice(half))


def _rows(piece: pa.RecordBatch, size: int) -> list[dict[str, Any] | RowRejected]:
    if piece.num_rows == 1 and size > limits.MAX_LINE_BYTES:
        detail = f"the row unfolds to about {size:,} bytes; one may have {limits.MAX_LINE_BYTES:,}"
        return [RowRejected(Reason.TOO_LARGE, detail)]
    rows: list[dict[str, Any] | RowRejected] = piece.to_pylist()
    return rows


def _row(number: int, fields: dict[str, Any] | RowRejected) -> RawRow:
    if isinstance(fields, RowRejected):
        return RawRow(number, fields)
    return RawRow(number, usable_fields(fields))


def _unfolded_bytes(column: pa.Array) -> int:
    """Approximate bytes that the values of an Arrow array take as Python objects, computed without making them."""
    here = len(column) * _BYTES_PER_VALUE
    kind = column.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(column.dictionary)
        return here + (pc.sum(lengths.take(column.indices)).as_py() or 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return here + _unfolded_bytes(column.flatten())
    if pa.types.is_map(kind):
        return here + _unfolded_bytes(column.keys) + _unfolded_bytes(column.items)
    if pa.types.is_struct(kind):
        return here + sum(map(_unfolded_bytes, column.flatten()))
    return here + int(column.nbytes)
