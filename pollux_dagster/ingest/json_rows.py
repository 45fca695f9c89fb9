"""JSON text to rows: one line of JSONL, or the items of a document, each with its own reason when broken.

The fast parser only accepts or refuses, and of a name that an object repeats it keeps the last value. A refused text is
parsed again to find the reason, or to read it after all where only NaN or half of a surrogate pair stood in the way;
one with more names than the parsed value has, to find the repeated one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from pollux_dagster.ingest import limits
from pollux_dagster.ingest.rows import RawRow, Reason, RowRejected, json_type_name, reject_type, usable_fields

# A document of rows is a list, or an object with the rows under one of these keys.
ROW_KEYS = (
    *("answers", "instructions", "outputs", "data", "rows", "scores", "examples"),
    *("samples", "request_states"),  # Inspect's logs, HELM's scenario_state.json
)
# An object with one of these is a row, whatever lists it has; with one of the others, where a list answers it.
_IDS_OF_A_ROW = ("prompt_id", "question_id", "custom_id", "doc_id", "uid")
_QUESTIONS_OF_A_ROW = ("prompt", "question", "query", "input")
_ROWS_OPEN = re.compile(rf'\s*(?:\[|\{{[^\[]*?"(?:{"|".join(ROW_KEYS)})"\s*:\s*\[)')
_BETWEEN_ITEMS = re.compile(r"[\s,]*")
_READ_CHARACTERS = limits.MIB
_BROKEN_ITEMS = 100_000
_ITEM_OPENS = re.compile(r'\{\s*"[^"\\]*"\s*:')
_OBJECT_OPENS = re.compile(r"(?<=[,\n])\s*\{")
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"[ \t\r\n]*+(:?)', re.DOTALL)
_SPACED = re.compile(rb'"[ \t\r\n]+:')
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
    except orjson.JSONDecodeError:
        return _read_again(number, line)
    if not isinstance(value, dict):
        return RawRow(number, _not_an_object(value), line)
    if repeats_a_name(line, value):
        return _read_again(number, line)
    return RawRow(number, usable_fields(value) if b"\\u0000" in line else value, line)


def repeats_a_name(text: bytes, value: Any) -> bool:
    """Whether an object in this JSON text has a name twice, of which `value`, the parsed text, has only one.

    Every name is followed by `":`, so a flat object with no more of these than names, and no white space before a
    colon, repeats none. Any other text has as many colons as its value has when it is written again, unless a name was
    lost or an escape stands for a colon; only such texts are looked through string by string.
    """
    if type(value) is dict and text.count(b'":') == len(value) and _SPACED.search(text) is None:
        return False
    if b"\\u003" not in text and text.count(b":") == _colons_when_written(value):
        return False
    return _STRINGS.findall(text).count(b":") != _count_names(value)


def _colons_when_written(value: Any) -> int:
    """The colons in a value written as JSON, a row at a time; -1 where it is nested too deeply."""
    try:
        if type(value) is dict and any(type(item) is list and len(item) > 100 for item in value.values()):
            return sum(name.count(":") + 1 + _colons_when_written(item) for name, item in value.items())
        if type(value) is list:
            return sum(orjson.dumps(item).count(b":") for item in value)
        return orjson.dumps(value).count(b":")
    except orjson.JSONEncodeError:
        return -1


def _count_names(value: Any) -> int:
    names = 0
    left = [value]
    while left:
        items = left.pop()
        if type(items) is dict:
            names += len(items)
            items = items.values()
        elif type(items) is not list:
            continue
        left += [item for item in items if type(item) is dict or type(item) is list]
    return names


def _not_an_object(value: object) -> RowRejected:
    return RowRejected(
        Reason.WRONG_TYPE, f"expected a row as a JSON object, got {json_type_name(value)}: {value!r:.200}"
    )


def _read_again(number: int, line: bytes) -> RawRow:
    """A line that the fast parser refused, by the slow one: its fields after all, or the reason."""
    try:
        value = _parse_slowly(line.decode("utf-8"))
        fields: dict[str, Any] | RowRejected = (
            usable_fields(value) if isinstance(value, dict) else _not_an_object(value)
        )
    except (ValueError, RecursionError) as error:
        fields = _why_broken(line, error)
    return RawRow(number, fields, line)


def _why_broken(text: bytes, error: ValueError | RecursionError) -> RowRejected:
    """The reason for an error of `_parse_slowly`."""
    if isinstance(error, RowRejected):
        return error
    if b"\0" in text:
        return RowRejected(Reason.NUL_CHARACTER, f"a NUL byte at byte {text.index(0)} of the row")
    if isinstance(error, UnicodeDecodeError):
        return RowRejected(Reason.INVALID_UTF8, f"byte 0x{text[error.start]:02x} at {error.start} is not UTF-8")
    if isinstance(error, RecursionError):
        return RowRejected(Reason.INVALID_JSON, "nested too deeply")
    if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
        if error.doc[error.pos :].strip() == ",":
            detail = (
                "expected a line that ends with its object, got a comma after it: delete it, as JSON Lines have none"
            )
            return RowRejected(Reason.INVALID_JSON, f"{detail}, or put the rows into one list, [ … ]")
        detail = "expected one JSON value, got several: write each to a line of its own (`jq -c .`), or a list"
        return RowRejected(Reason.INVALID_JSON, detail)
    return RowRejected(Reason.INVALID_JSON, f"expected a whole JSON object: {error}")


def _parse_slowly(text: str) -> Any:
    """The JSON value of a text with NaN, Infinity or halves of surrogate pairs, by Python's own parser.

    Raises RowRejected for a repeated name, else ValueError or RecursionError.
    """
    return json.loads(text, object_pairs_hook=_once_each, parse_constant=float, parse_int=_whole)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _repeated(pairs)
    return fields


def _repeated(pairs: list[tuple[str, Any]]) -> RowRejected:
    (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
    return RowRejected(Reason.REPEATED_FIELD, f"expected each field of an object once, got {name!r:.200} twice")


def _whole(digits: str) -> int | float:
    """A whole number as the fast parser reads it: beyond 64 bits it is a float."""
    if len(digits) > 20:
        return float(digits)
    whole = int(digits)
    return whole if -(2**63) <= whole < 2**64 else float(whole)


def parse_document(body: bytes) -> Any:
    """A whole JSON document, or None when it does not parse or an object in it repeats a name."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            document = _parse_slowly(body.decode("utf-8"))
        except (ValueError, RecursionError):
            return None
        return None if _is_taxonomy(document) else document  # the readers of taxonomies expect what JSON allows
    return None if repeats_a_name(body, document) else document


def _is_taxonomy(document: Any) -> bool:
    return isinstance(document, dict) and all(isinstance(entry, dict) for entry in document.values())


def document_head(body: bytes) -> dict[str, Any] | RowRejected | None:
    """What a broken document says before its list of rows, or why that cannot be used; None when it says nothing."""
    opened = _ROWS_OPEN.match(body[:_READ_CHARACTERS].decode("utf-8", "surrogateescape"))
    if opened is None or not opened[0].lstrip().startswith("{"):
        return None
    try:
        head = usable_fields(_parse_slowly(opened[0] + "]}"))
    except RowRejected as repeated:
        return repeated
    except (ValueError, RecursionError):
        return None
    return head


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
        yield RawRow(number, _fields(item))
    for number, other in enumerate(others, start=len(items) + 1):
        yield RawRow(number, _not_read(other, document[other]))


def _fields(item: dict[str, Any]) -> dict[str, Any] | RowRejected:
    try:
        return usable_fields(item)
    except RecursionError:
        return RowRejected(Reason.INVALID_JSON, "nested too deeply")


def _lists_of(document: dict[str, Any]) -> list[str]:
    """The known keys under which a document has a list, the one to read first."""
    found = [key for key in ROW_KEYS if isinstance(document.get(key), list) and not _is_row_with(document, key)]
    return [key for key in found if document[key]] or found[:1]


def holds_rows(document: dict[str, Any]) -> bool:
    """Whether an object is a document with a list of rows, and not itself a row."""
    return bool(_lists_of(document))


def _is_row_with(fields: dict[str, Any], key: str) -> bool:
    """Whether an object is a row in which the list under this key is a field."""
    if any(isinstance(fields.get(name), str | int) for name in _IDS_OF_A_ROW):
        return True
    is_asked = any(isinstance(fields.get(name), str) for name in _QUESTIONS_OF_A_ROW)
    return is_asked and (key == "outputs" or not any(isinstance(item, dict) for item in fields[key]))


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
        rest = _parse_slowly('{"": []' + tail)
    except RowRejected as repeated:
        yield repeated
        return
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
        row = _read_again(0, body)
        wanted = "free of NaN, U+0000 and halves of surrogate pairs"
        yield row if isinstance(row.fields, RowRejected) else RawRow(0, reject_type("it", wanted, row.fields), body)
        return
    repeated: list[RowRejected] = []

    def noting_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            repeated.append(_repeated(pairs))
        return fields

    decoder = json.JSONDecoder(object_pairs_hook=noting_repeats, parse_constant=float, parse_int=_whole)
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
        repeated.clear()
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
        if repeated:
            yield RawRow(number, repeated[0], source)
        elif not isinstance(item, dict):
            yield RawRow(number, _not_an_object(item), source)
        else:
            yield RawRow(number, _fields(item), source)


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
