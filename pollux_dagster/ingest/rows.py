"""One row of a landing file before its meaning is known, and the checks of its fields.

A field is either right or raises RowRejected with a reason from a closed set; nothing is repaired silently. Formats are
in `formats/`, files in `containers`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pollux_dagster.core.taxonomy import localized
from pollux_dagster.ingest.limits import MAX_RAW_TEXT

MAX_EXACT = 2**53


class Reason(StrEnum):
    """Why a row, or a whole file, cannot be used."""

    EMPTY_FILE = "empty_file"
    UNKNOWN_FORMAT = "unknown_format"
    COMPRESSED = "compressed"
    UNREADABLE_FILE = "unreadable_file"
    TOO_LARGE = "too_large"
    INVALID_JSON = "invalid_json"
    INVALID_CSV = "invalid_csv"
    INVALID_UTF8 = "invalid_utf8"
    LONE_SURROGATE = "lone_surrogate"
    NUL_CHARACTER = "nul_character"
    NON_FINITE_NUMBER = "non_finite_number"
    WRONG_TYPE = "wrong_type"
    MISSING_PROMPT_ID = "missing_prompt_id"
    MISSING_FIELD = "missing_field"
    BLANK_MODEL_ID = "blank_model_id"
    UNREADABLE_SCALE = "unreadable_scale"
    UNKNOWN_GROUP = "unknown_group"
    CONFLICTING_GROUP = "conflicting_group"
    FAILED_RESPONSE = "failed_response"
    # Found when rows of several files are compared, in resolve/*.sql:
    DUPLICATE = "duplicate"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    UNKNOWN_PROMPT = "unknown_prompt"
    AMBIGUOUS_PROMPT = "ambiguous_prompt"
    SUPERSEDED = "superseded"
    UNKNOWN_OUTPUT = "unknown_output"
    UNKNOWN_CRITERION = "unknown_criterion"
    OFF_SCALE = "off_scale"


class RowRejected(ValueError):
    """A row cannot be used. `detail` says what was expected and what was found."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = printable(detail)


@dataclass(frozen=True, slots=True)
class RawRow:
    """Row `number` of a file: its fields, or why they could not be read.

    The number is the line in JSONL (from 1), the ordinal in arrays, CSV and Parquet (from 1), and 0 for the file as a
    whole. `source` is the row as it was in the file, for the record of rejected rows.
    """

    number: int
    fields: dict[str, Any] | RowRejected
    source: bytes | str | None = None

    def raw_text(self) -> str | None:
        """The row as printable text of at most MAX_RAW_TEXT characters."""
        if isinstance(self.source, bytes):
            return printable(self.source[: 4 * MAX_RAW_TEXT].decode("utf-8", "backslashreplace"))
        if self.source is not None:
            return printable(self.source)
        if isinstance(self.fields, dict):
            return printable(json.dumps(self.fields, ensure_ascii=False, default=str))
        return None


def printable(text: str) -> str:
    """`text` cut to MAX_RAW_TEXT characters, with lone surrogates and NUL escaped: what DuckDB can store."""
    safe = text[:MAX_RAW_TEXT].encode("utf-8", "backslashreplace").decode("utf-8")
    return safe.replace("\0", "\\u0000")[:MAX_RAW_TEXT]


def json_type_name(value: object) -> str:
    """The name of a value's type in JSON, for messages."""
    if isinstance(value, bool):
        return "a boolean"
    names = {
        type(None): "null",
        str: "text",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)


def reject_type(field: str, expected: str, value: object) -> RowRejected:
    return RowRejected(
        Reason.WRONG_TYPE, f"expected {field} to be {expected}, got {json_type_name(value)}: {value!r:.200}"
    )


def prompt_id(value: object, field: str = "prompt_id") -> str:
    """An id as text: 1, 1.0 and "1" are the same id. Booleans, lists and inexact numbers are rejected."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowRejected(Reason.MISSING_PROMPT_ID, f"expected {field}, got {json_type_name(value)}")
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise reject_type(field, "text or a number", value)
    if isinstance(value, float):
        check_finite(field, value)
        if abs(value) >= MAX_EXACT:
            raise reject_type(field, "text or a number below 2^53, which keeps all its digits", value)
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def model_id(value: object, field: str = "model_id") -> str:
    """A model id exactly as written: any text that is not blank."""
    if not isinstance(value, str):
        raise reject_type(field, "text", value)
    if not value.strip():
        raise RowRejected(Reason.BLANK_MODEL_ID, f"expected {field} to name a model, got {value!r}")
    return value


def required_text(fields: Mapping[str, Any], field: str) -> str:
    """Text that is neither missing nor blank. Raises RowRejected otherwise."""
    value = fields.get(field)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowRejected(Reason.MISSING_FIELD, f"expected {field} as text, got {json_type_name(value)}")
    if not isinstance(value, str):
        raise reject_type(field, "text", value)
    return value


def optional_text(fields: Mapping[str, Any], field: str) -> str | None:
    """Text unchanged, blank included; None when null or absent."""
    value = fields.get(field)
    if value is not None and not isinstance(value, str):
        raise reject_type(field, "text or null", value)
    return value


def answer(fields: Mapping[str, Any], field: str = "answer") -> str | None:
    """An answer: text, blank or null. Raises RowRejected when the field is absent."""
    if field not in fields:
        raise RowRejected(Reason.MISSING_FIELD, f"expected {field} (it may be null), found no such field")
    return optional_text(fields, field)


def reference_text(fields: Mapping[str, Any], field: str = "reference_answer") -> str | None:
    """A reference answer: text, or a number as text; None when blank."""
    value = fields.get(field)
    if isinstance(value, int | float) and not isinstance(value, bool):
        check_finite(field, value)
        return str(value)
    text = optional_text(fields, field)
    return text if text and text.strip() else None


def label(fields: Mapping[str, Any], field: str) -> str | None:
    """A short name (task type, domain, difficulty): text, a number, or `{ru, en}`; None when blank."""
    value = fields.get(field)
    if isinstance(value, dict):
        return localized(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return (optional_text(fields, field) or "").strip() or None


def sample_index(fields: Mapping[str, Any]) -> int:
    """The index among several answers of one model to one prompt; 0 when the file does not say."""
    value = fields.get("sample_index")
    if value is None:
        return 0
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or not 0 <= value < 2**31:
        raise reject_type("sample_index", "a whole number from 0", value)
    return int(value)


def score(value: object, field: str = "score") -> float:
    """A finite number, or text with one, with a decimal point or comma."""
    if isinstance(value, str):
        try:
            value = float(value.strip().replace(",", "."))
        except ValueError:
            raise reject_type(field, "a number", value) from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise reject_type(field, "a number", value)
    check_finite(field, value)
    return float(value)


def check_finite(field: str, value: float) -> None:
    if not math.isfinite(value):
        raise RowRejected(Reason.NON_FINITE_NUMBER, f"expected {field} to be a finite number, got {value!r}")


def check_text(value: object) -> None:
    """Reject NUL and lone surrogates anywhere in a value read from a row; neither DuckDB nor UTF-8 can hold them."""
    if isinstance(value, str):
        if "\0" in value:
            raise RowRejected(Reason.NUL_CHARACTER, f"a text holds U+0000 at character {value.index(chr(0))}")
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                raise _surrogate(value, error.start) from None
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key)
            check_text(item)
    elif isinstance(value, list):
        for item in value:
            check_text(item)
    elif isinstance(value, float):
        check_finite("a number", value)


def _surrogate(text: str, at: int) -> RowRejected:
    code = ord(text[at])
    if 0xDC80 <= code <= 0xDCFF:  # how Python's surrogateescape marks a byte that is not UTF-8
        return RowRejected(Reason.INVALID_UTF8, f"byte 0x{code - 0xDC00:02x} at character {at} is not UTF-8")
    return RowRejected(Reason.LONE_SURROGATE, f"half of a surrogate pair (U+{code:04X}) at character {at}")
