"""Every example of docs/reference/formats is read row by row, and so is each of them with any of its fields damaged."""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pollux_dagster.ingest.formats import FORMATS
from pollux_dagster.ingest.landing_records import Record, Rejection
from pollux_dagster.ingest.load import read_records
from pollux_dagster.ingest.rows import Reason
from pollux_dagster.ingest.scan import LandingFile

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "formats"
BLOCK = re.compile(r"^```(jsonl|json|csv|tsv) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = {
    name: (kind, content)
    for page in sorted(DOCS.glob("*.md"))
    for kind, name, content in BLOCK.findall(page.read_text(encoding="utf-8"))
}
IN_JSON = [name for name, (kind, _) in EXAMPLES.items() if kind in ("jsonl", "json")]
DAMAGES: tuple[object, ...] = (None, True, 5, -1.5, "", " ", "\ud7ff", [], [None], [[]], {}, {"role": 1}, [{"type": 5}])


def read(path: str, body: bytes) -> tuple[str, list[tuple[int, list[Record]]]]:
    file = LandingFile(path, Path(path), len(body), 0)
    opened = read_records(file, io.BytesIO(body))
    return opened.format.name, list(opened.rows)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_row_of_an_example_becomes_records(name: str) -> None:
    _, rows = read(name, EXAMPLES[name][1].encode())
    assert rows
    for _, records in rows:
        assert records
        assert not any(isinstance(record, Rejection) for record in records), records


def test_every_format_that_is_read_has_an_example() -> None:
    found = {read(name, content.encode())[0] for name, (_, content) in EXAMPLES.items()}
    assert found == {f.name for f in FORMATS if f.read or f.read_document} - {"reference_answers"}


def damaged(value: Any) -> Iterator[Any]:
    """Copies of a value, each with one field or item, at any depth, replaced or taken away."""
    for path in paths(value):
        *above, last = path
        for damage in (*DAMAGES, KeyError):
            broken = copy.deepcopy(value)
            holder = broken
            for step in above:
                holder = holder[step]
            if damage is KeyError:
                del holder[last]
            else:
                holder[last] = damage
            yield broken


def paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*above, key)
        yield from paths(item, (*above, key))


@pytest.mark.parametrize("name", IN_JSON)
def test_a_damaged_field_is_read_or_rejected_with_a_reason_and_never_an_error(name: str) -> None:
    kind, content = EXAMPLES[name]
    whole = json.loads(content) if kind == "json" else [json.loads(line) for line in content.splitlines()]
    for broken in damaged(whole):
        body = json.dumps(broken) if kind == "json" else "\n".join(map(json.dumps, broken))
        _, rows = read(name, body.encode())
        for record in (record for _, records in rows for record in records):
            for value in record:
                assert value is None or not isinstance(value, str) or "\0" not in value
            if isinstance(record, Rejection):
                assert record.reason in set(Reason)
                assert record.detail
