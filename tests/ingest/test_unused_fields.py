"""What no table can hold (NaN, U+0000, half of a surrogate pair) costs a row only in a field that its reader uses."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.landing_world import World, answer

UNUSABLE = (
    ("NaN", "non_finite_number"),
    ("-Infinity", "non_finite_number"),
    ("1e999", "non_finite_number"),
    ('"a\\u0000b"', "nul_character"),
    ('"\\ud83d"', "lone_surrogate"),
)


@pytest.mark.parametrize(("value", "reason"), UNUSABLE)
@pytest.mark.parametrize("is_list", [False, True])
def test_a_field_that_nobody_reads_costs_no_row(asked: World, value: str, reason: str, is_list: bool) -> None:
    rows = [
        f'{{"prompt_id": 1, "answer": "а", "logprobs": {{"top": [0.5, {value}]}}, "seconds": {value}}}',
        f'{{"prompt_id": 2, "answer": {value}}}',
        f'{{"prompt_id": {value}, "answer": "а"}}',
        f'{{"prompt_id": 3, "answer": "в", "sample_index": {value}}}',
        json.dumps(answer(3)),
    ]
    asked.write("m.json", f"[{', '.join(rows)}]" if is_list else "\n".join(rows))
    asked.sync()
    assert asked.rejected() == [("m.json", row, reason) for row in (2, 3, 4)]
    assert [(p, text) for _, p, _, text in asked.outputs()] == [("1", "а"), ("3", "ответ")]
    details = [detail for (detail,) in asked.rows("SELECT detail FROM raw.rejected_rows ORDER BY row_number")]
    for field, detail in zip(("answer", "prompt_id", "sample_index"), details, strict=True):
        assert detail.startswith(f"expected {field} ") and " got " in detail


def test_a_documents_model_is_kept_when_a_row_has_nan(asked: World) -> None:
    asked.write("answers.json", '{"model": "m/x", "answers": [{"prompt_id": 1, "answer": "а", "seconds": NaN}]}')
    asked.sync()
    assert (asked.rejected(), asked.outputs()) == ([], [("m/x", "1", 0, "а")])


def test_a_column_that_nobody_reads_costs_no_row(asked: World) -> None:
    columns = {"prompt_id": [1, 2], "seconds": [float("nan"), 1.0], "note": ["a\0", ""], "answer": ["а", "б\0"]}
    pq.write_table(pa.table(columns), asked.landing / "m.parquet")
    asked.write("n.csv", "prompt_id,note,answer", "1,a\0,а", "2,,б\0")
    asked.sync()
    assert asked.rejected() == [("m.parquet", 2, "nul_character"), ("n.csv", 2, "nul_character")]
    assert [(m, p) for m, p, _, _ in asked.outputs()] == [("m", "1"), ("n", "1")]
