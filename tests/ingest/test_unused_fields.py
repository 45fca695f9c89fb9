"""What no table can hold (NaN, U+0000, half of a surrogate pair) costs a row only in a field that its reader uses."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.landing_world import Files, answer

UNUSABLE = (
    ("NaN", "non_finite_number"),
    ("-Infinity", "non_finite_number"),
    ("1e999", "non_finite_number"),
    ('"a\\u0000b"', "nul_character"),
    ('"\\ud83d"', "lone_surrogate"),
)


@pytest.mark.parametrize(("value", "reason"), UNUSABLE)
@pytest.mark.parametrize("is_list", [False, True])
def test_a_field_that_nobody_reads_costs_no_row(files: Files, value: str, reason: str, is_list: bool) -> None:
    rows = [
        f'{{"prompt_id": 1, "answer": "а", "logprobs": {{"top": [0.5, {value}]}}, "seconds": {value}}}',
        f'{{"prompt_id": 2, "answer": {value}}}',
        f'{{"prompt_id": {value}, "answer": "а"}}',
        f'{{"prompt_id": 3, "answer": "в", "sample_index": {value}}}',
        json.dumps(answer(3)),
    ]
    files.write("m.json", f"[{', '.join(rows)}]" if is_list else "\n".join(rows))
    files.read()
    assert files.rejected() == [("m.json", row, reason) for row in (2, 3, 4)]
    assert [(p, text) for _, p, _, text in files.outputs()] == [("1", "а"), ("3", "ответ")]
    for field, detail in zip(("answer", "prompt_id", "sample_index"), files.details(), strict=True):
        assert detail.startswith(f"expected {field} ") and " got " in detail


def test_a_documents_model_is_kept_when_a_row_has_nan(files: Files) -> None:
    files.write("answers.json", '{"model": "m/x", "answers": [{"prompt_id": 1, "answer": "а", "seconds": NaN}]}')
    files.read()
    assert (files.rejected(), files.outputs()) == ([], [("m/x", "1", 0, "а")])


def test_a_column_that_nobody_reads_costs_no_row(files: Files) -> None:
    columns = {"prompt_id": [1, 2], "seconds": [float("nan"), 1.0], "note": ["a\0", ""], "answer": ["а", "б\0"]}
    pq.write_table(pa.table(columns), files.landing / "m.parquet")
    files.write("n.csv", "prompt_id,note,answer", "1,a\0,а", "2,,б\0")
    files.read()
    assert files.rejected() == [("m.parquet", 2, "nul_character"), ("n.csv", 2, "nul_character")]
    assert [(m, p) for m, p, _, _ in files.outputs()] == [("m", "1"), ("n", "1")]
