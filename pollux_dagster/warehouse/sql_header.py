"""The YAML header of a SQL model: what it may contain, and errors that name the file and the line.

The SELECT is not read here; `sql_models` compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import yaml

_KEYS = ("description", "grain", "example", "front", "owners", "tags", "materialized", "columns", "checks")
_REQUIRED = ("description", "materialized", "columns")


class SqlModelError(RuntimeError):
    """A SQL model that cannot be used. The message starts with `file:line:`."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"{path}:{line}: {problem}")
        self.path = path
        self.line = line


@dataclass(frozen=True, slots=True)
class SqlCheck:
    """An invariant of one table: `sql` returns the rows that violate it. A failed `error` stops the build."""

    name: str
    description: str
    severity: Literal["error", "warn"]
    sql: str


@dataclass(frozen=True, slots=True)
class SqlHeader:
    """A parsed header; `line_count` is the number of lines before the SELECT.

    `grain` says what one row is, in default of a text by the columns of the first `unique`; "" where there is neither.
    """

    description: str
    grain: str
    example: str
    front: bool
    owners: tuple[str, ...]
    tags: Mapping[str, str]
    materialized: Literal["table", "view"]
    columns: Mapping[str, str]
    checks: tuple[SqlCheck, ...]
    line_count: int


def split_header(path: Path, text: str) -> tuple[str, str]:
    """The YAML inside the leading `/* … */` and the SQL after it.

    Raises:
        SqlModelError: the file does not begin with a closed block comment.
    """
    if not text.startswith("/*"):
        raise SqlModelError(path, 1, "expected the file to begin with a YAML header in /* … */")
    header, closed, sql = text[2:].partition("*/")
    if not closed:
        raise SqlModelError(path, 1, "the header's /* is never closed with */")
    return header, sql


def parse_header(path: Path, header: str, table: str) -> SqlHeader:
    """Read the YAML `header` of `table` (schema.name).

    Raises:
        SqlModelError: not YAML, an unknown or missing key, or a value of the wrong kind.
    """
    try:
        loaded = yaml.safe_load(header)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SqlModelError(path, line, f"the header is not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = header.count("\n", 0, error.position) + 1
        raise SqlModelError(path, line, f"the header holds a character that YAML forbids: {error.reason}") from error
    except (ValueError, RecursionError) as error:  # an impossible date, endlessly nested lists
        raise SqlModelError(path, 1, f"the header is not usable YAML: {error}") from error
    if not isinstance(loaded, dict):
        raise SqlModelError(path, 1, f"expected the header to be a YAML mapping with keys {', '.join(_KEYS)}")
    for key in loaded:
        if key not in _KEYS:
            line = line_of(header, f"{key}:")
            raise SqlModelError(path, line, f"unknown header key {key!r}; known are {', '.join(_KEYS)}")
    for key in _REQUIRED:
        if not loaded.get(key):
            raise SqlModelError(path, 1, f"the header has no {key!r}; {', '.join(_REQUIRED)} are required")
    if loaded["materialized"] not in ("table", "view"):
        line = line_of(header, "materialized:")
        got = loaded["materialized"]
        raise SqlModelError(path, line, f"materialized: expected 'table' or 'view', got {got!r}")
    if not isinstance(front := loaded.get("front", False), bool):
        raise SqlModelError(path, line_of(header, "front:"), f"front: expected true or false, got {front!r}")
    if front and not table.startswith("marts."):
        raise SqlModelError(
            path, line_of(header, "front:"), f"front: only tables of marts may be at the front, got {table}"
        )
    return SqlHeader(
        description=str(loaded["description"]).strip(),
        grain=_text(path, header, "grain", loaded.get("grain", _first_key(loaded.get("checks")))),
        example=_text(path, header, "example", loaded.get("example", f"FROM {table} LIMIT 10")),
        front=front,
        owners=_strings(path, header, "owners", loaded["owners"]) if "owners" in loaded else (),
        tags=_texts(path, header, "tags", loaded.get("tags", {})),
        materialized=cast(Literal["table", "view"], loaded["materialized"]),
        columns=_texts(path, header, "columns", loaded["columns"]),
        checks=tuple(_check(path, header, entry, table) for entry in _entries(path, header, loaded.get("checks", []))),
        line_count=header.count("\n"),
    )


def _first_key(checks: object) -> str:
    """The grain that the first `unique` of the checks states."""
    for entry in checks if isinstance(checks, list) else []:
        if isinstance(entry, dict) and isinstance(columns := entry.get("unique"), list):
            return f"One row per ({', '.join(map(str, columns))})."
    return ""


def _text(path: Path, header: str, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise SqlModelError(path, line_of(header, f"{key}:"), f"{key}: expected a text, got {value!r}")
    return " ".join(value.split())


def _entries(path: Path, header: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise SqlModelError(path, line_of(header, "checks:"), f"checks: expected a list, got {value!r}")
    return value


def _check(path: Path, header: str, entry: object, table: str) -> SqlCheck:
    line = line_of(header, "checks:")
    if not isinstance(entry, dict):
        raise SqlModelError(path, line, f"checks: expected unique, not_null or name + sql, got {entry!r}")
    if set(entry) == {"unique"}:
        return _unique(_strings(path, header, "unique", entry["unique"]), table)
    if set(entry) == {"not_null"}:
        return _not_null(_strings(path, header, "not_null", entry["not_null"]), table)
    extra = set(entry) - {"name", "description", "severity", "sql"}
    if extra or not {"name", "description", "sql"} <= set(entry):
        wanted = "unique: [columns], not_null: [columns], or name, description, sql and optionally severity"
        raise SqlModelError(path, line, f"checks: expected {wanted}; got keys {sorted(map(str, entry))}")
    for key in ("name", "description", "sql"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise SqlModelError(path, line, f"checks: expected {key} as a text that is not blank, got {entry[key]!r}")
    severity = entry.get("severity", "error")
    if severity not in ("error", "warn"):
        raise SqlModelError(path, line, f"check {entry['name']}: severity is 'error' or 'warn', got {severity!r}")
    return SqlCheck(entry["name"], entry["description"].strip(), severity, entry["sql"].strip())


def _unique(columns: Sequence[str], table: str) -> SqlCheck:
    from sqlglot import exp

    names = ", ".join(columns)
    keys = [exp.column(column) for column in columns]  # not as text, because a name may need quotes
    query = exp.select(*keys, "count(*) AS n").from_(table, dialect="duckdb").group_by(*keys).having("count(*) > 1")
    return SqlCheck(f"unique_{'_'.join(columns)}", f"One row per ({names}).", "error", query.sql("duckdb"))


def _not_null(columns: Sequence[str], table: str) -> SqlCheck:
    from sqlglot import exp

    query = (
        exp.select("*")
        .from_(table, dialect="duckdb")
        .where(exp.or_(*(exp.column(column).is_(exp.null()) for column in columns)))
    )
    names = ", ".join(columns)
    return SqlCheck(f"not_null_{'_'.join(columns)}", f"No NULL in {names}.", "error", query.sql("duckdb"))


def _strings(path: Path, header: str, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise SqlModelError(path, line_of(header, key), f"{key}: expected a list of texts, got {value!r}")
    return tuple(value)


def _texts(path: Path, header: str, key: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise SqlModelError(path, line_of(header, f"{key}:"), f"{key}: expected name: text pairs, got {value!r}")
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str) or not text.strip():
            line = line_of(header, f"{name}:")
            raise SqlModelError(path, line, f"{key}.{name}: expected a text that is not blank, got {text!r}")
    return {name: text.strip() for name, text in value.items()}


def line_of(header: str, key: str) -> int:
    """The first line that begins with `key`, because YAML values carry no position."""
    for number, line in enumerate(header.splitlines(), start=1):
        if line.strip().removeprefix("- ").startswith(key):
            return number
    return 1
