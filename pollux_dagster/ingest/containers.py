"""Files to rows: JSONL, a JSON document, CSV, a workbook, Parquet or Arrow, plain or compressed, recognised by their
bytes and never by their names.

A file is a stream of rows, and anything wrong with it, from a torn line to the whole file, is a row that says so.
Nothing is unpickled, and no archive is unpacked. What the rows mean is decided in `detect`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from pollux_dagster.ingest import limits, spooled
from pollux_dagster.ingest.csv_rows import find_table, read_csv
from pollux_dagster.ingest.encodings import text_encoding
from pollux_dagster.ingest.eval_log import is_eval_log, read_eval_log
from pollux_dagster.ingest.file_kinds import is_zip, known_by_bytes, known_by_fields
from pollux_dagster.ingest.json_rows import (
    document_head,
    holds_a_list,
    holds_rows,
    parse_document,
    read_items,
    read_line,
    salvage_items,
    too_many_values,
)
from pollux_dagster.ingest.landing_records import Note
from pollux_dagster.ingest.parquet_probe import Kind, refuse_costly
from pollux_dagster.ingest.parquet_rows import is_arrow, read_arrow, read_parquet
from pollux_dagster.ingest.rows import RawRow, Reason, RowRejected
from pollux_dagster.ingest.scan import LandingFile
from pollux_dagster.ingest.tables import IDS
from pollux_dagster.ingest.xlsx_rows import read_workbook, refuse_workbook

SNIFF_ROWS = 50
SNIFF_BYTES = 8 * limits.MIB
_HEAD_BYTES = 16
_PARQUET = b"PAR1"
_EXPECTED = "expected JSONL, JSON, CSV with a header, XLSX, Parquet or Arrow; see docs/run.md for the formats"
_ENCODINGS = {"cp1251": "Windows-1251", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}


@dataclass(frozen=True, slots=True)
class Container:
    """A file opened for reading: its rows, the whole document where the file is one JSON value (or what a broken one
    says before its rows), what its owner should know, and whether the rows are cells of text, which know no null.
    """

    rows: Iterator[RawRow]
    document: Any = None
    notes: tuple[Note, ...] = ()
    is_table: bool = False


def open_container(file: LandingFile, handle: BinaryIO, *, is_expected: bool = False) -> Container:
    """Recognise the kind of file and return its rows as a stream.

    A file that cannot be read at all becomes one rejected row with number 0. Of a file that `is_expected` to hold rows,
    any header is a table's, and a wrong encoding is a fault rather than a sign that it is no landing file.
    """
    try:
        return _open(file, handle, is_expected)
    except RowRejected as refusal:
        return Container(iter([RawRow(0, refusal)]))


def _open(file: LandingFile, handle: BinaryIO, is_expected: bool) -> Container:
    if refusal := refuse_unread(file, handle):
        raise refusal
    handle.seek(0)
    head = handle.read(_HEAD_BYTES)
    codec = next((codec for magic, codec in spooled.CODECS.items() if head.startswith(magic)), None)
    if codec is None:
        return _opened(file, handle, head, is_expected)
    unpacked, torn = spooled.unpack(handle, codec, file.size)
    file = replace(file, size=unpacked.tell())
    if refusal := refuse_unread(file, unpacked):
        raise refusal
    unpacked.seek(0)
    head = unpacked.read(_HEAD_BYTES)
    if head.startswith(tuple(spooled.CODECS)):
        raise RowRejected(Reason.COMPRESSED, f"the file is compressed twice, the first time with {codec}: unpack it")
    container = _opened(file, unpacked, head, is_expected)
    rows = container.rows if torn is None else _then(container.rows, torn)
    return replace(container, rows=_closing(rows, unpacked))


def _then(rows: Iterator[RawRow], last: RowRejected) -> Iterator[RawRow]:
    """The rows, and after them one that is rejected."""
    number = 0
    for row in rows:
        number = row.number
        yield row
    yield RawRow(number + 1, last)


def _closing(rows: Iterator[RawRow], copy: BinaryIO) -> Iterator[RawRow]:
    with copy:
        yield from rows


def _opened(file: LandingFile, handle: BinaryIO, head: bytes, is_expected: bool) -> Container:
    if head.startswith(_PARQUET):
        return _probed(handle, Kind.PARQUET) or Container(read_parquet(handle))
    if is_arrow(head):
        return _probed(handle, Kind.ARROW) or Container(read_arrow(handle))
    if is_zip(handle):
        if is_eval_log(handle):
            return Container(*read_eval_log(handle))
        if refusal := refuse_workbook(handle):
            raise refusal
        return _probed(handle, Kind.WORKBOOK) or Container(read_workbook(handle), is_table=True)
    encoding = text_encoding(handle)
    if isinstance(encoding, RowRejected):
        raise encoding if is_expected or _looks_landed(handle) else _unknown(encoding.detail)
    notes: tuple[Note, ...] = ()
    text, start = handle, encoding.start
    if encoding.codec != "utf-8":
        text, start = spooled.in_utf8(handle, encoding), 0
        detail = f"read as {_ENCODINGS[encoding.codec]}, which the file as a whole is, and not UTF-8"
        notes = (Note("encoding", detail),)
    if spooled.ends_lines_with_cr(text, start):
        text, start = spooled.with_line_feeds(text, start), 0
    if text is handle:
        return _text(file, handle, start, is_expected)
    container = _text(replace(file, size=text.seek(0, os.SEEK_END)), text, start, is_expected)
    return replace(container, rows=_closing(container.rows, text), notes=notes)


def _probed(handle: BinaryIO, kind: Kind) -> Container | None:
    costly = refuse_costly(handle, kind)
    return None if costly is None else Container(iter([RawRow(0, costly)]))


def _looks_landed(handle: BinaryIO) -> bool:
    """Whether a text of an unknown encoding opens like JSON or with a header of a landing table."""
    handle.seek(0)
    if handle.read(limits.MIB).replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")[:1] in (b"{", b"["):
        return True
    try:
        table = find_table(handle, 0)
    except RowRejected:
        return True
    return table is not None and bool(IDS.intersection(table.header.names))


def _unknown(detail: str) -> RowRejected:
    return RowRejected(Reason.UNKNOWN_FORMAT, f"{_EXPECTED}. {detail}")


def refuse_unread(file: LandingFile, handle: BinaryIO) -> RowRejected | None:
    """Why the file is refused for its size or its first bytes, or None. Reads at most the bytes of one longest line."""
    if file.size > limits.MAX_FILE_BYTES:
        detail = f"{file.size:,} bytes; a landing file may have {limits.MAX_FILE_BYTES:,}"
        return RowRejected(Reason.TOO_LARGE, detail)
    if known := known_by_bytes(handle):
        return known
    handle.seek(0)
    head = handle.read(_HEAD_BYTES)
    if head.startswith((_PARQUET, *spooled.CODECS)) or is_arrow(head) or is_zip(handle):
        return None
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
    pieces = (handle.read(limits.MIB) for _ in range(0, limits.MAX_LINE_BYTES + 1, limits.MIB))
    return any(b"\n" in piece or b"\r" in piece for piece in pieces)


def _refused(reason: Reason, detail: str) -> Container:
    return Container(iter([RawRow(0, RowRejected(reason, detail))]))


def _text(file: LandingFile, handle: BinaryIO, start: int, is_expected: bool) -> Container:
    # CSV is tried before JSON, because a line of an answer in a table may be a JSON object by itself.
    if table := find_table(handle, start, is_expected=is_expected):
        return Container(read_csv(handle, table), is_table=True)
    handle.seek(start)
    rows = _lines(handle)
    first = first_rows(rows)
    if not first:
        return _refused(Reason.EMPTY_FILE, f"the file holds no rows ({file.size:,} bytes)")
    if len(first) == 1 and (known := known_by_fields(first[0].fields)):
        raise known
    objects = [isinstance(row.fields, dict) for row in first]
    opening = _opening(first[0])
    whole_object = objects[0] and len(first) == 1 and _is_document(first[0].fields)
    # A document may have a row to a line, of which the last, without a comma, looks like a row of JSONL.
    pretty = opening == b"{" and (not any(objects) or (not objects[0] and _is_one_value(file, handle, start)))
    # A list that is complete in its line and has other lines beside it is a bad row of JSONL, not a document.
    whole_list = opening == b"[" and not (_is_complete(first[0]) and any(objects))
    if whole_list or whole_object or pretty:
        return _document(file, handle, start)
    if any(objects):
        return Container(itertools.chain(first, rows))
    return _refused(Reason.UNKNOWN_FORMAT, f"{_EXPECTED}. This begins with {_beginning(first[0])!r}")


def _beginning(row: RawRow) -> str:
    return (row.raw_text() or "").strip()[:60]


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


def _is_one_value(file: LandingFile, handle: BinaryIO, start: int) -> bool:
    if file.size > limits.MAX_DOCUMENT_BYTES:
        return False
    place = handle.tell()
    handle.seek(start)
    body = handle.read()
    handle.seek(place)
    return too_many_values(body) is None and parse_document(body) is not None


def _opening(row: RawRow) -> bytes:
    return row.source[:1] if isinstance(row.source, bytes) else b""


def _is_document(fields: Any) -> bool:
    """Whether a single object is a container of rows or a taxonomy, and not itself a row."""
    values = list(fields.values())
    return holds_rows(fields) or (bool(values) and all(isinstance(v, dict) for v in values))


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
        head = document_head(body)
        if isinstance(head, RowRejected):
            raise head
        return Container(salvage_items(body), head)
    if known := known_by_fields(document):
        raise known
    if not document:
        return _refused(Reason.EMPTY_FILE, "the JSON document holds no rows")
    return Container(read_items(document), document)
