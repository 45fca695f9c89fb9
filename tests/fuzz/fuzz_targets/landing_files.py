"""Any bytes as a landing file: JSONL, a document, CSV or none of them, told apart, read and made into records."""

from __future__ import annotations

import io
from collections import defaultdict
from pathlib import Path

from pollux_dagster.ingest.containers import refuse_unread
from pollux_dagster.ingest.landing_records import Record, Rejection, to_arrow
from pollux_dagster.ingest.load import read_records
from pollux_dagster.ingest.rows import Reason
from pollux_dagster.ingest.scan import LandingFile

REASONS = {reason.value for reason in Reason}
SEEDS = (
    b'{"prompt_id": 1, "answer": "a", "sample_index": 0, "model_id": "m"}\n{"prompt_id": 2, "answer": null}\n',
    b'{"model": "m", "answers": [{"prompt_id": 1, "answer": "a"}, {"prompt_id": 2, "answer": "b"}]}',
    b'[{"prompt_id": 1, "answer": "a"}, {"prompt_id": 2, "answer": "b"',
    b'prompt_id,answer,model_id\n1,"a\nb",m\n2,c,m\n',
    b"\xef\xbb\xbfprompt_id;answer\r\n1;a\r\n",
    b'prompt_id\tanswer\n1\t"a\n2\t"b" c\n3\t"d ""e""\nf"\n',
    b'[{"prompt_id": 1, "answer": "\\x"}, {"prompt_id": 2, "answer": "5" b"}, x, {"answer": "c", "prompt_id": 3}]',
    b'{"answers": [{"prompt_id": 1, "answer": "\\x"}], "scores": [1], "instructions": [{"prompt_id": 1}]}',
    b'{"instruction": "a", "answer": "b", "model_id": "m", "criteria_name": "c", "rubrics": "0: a\\n1: b"}',
    b'{"question_id": 1, "model_id": "m", "choices": [{"index": 0, "turns": ["a", "b"]}]}',
    b'{"question_id": 1, "category": "c", "turns": ["a"], "reference": ["b"]}',
    b'[{"instruction": "a", "output": "b", "generator": "m", "input": "c"}]',
    b'{"doc_id": 1, "doc": {}, "target": "t", "arguments": [["a", {}]], "resps": [["b"]], "filtered_resps": ["b"]}',
    b'{"custom_id": "1", "response": {"status_code": 200, "body": {"model": "m", "choices": '
    b'[{"index": 0, "message": {"content": "a"}}]}}, "error": null}',
    b'{"prompt_id": 1, "instruction": "a", "criteria": [{"criteria_name": "c", "rubrics": "0: a\\n1: b"}]}',
    b'{"prompt_id": 1, "model_id": "m", "criteria_name": "c", "annotator": "a", "score": "1,5"}',
    b'{"prompt_id": 1, "answer": "\\ud800\\u0000"}\n\x00\n{"prompt_id": NaN}\n[[[[',
)


def check(data: bytes) -> None:
    file = LandingFile("model/file.jsonl", Path("model/file.jsonl"), len(data), 0)
    refuse_unread(file, io.BytesIO(data))
    rows = read_records(file, io.BytesIO(data)).rows
    check_records([(number, record) for number, records in rows for record in records])


def check_records(rows: list[tuple[int, Record]]) -> None:
    """What every reader owes the landing tables: storable values, and rejections with a known reason."""
    by_kind: dict[type[Record], list[tuple[int, Record]]] = defaultdict(list)
    for number, record in rows:
        assert number >= 0
        by_kind[type(record)].append((number, record))
        for value in record:
            if isinstance(value, str):
                assert "\0" not in value
                value.encode()
        if isinstance(record, Rejection):
            assert record.reason in REASONS
            assert len(record.raw_text or "") <= 4000
    for kind, found in by_kind.items():
        assert to_arrow(kind, "file", found).num_rows == len(found)
