"""Files to rows: JSONL, a JSON document, CSV or Parquet, recognised by their bytes and never by their names.

A file is a stream of rows, and anything wrong with it, from a torn line to the whole file, is a row that says so.
Nothing is unpickled or unpacked. What the rows mean is decided in `detect`.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from pollux_dagster.ingest import limits
from pollux_dagster.ingest.csv_rows import read_csv
from pollux_dagster.ingest.eval_log import is_eval_log, read_eval_log
from pollux_dagster.ingest.json_rows import (
    ROW_KEYS,
    holds_a_list,
    parse_document,
    read_items,
    read_line,
    salvage_items,
    too_many_values,
)
from pollux_dagster.ingest.parquet_probe import refuse_costly
from pollux_dagster.ingest.parquet_rows import read_parquet
from pollux_dagster.ingest.rows import RawRow, Reason, RowRejected
from pollux_dagster.ingest.scan import LandingFile

SNIFF_ROWS = 50
SNIFF_BYTES = 8 * limits.MIB
_BOM = b"\xef\xbb\xbf"
_ZIP = b"PK\x03\x04"
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    _ZIP: "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_PARQUET = b"PAR1"
_CSV_IDS = ("prompt_id", "instruction", "question_id", "input:prompt_id", "annotation_id")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Container:
    """A file opened for reading: its rows, and the whole document where the file is one JSON value."""

    rows: Iterator[RawRow]
    document: Any = None


def open_container(file: LandingFile, handle: BinaryIO) -> Container:
    """Recognise the kind of file and return its rows as a stream.

    A file that cannot be read at all becomes one rejected row with number 0.
    """
    if refusal := refuse_unread(file, handle):
        return Container(iter([RawRow(0, refusal)]))
    handle.seek(0)
    head = handle.read(len(_BOM) + 1)
    if head == _PARQUET:
        if costly := refuse_costly(handle):
            return Container(iter([RawRow(0, costly)]))
        return Container(read_parquet(handle))
    if head == _ZIP:
        return Container(*read_eval_log(handle))
    handle.seek(len(_BOM) if head.startswith(_BOM) else 0)
    return _text(file, handle)


def refuse_unread(file: LandingFile, handle: BinaryIO) -> RowRejected | None:
    """Why the file is refused for its size or its first bytes, or None. Reads at most the bytes of one longest line."""
    if file.size > limits.MAX_FILE_BYTES:
        detail = f"{file.size:,} bytes; a landing file may have {limits.MAX_FILE_BYTES:,}"
        return RowRejected(Reason.TOO_LARGE, detail)
    handle.seek(0)
    head = handle.read(8)
    if head.startswith(_PARQUET):
        return None
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            if name == "zip" and is_eval_log(handle):
                return None
            detail = f"the file is {name}-compressed; unpack it into the landing folder"
            return RowRejected(Reason.COMPRESSED, detail)
    if head.startswith(_UTF16):
        return RowRejected(Reason.INVALID_UTF8, "the file is UTF-16; save it as UTF-8")
    if file.size > limits.MAX_DOCUMENT_BYTES and not _has_line_end(handle):
        detail = (
            f"{file.size:,} bytes that open with a line longer than {limits.MAX_LINE_BYTES:,}; one JSON document "
            f"may have {limits.MAX_DOCUMENT_BYTES:,}: write JSONL"
        )
        return RowRejected(Reason.TOO_LARGE, detail)
    return None


def _has_line_end(handle: BinaryIO) -> bool:
    """Whether a line ends within the limit of a line; reads 1 MiB at a time."""
    handle.seek(0)
    return any(b"\n" in handle.read(limits.MIB) for _ in range(0, limits.MAX_LINE_BYTES + 1, limits.MIB))


def _refused(reason: Reason, detail: str) -> Container:
    return Container(iter([RawRow(0, RowRejected(reason, detail))]))


def _text(file: LandingFile, handle: BinaryIO) -> Container:
    start = handle.tell()
    # CSV is tried before JSON, because a line of an answer in a table may be a JSON object by itself.
    if table := _csv(handle, start):
        return table
    handle.seek(start)
    rows = _lines(handle)
    first = first_rows(rows)
    if not first:
        return _refused(Reason.EMPTY_FILE, f"the file holds no rows ({file.size:,} bytes)")
    objects = [isinstance(row.fields, dict) for row in first]
    opening = _opening(first[0])
    whole_object = objects[0] and len(first) == 1 and _is_document(first[0].fields)
    pretty = opening == b"{" and not any(objects)
    # A list that is complete in its line and has other lines beside it is a bad row of JSONL, not a document.
    whole_list = opening == b"[" and not (_is_complete(first[0]) and any(objects))
    if whole_list or whole_object or pretty:
        return _document(file, handle, start)
    if any(objects):
        return Container(itertools.chain(first, rows))
    return _refused(Reason.UNKNOWN_FORMAT, _no_format(handle, start))


def first_rows(rows: Iterator[RawRow]) -> list[RawRow]:
    """The first rows of a file, enough to recognise its format: at most SNIFF_ROWS rows or SNIFF_BYTES characters."""
    taken: list[RawRow] = []
    size = 0
    while len(taken) < SNIFF_ROWS and size < SNIFF_BYTES and (row := next(rows, None)) is not None:
        taken.append(row)
        size += len(row.source or "")
    return taken


def _is_complete(row: RawRow) -> bool:
    return isinstance(row.fields, RowRejected) and row.fields.reason is Reason.WRONG_TYPE


def _opening(row: RawRow) -> bytes:
    return row.source[:1] if isinstance(row.source, bytes) else b""


def _is_document(fields: Any) -> bool:
    """Whether a single object is a container of rows or a taxonomy, and not itself a row."""
    values = list(fields.values())
    return any(isinstance(fields.get(k), list) for k in ROW_KEYS) or (
        bool(values) and all(isinstance(v, dict) for v in values)
    )


def _lines(handle: BinaryIO) -> Iterator[RawRow]:
    """Rows of JSONL; blank lines are not rows. A line over the limit is skipped without holding it in memory."""
    limit = limits.MAX_LINE_BYTES
    number = 0
    while line := handle.readline(limit + 1):
        number += 1
        if len(line) > limit and not line.endswith(b"\n"):
            kept = line[: 4 * limits.MAX_RAW_TEXT]
            while line and not line.endswith(b"\n"):
                line = handle.readline(limit)
            detail = f"the line is longer than {limit:,} bytes"
            yield RawRow(number, RowRejected(Reason.TOO_LARGE, detail), kept)
        elif body := line.strip():
            yield read_line(number, body)


def _document(file: LandingFile, handle: BinaryIO, start: int) -> Container:
    if file.size > limits.MAX_DOCUMENT_BYTES:
        detail = f"a JSON document of {file.size:,} bytes; one may have {limits.MAX_DOCUMENT_BYTES:,}: write JSONL"
        return _refused(Reason.TOO_LARGE, detail)
    handle.seek(start)
    body = handle.read()
    if refusal := too_many_values(body):
        return Container(iter([RawRow(0, refusal)]))
    document = parse_document(body)
    if document is None:
        lines = [line for line in body[:1_000_000].splitlines()[:SNIFF_ROWS] if line.strip()]
        if len(lines) > 1 and not holds_a_list(body) and all(line.startswith(b"{") for line in lines):
            handle.seek(start)
            return Container(_lines(handle))  # JSONL in which every line so far is broken
        return Container(salvage_items(body))
    if not document:
        return _refused(Reason.EMPTY_FILE, "the JSON document holds no rows")
    return Container(read_items(document), document)


def _csv(handle: BinaryIO, start: int) -> Container | None:
    handle.seek(start)
    line = handle.readline(limits.MAX_LINE_BYTES)
    if line[:1] in (b"{", b"["):
        return None
    for header, delimiter in _headers(line):
        if set(_CSV_IDS) & set(header):
            return Container(read_csv(handle, header, delimiter))
    return None


def _headers(line: bytes) -> Iterator[tuple[list[str], str]]:
    """The columns of a file's first line, for each delimiter that splits it into several."""
    text = line.decode("utf-8", "surrogateescape")
    for delimiter in ",;\t":
        if not 0 < text.count(delimiter) < limits.MAX_CSV_COLUMNS:
            continue
        try:
            names = next(csv.reader([text], delimiter=delimiter), [])
        except csv.Error:
            continue
        yield ["_".join(name.lower().split()) for name in names], delimiter


def _no_format(handle: BinaryIO, start: int) -> str:
    """Why a file has no known format, with its header where it looks like a table."""
    handle.seek(start)
    expected = "expected JSONL, JSON, CSV with a header, or Parquet; see docs/run.md for the formats"
    for header, delimiter in _headers(handle.readline(limits.MAX_LINE_BYTES)):
        found = ", ".join(map(repr, header))
        wanted = f"one of {', '.join(_CSV_IDS)} must be in it"
        return f"{expected}. As CSV ({delimiter!r}) its header is {found:.1000}; {wanted}"
    return expected
