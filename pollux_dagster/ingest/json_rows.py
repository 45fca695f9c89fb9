"""JSON text to rows: one line of JSONL, or the items of a document, each with its own reason when broken.

The one idea: the fast parser answers yes or no, and only a no is looked at again to say why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import orjson

from pollux_dagster.ingest import limits
from pollux_dagster.ingest.rows import RawRow, Reason, RowRejected, check_text, kind

# A document of rows is a list, or an object with the rows under one of these keys.
ROW_KEYS = ("answers", "instructions", "outputs", "data", "rows", "scores", "examples")
_ROWS_OPEN = re.compile(rf'\s*(?:\[|\{{[^\[]*?"(?:{"|".join(ROW_KEYS)})"\s*:\s*\[)')
_BETWEEN_ITEMS = re.compile(r"[\s,]*")


def too_many_values(text: bytes) -> RowRejected | None:
    """The refusal of a JSON text that would become too many objects, found by counting and without parsing."""
    if len(text) <= limits.MAX_JSON_VALUES:
        return None
    values = text.count(b",") + text.count(b"[") + text.count(b"{")
    if values <= limits.MAX_JSON_VALUES:
        return None
    detail = f"about {values:,} values in one JSON text; one may have {limits.MAX_JSON_VALUES:,}: write JSONL"
    return RowRejected(Reason.TOO_LARGE, detail)


def read_line(number: int, line: bytes) -> RawRow:
    """One line of JSONL as a row: an object, or the reason why it is none."""
    if refusal := too_many_values(line):
        return RawRow(number, refusal, line[: 4 * limits.MAX_RAW_TEXT])
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return RawRow(number, _why_broken(line, str(error)), line)
    if not isinstance(value, dict):
        return RawRow(number, _not_an_object(value), line)
    if b"\\u0000" in line:
        try:
            check_text(value)
        except RowRejected as rejection:
            return RawRow(number, rejection, line)
    return RawRow(number, value, line)


def _not_an_object(value: object) -> RowRejected:
    return RowRejected(Reason.WRONG_TYPE, f"expected a row as a JSON object, got {kind(value)}: {value!r:.200}")


def _why_broken(line: bytes, fast_error: str) -> RowRejected:
    if b"\0" in line:
        return RowRejected(Reason.NUL_CHARACTER, f"a NUL byte at byte {line.index(0)} of the row")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return RowRejected(Reason.INVALID_UTF8, f"byte 0x{line[error.start]:02x} at {error.start} is not UTF-8")
    try:
        check_text(json.loads(text, parse_constant=_no_constant))
    except RowRejected as rejection:
        return rejection
    except RecursionError:
        return RowRejected(Reason.INVALID_JSON, "nested too deeply")
    except ValueError as error:
        return RowRejected(Reason.INVALID_JSON, f"expected a whole JSON object: {error}")
    return RowRejected(Reason.INVALID_JSON, f"expected a whole JSON object: {fast_error}")


def _no_constant(name: str) -> NoReturn:
    raise RowRejected(Reason.NON_FINITE_NUMBER, f"{name} is not a JSON number")


def parse_document(body: bytes) -> Any:
    """A whole JSON document, or None when it does not parse."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def read_items(document: Any) -> Iterator[RawRow]:
    """The rows of a parsed document: its list, the list under a known key, or the object itself."""
    items = document
    if isinstance(document, dict):
        items = next((document[k] for k in ROW_KEYS if isinstance(document.get(k), list)), [document])
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            yield RawRow(number, _not_an_object(item), json.dumps(item, ensure_ascii=False, default=str))
            continue
        try:
            check_text(item)
        except RowRejected as rejection:
            yield RawRow(number, rejection, json.dumps(item, ensure_ascii=False, default=str))
            continue
        yield RawRow(number, item)


def _after_the_list(text: str, at: int) -> str | None:
    """What follows a document's list of rows, unless it ends the document as JSON should."""
    tail = text[at:].strip()
    if not text.lstrip().startswith("{"):
        return tail or None
    try:
        json.loads('{"rows": []' + tail)
    except (ValueError, RecursionError):
        return tail or "(nothing, where a closing brace was expected)"
    return None


def holds_a_list(body: bytes) -> bool:
    """Whether a broken document opens a list of rows near its start, so that its items can be read singly."""
    return _ROWS_OPEN.match(body[:1_000_000].decode("utf-8", "replace")) is not None


def salvage_items(body: bytes) -> Iterator[RawRow]:
    """The rows of a broken document: good items are kept, bad ones say why, a torn tail is one row.

    Only a list of rows can be taken apart; anything else broken is a single rejected row.
    """
    text = body.decode("utf-8", "surrogateescape")
    opened = _ROWS_OPEN.match(text)
    if not opened:
        yield RawRow(0, _why_broken(body, "not JSON"), body)
        return
    decoder = json.JSONDecoder(parse_constant=float)
    number, at = 0, opened.end()
    while True:
        at = _BETWEEN_ITEMS.match(text, at).end()  # type: ignore[union-attr]  # it matches the empty text too
        if text.startswith("]", at):
            if torn := _after_the_list(text, at + 1):
                yield RawRow(number + 1, RowRejected(Reason.INVALID_JSON, "text after the list of rows"), torn)
            return
        number += 1
        try:
            item, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            torn = text[at:]
            reason = Reason.NUL_CHARACTER if "\0" in torn[:1_000_000] else Reason.INVALID_JSON
            yield RawRow(number, RowRejected(reason, f"the file breaks off or is not JSON here: {error}"), torn)
            return
        source = text[at:end]
        at = end
        if not isinstance(item, dict):
            yield RawRow(number, _not_an_object(item), source)
            continue
        try:
            check_text(item)
        except RowRejected as rejection:
            yield RawRow(number, rejection, source)
        else:
            yield RawRow(number, item, source)
