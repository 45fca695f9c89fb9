"""CSV to rows, where a wrong quote costs the row it is in and not the rows after it.

A record whose quote never closes, or closes in the middle of a cell, is taken to be its first line only, and reading
resumes at the next line. The number of bytes read twice is limited in proportion to the bytes already read.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from typing import Any, BinaryIO

from pollux_dagster.ingest import limits
from pollux_dagster.ingest.rows import RawRow, Reason, RowRejected, check_text

_REREADS_A_BYTE = 4
"""Bytes that may be read again for each byte read so far. Torn cells alone need one."""


def read_csv(handle: BinaryIO, header: list[str], delimiter: str) -> Iterator[RawRow]:
    """The records after the header line, numbered from 1. A record spans several lines only within quotes."""
    csv.field_size_limit(limits.MAX_LINE_BYTES)
    lines = _Lines(handle)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    for number in itertools.count(1):
        lines.start_record()
        try:
            values = next(reader, None)
            if values is None:
                return
            if not values:
                continue
            row = _row(number, header, values, delimiter, spans_lines=lines.taken > 1)
        except (csv.Error, RowRejected) as error:
            yield RawRow(number, _rejection(error), lines.first)
            lines.go_back_to_second()
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
        else:
            yield row


def _row(number: int, header: list[str], values: list[str], delimiter: str, *, spans_lines: bool) -> RawRow:
    """One record as a row. Raises RowRejected for a record whose end is doubtful."""
    source = delimiter.join(values)
    if len(values) != len(header):
        detail = f"expected {len(header)} columns as in the header, got {len(values)}"
        if spans_lines:
            raise RowRejected(Reason.INVALID_CSV, f"{detail}, in a record that quotes carry over several lines")
        return RawRow(number, RowRejected(Reason.WRONG_TYPE, detail), source)
    try:
        check_text(source)
    except RowRejected as rejection:
        return RawRow(number, rejection, source)
    fields: dict[str, Any] = {k: v if v else None for k, v in zip(header, values, strict=True)}
    return RawRow(number, fields, source)


def _rejection(error: csv.Error | RowRejected) -> RowRejected:
    if isinstance(error, RowRejected):
        return error
    detail = f"not a readable CSV record, by its quotes: {error}; reading goes on at the next line"
    return RowRejected(Reason.INVALID_CSV, detail)


class _Lines:
    """Lines of text for the CSV reader, which on its own would collect a record with an open quote without limit.

    A record may be as long as the limit of a line. A torn cell is read up to the next quote, and no quote in between
    can open another cell, so reading these lines again costs at most their length, however many cells are torn. What
    may be read again therefore grows with what has been read. Where quotes are arranged so that every line starts a
    record of many lines, this allowance runs out, and every record ends with its line until there is some again.
    """

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._rereads_left = 2 * limits.MAX_LINE_BYTES
        self._size = 0
        self._second = 0
        self.taken = 0
        self.first = ""

    def __iter__(self) -> _Lines:
        return self

    def start_record(self) -> None:
        self._rereads_left += _REREADS_A_BYTE * self._size
        self.taken = self._size = 0

    def __next__(self) -> str:
        if self.taken and self._rereads_left <= 0:
            raise RowRejected(Reason.INVALID_CSV, "a quote that does not close in its line, after many such records")
        line = self._handle.readline(limits.MAX_LINE_BYTES + 1)
        if not line:
            raise StopIteration
        self.taken += 1
        self._size += len(line)
        text = line.decode("utf-8", "surrogateescape")
        if self.taken == 1:
            self.first = text
        elif self.taken == 2:
            self._second = self._handle.tell() - len(line)
        if self._size > limits.MAX_LINE_BYTES:
            self._refuse(line)
        return text

    def _refuse(self, line: bytes) -> None:
        limit = limits.MAX_LINE_BYTES
        if self.taken > 1:
            detail = f"a quote that does not close within {limit:,} bytes; reading goes on at the next line"
            raise RowRejected(Reason.INVALID_CSV, detail)
        while line and not line.endswith(b"\n"):
            line = self._handle.readline(limit)
        raise RowRejected(Reason.TOO_LARGE, f"the line is longer than {limit:,} bytes")

    def go_back_to_second(self) -> None:
        """Continue after the first line of the record that was being read."""
        if self.taken > 1:
            self._rereads_left -= self._size
            self._handle.seek(self._second)
            self._size = 0
