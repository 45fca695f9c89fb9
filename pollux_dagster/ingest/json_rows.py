"""JSON text to rows: one line of JSONL, or the items of a document, each with its own reason when broken.

The fast parser only accepts or refuses; a refused text is parsed again to find the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import orjson

from pollux_dagster.ingest import limits
from pollux_dagster.ingest.rows import RawRow, Reason, RowRejected, check_text, json_type_name

# A document of rows is a list, or an object with the rows under one of these keys.
ROW_KEYS = (
    *("answers", "instructions", "outputs", "data", "rows", "scores", "examples"),
    *("samples", "request_states"),  # Inspect's logs, HELM's scenario_state.json
)
_ROWS_OPEN = re.compile(rf'\s*(?:\[|\{{[^\[]*?"(?:{"|".join(ROW_KEYS)})"\s*:\s*\[)')
_BETWEEN_ITEMS = re.compile(r"[\s,]*")
_READ_CHARACTERS = limits.MIB
_BROKEN_ITEMS = 100_000
_ITEM_OPENS = re.compile(r'\{\s*"[^"\\]*"\s*:')
_OBJECT_OPENS = re.compile(r"(?<=[,\n])\s*\{")
_STRINGS_AND_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


def too_many_values(text: bytes) -> RowRejected | None:
    """Refuse a JSON text that would become too many objects; they are counted without parsing. None when it is fine."""
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
    return RowRejected(
        Reason.WRONG_TYPE, f"expected a row as a JSON object, got {json_type_name(value)}: {value!r:.200}"
    )


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
    """The rows of a parsed document: its list, the list under a known key, or the object itself.

    One list of a document is read, the first that is not empty; each other list is a rejected row.
    """
    items = document
    others: list[str] = []
    if isinstance(document, dict):
        listed, *others = _lists_of(document) or [""]
        items = document[listed] if listed else [document]
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
    for number, other in enumerate(others, start=len(items) + 1):
        yield RawRow(number, _not_read(other, document[other]))


def _lists_of(document: dict[str, Any]) -> list[str]:
    """The known keys under which a document has a list, the one to read first."""
    found = [key for key in ROW_KEYS if isinstance(document.get(key), list)]
    return [key for key in found if document[key]] or found[:1]


def _not_read(key: str, items: list[Any]) -> RowRejected:
    detail = f"{len(items)} rows under {key!r} are not read, as one list of a document is: put them into another file"
    return RowRejected(Reason.UNKNOWN_FORMAT, detail)


def _after_the_list(tail: str, *, in_object: bool) -> Iterator[RowRejected]:
    """Rejected rows for the text after a document's list of rows, unless it is empty or the end of the document's
    object.
    """
    if not in_object:
        if tail:
            yield RowRejected(Reason.INVALID_JSON, f"text after the list of rows: {tail!r:.200}")
        return
    try:
        rest = json.loads('{"": []' + tail)
    except (ValueError, RecursionError):
        found = repr(tail[:200]) if tail else "nothing"
        yield RowRejected(Reason.INVALID_JSON, f"expected the end of an object after the list of rows, got {found}")
        return
    for key in ROW_KEYS:
        if isinstance(rest.get(key), list) and rest[key]:
            yield _not_read(key, rest[key])


def holds_a_list(body: bytes) -> bool:
    """Whether a broken document opens a list of rows near its start, so that its items can be read one by one."""
    return _ROWS_OPEN.match(body[:1_000_000].decode("utf-8", "replace")) is not None


def salvage_items(body: bytes) -> Iterator[RawRow]:
    """The rows of a broken document: good items are kept, bad ones get a reason, a torn tail is one rejected row.

    Only a list of rows can be read item by item; any other broken document is a single rejected row.
    """
    text = body.decode("utf-8", "surrogateescape")
    opened = _ROWS_OPEN.match(text)
    if not opened:
        yield RawRow(0, _why_broken(body, "not JSON"), body)
        return
    decoder = json.JSONDecoder(parse_constant=float)
    following = _Following(len(text))
    in_object = opened[0].lstrip().startswith("{")
    number, at = 0, opened.end()
    while True:
        at = _BETWEEN_ITEMS.match(text, at).end()  # type: ignore[union-attr]  # the pattern also matches the empty text
        if text.startswith("]", at):
            tail = text[at + 1 :].strip()
            for place, rejection in enumerate(_after_the_list(tail, in_object=in_object), start=number + 1):
                yield RawRow(place, rejection, tail or None)
            return
        number += 1
        try:
            item, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            end = following.after(text, at)
            yield RawRow(number, _why_item_broken(error, text, at, end), text[at:end])
            if end == len(text):
                return
            # The position in an error is found by counting lines from the start: dropping what is read keeps many
            # errors cheap.
            text, at = (text[end:], 0) if end > _READ_CHARACTERS else (text, end)
            continue
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


def _why_item_broken(error: ValueError | RecursionError, text: str, at: int, end: int) -> RowRejected:
    detail = "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        detail = f"{error.msg} at character {error.pos - at} of the row"
    detail += "; the file is not read past here" if end == len(text) else "; reading goes on at the next row"
    reason = Reason.NUL_CHARACTER if "\0" in text[at : min(end, at + 1_000_000)] else Reason.INVALID_JSON
    return RowRejected(reason, f"expected a whole JSON object: {detail}")


class _Following:
    """Finds where a list continues after an item that does not parse.

    That is the place where all of the item's brackets outside strings are closed. A stray quote may have swapped inside
    and outside of strings; then it is the place where another item opens in the same way, with the same first field.
    The number of characters searched and of searches is limited for the whole document; beyond that, the list continues
    at the next object to open, or not at all.
    """

    def __init__(self, size: int) -> None:
        self._characters_left = 8 * size
        self._items_left = _BROKEN_ITEMS

    def after(self, text: str, at: int) -> int:
        """Where the list continues after the broken item at `at`: beyond its start; the end of the text if nowhere."""
        self._items_left -= 1
        if self._items_left <= 0:
            return len(text)
        opening = _ITEM_OPENS.match(text, at)
        if opening is None or self._characters_left <= 0:
            following = _OBJECT_OPENS.search(text, at + 1)
            return following.start() if following else len(text)
        alike = text.find(opening[0], opening.end())
        limit = len(text) if alike < 0 else alike
        self._characters_left -= limit - at
        return _brackets_close(text, at, limit)


def _brackets_close(text: str, at: int, limit: int) -> int:
    """The position after the bracket that closes the one at `at`, or `limit`."""
    depth = 0
    for token in _STRINGS_AND_BRACKETS.finditer(text, at, limit):
        first = token[0][0]
        if first in "[{":
            depth += 1
        elif first in "]}":
            depth -= 1
            if depth == 0:
                return token.end()
    return limit
