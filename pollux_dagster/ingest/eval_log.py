"""Inspect's `.eval` to rows: a zip archive whose members `samples/*.json` are the samples and `header.json` the log's
header (UKGovernmentBEIS/inspect_ai on GitHub, src/inspect_ai/log/_recorders/eval.py and _util/zipfile.py).

Members are read one at a time and never written to disk. What a member unfolds to is limited while it is read, whatever
the archive claims. Current versions compress with zstd, which Python's zipfile does not read.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from pollux_dagster.ingest import limits
from pollux_dagster.ingest.file_kinds import directory_bytes
from pollux_dagster.ingest.json_rows import too_many_values
from pollux_dagster.ingest.rows import RawRow, Reason, RowRejected, check_text

_HEADERS = ("header.json", "_journal/start.json")  # the second is all there is where the run was interrupted
_ZSTD = (93, 20)
_KEPT = ("id", "epoch", "input", "choices", "target", "output", "error", "metadata", "attachments")
_BROKEN = (zipfile.BadZipFile, OSError, ValueError, zlib.error, EOFError, struct.error, RuntimeError, KeyError,
           NotImplementedError, pa.ArrowException, RecursionError)  # fmt: skip


def is_eval_log(handle: BinaryIO) -> bool:
    """Whether a zip archive is a log of Inspect. Reads the list of its members only."""
    try:
        if directory_bytes(handle) > limits.MAX_ZIP_DIRECTORY_BYTES:
            return False
        return any(name in _HEADERS for name in zipfile.ZipFile(handle).namelist())
    except _BROKEN:
        return False


def read_eval_log(handle: BinaryIO) -> tuple[Iterator[RawRow], Any]:
    """The samples as rows in the archive's order, numbered from 1, and the log's header as its document."""
    archive = zipfile.ZipFile(handle)
    name = next(name for name in _HEADERS if name in archive.namelist())
    try:
        header = json.loads(_member(handle, archive, archive.getinfo(name)))
        check_text(header.get("eval") if isinstance(header, dict) else None)
    except (RowRejected, *_BROKEN) as error:
        refusal = RowRejected(Reason.UNREADABLE_FILE, f"the header of Inspect's log ({name}) cannot be read: {error}")
        return iter([RawRow(0, refusal)]), None
    return _samples(handle, archive), {"eval": header.get("eval")} if isinstance(header, dict) else None


def _samples(handle: BinaryIO, archive: zipfile.ZipFile) -> Iterator[RawRow]:
    members = [m for m in archive.infolist() if m.filename.startswith("samples/") and m.filename.endswith(".json")]
    if not members:
        yield RawRow(0, RowRejected(Reason.EMPTY_FILE, "Inspect's log holds no samples"))
    unfolded = 0
    for number, member in enumerate(members, start=1):
        if unfolded > limits.MAX_PARQUET_BYTES:
            detail = f"the archive unfolds to more than {limits.MAX_PARQUET_BYTES:,} bytes here"
            yield RawRow(number, RowRejected(Reason.TOO_LARGE, detail), member.filename)
            continue
        try:
            body = _member(handle, archive, member)
            unfolded += len(body)
            yield RawRow(number, _sample(body), member.filename)
        except RowRejected as rejection:
            yield RawRow(number, rejection, member.filename)
        except _BROKEN as error:
            detail = f"{member.filename!r:.200} cannot be read: {error}"
            yield RawRow(number, RowRejected(Reason.INVALID_JSON, detail), member.filename)


def _sample(body: bytes) -> dict[str, Any]:
    """The fields of a sample that a reader needs. Its events and scores may hold NaN, and are not looked at."""
    if refusal := too_many_values(body):
        raise refusal
    value = json.loads(body)
    if not isinstance(value, dict):
        raise RowRejected(Reason.WRONG_TYPE, "expected a sample as a JSON object")
    kept = {key: value[key] for key in _KEPT if key in value}
    check_text(kept)
    return kept


def _member(handle: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member's bytes. Raises RowRejected for one that unfolds to more than a line may have."""
    limit = limits.MAX_LINE_BYTES
    if max(member.compress_size, member.file_size) > limit:
        raise RowRejected(Reason.TOO_LARGE, f"{member.filename!r:.200} has more than {limit:,} bytes")
    if member.compress_type in _ZSTD:
        handle.seek(member.header_offset)
        start = handle.read(30)
        if len(start) < 30 or not start.startswith(b"PK\x03\x04"):
            raise zipfile.BadZipFile("no member where the archive's directory says")
        handle.seek(sum(struct.unpack("<2H", start[26:30])), 1)
        packed = handle.read(member.compress_size)
        with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
            body = stream.read(limit + 1)
    else:
        with archive.open(member) as stream:
            body = stream.read(limit + 1)
    if len(body) > limit:
        raise RowRejected(Reason.TOO_LARGE, f"{member.filename!r:.200} unfolds to more than {limit:,} bytes")
    return bytes(body)
