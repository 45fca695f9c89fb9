"""A name that stands twice: the later value would win in silence, so the row or the table is refused by that name."""

from __future__ import annotations

import json

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollux_dagster.ingest.json_rows import repeats_a_name
from tests.ingest.landing_world import Files, answer

GOOD = json.dumps(answer(2))
REPEATS = (
    '{"prompt_id": 1, "answer": "а", "answer": "б"}',
    '{"prompt_id": 1, "answer": "а", "\\u0061nswer": "б"}',
    '{"prompt_id" : 1, "answer" :"а", "answer":"б"}',
    '{"prompt_id": 1, "answer": "б", "meta": {"x": [{"answer": 1, "answer": 1}]}}',
    '{"prompt_id": 1, "answer": "\\"k\\": 1", "meta": {"answer": 1, "answer": 1}}',
    '{"prompt_id": 1, "answer": NaN, "answer": "б"}',
)


@pytest.mark.parametrize("line", REPEATS)
def test_an_object_that_repeats_a_name_is_a_rejected_row(files: Files, line: str) -> None:
    files.write("lines.jsonl", line, GOOD)
    files.write("list.json", f"[{line},\n{GOOD}]")
    files.read()
    assert files.rejected() == [("lines.jsonl", 1, "repeated_field"), ("list.json", 1, "repeated_field")]
    assert set(files.details()) == {"expected each field of an object once, got 'answer' twice"}
    assert [(m, p) for m, p, _, _ in files.outputs()] == [("lines", "2"), ("list", "2")]


def test_a_document_that_names_two_models_is_refused(files: Files) -> None:
    files.write_bytes("x.json", b'{"model": "a", "model": "b", "answers": [' + GOOD.encode() + b"]}")
    files.read()
    assert files.rejected() == [("x.json", 0, "repeated_field")]
    assert "'model'" in files.details()[0]


def test_a_repeated_name_in_a_row_leaves_the_documents_model(files: Files) -> None:
    body = '{"model": "m/x", "answers": [' + GOOD + ", " + REPEATS[0] + "]}"
    files.write_bytes("x.json", body.encode())
    files.read()
    assert [(m, p) for m, p, _, _ in files.outputs()] == [("m/x", "2")]
    assert files.rejected() == [("x.json", 2, "repeated_field")]


@pytest.mark.parametrize(
    "header", ["prompt_id;answer;answer", "prompt_id;Answer ;answer", '"prompt_id";" ANSWER";answer']
)
def test_a_table_with_two_columns_of_one_name_is_refused_once(files: Files, header: str) -> None:
    files.write("m.csv", header, "1;а;б", "2;а;")
    files.read()
    assert files.rejected() == [("m.csv", 0, "repeated_field")]
    assert "'answer'" in files.details()[0]


def test_columns_without_a_name_are_not_one_name(files: Files) -> None:
    files.write("m.csv", ";prompt_id;;answer;;", "0;1;x;а;;", "1;2;y;б")
    files.read()
    assert (files.rejected(), len(files.outputs())) == ([], 2)


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_with_two_columns_of_one_name_is_refused(files: Files, nested: bool) -> None:
    names = ["prompt_id", "answer", "answer"]
    columns = [pa.array([1]), pa.array(["а"]), pa.array(["б"])]
    table = pa.table(columns, names=names)
    if nested:
        table = pa.table({"meta": pa.StructArray.from_arrays(columns, names=names), "prompt_id": [1], "answer": ["а"]})
    pq.write_table(table, files.landing / "m.parquet")
    files.read()
    assert files.rejected() == [("m.parquet", 0, "repeated_field")]


VALUES = st.recursive(
    st.none() | st.text(alphabet='":\\ a', max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(st.tuples(st.sampled_from(["a", '"', "\\", ":"]), inner), max_size=3).map(tuple)
    ),
    max_leaves=8,
)


def _written(value: object, colon: str) -> str:
    """JSON of a value in which an object is a tuple of pairs, so that it may repeat a name."""
    if isinstance(value, tuple):
        return "{" + ",".join(f"{json.dumps(name)}{colon}{_written(item, colon)}" for name, item in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(item, colon) for item in value) + "]"
    return json.dumps(value)


def _repeats(value: object) -> bool:
    if isinstance(value, tuple):
        return len({name for name, _ in value}) < len(value) or any(_repeats(item) for _, item in value)
    return isinstance(value, list) and any(map(_repeats, value))


@given(VALUES, st.sampled_from([":", ": ", " :", "\t:", "\n : "]))
def test_a_repeated_name_is_noticed_wherever_it_stands(value: object, colon: str) -> None:
    text = _written(value, colon)
    assert repeats_a_name(text.encode(), orjson.loads(text)) == _repeats(value)
