"""The bad input corpus: files as strangers write them, each with what must become of its rows.

A case is a file's bytes, how many rows of it are accepted, and the reasons of the rejected ones in order of row. All
are small; the large ones are made in `test_large_inputs`. The one idea: every expectation is written down by hand as a
(value, reason) pair, and the generators only put those pairs into all the places a format has for them.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tests.ingest.landing_world import answer, instruction


@dataclass(frozen=True)
class Case:
    """One landing file. Its name is its path; answers in it belong to a model of that name."""

    name: str
    body: bytes
    accepted: int
    rejected: tuple[str, ...] = ()


# A field of an answer, a value for it as JSON, and what the reader must say; None: the row is good.
ANSWER_VALUES: tuple[tuple[str, str, str | None], ...] = (
    ("prompt_id", "null", "missing_prompt_id"),
    ("prompt_id", '""', "missing_prompt_id"),
    ("prompt_id", '"\\t \\n"', "missing_prompt_id"),
    ("prompt_id", "true", "wrong_type"),
    ("prompt_id", "[]", "wrong_type"),
    ("prompt_id", "{}", "wrong_type"),
    ("prompt_id", "9007199254740993.0", "wrong_type"),
    ("prompt_id", "99", "unknown_prompt"),
    ("prompt_id", '"../../etc/passwd"', "unknown_prompt"),
    ("prompt_id", '"1\'; DROP TABLE raw.model_outputs; --"', "unknown_prompt"),
    ("prompt_id", '"a\\u0000b"', "nul_character"),
    ("prompt_id", '"\\udc00"', "lone_surrogate"),
    ("prompt_id", '" 1"', None),
    ("prompt_id", '"\\u00a01\\u200b"', None),
    ("prompt_id", '"1.0"', None),
    ("prompt_id", '"01"', "unknown_prompt"),
    ("prompt_id", '"9007199254740993.0"', "wrong_type"),
    ("prompt_id", "1.0", None),
    ("prompt_id", "1e0", None),
    ("prompt_id", '"1"', None),
    ("prompt_id", "-0.5", "unknown_prompt"),
    ("answer", "5", "wrong_type"),
    ("answer", "true", "wrong_type"),
    ("answer", '["a"]', "wrong_type"),
    ("answer", '{"text": "a"}', "wrong_type"),
    ("answer", '"\\u0000"', "nul_character"),
    ("answer", '"\\ud83d"', "lone_surrogate"),
    ("answer", '"\\ude00\\ud83d"', "lone_surrogate"),
    ("answer", "null", "failed_response"),
    ("answer", '""', None),
    ("answer", '"\\ud83d\\ude00"', None),
    ("answer", '"\\u202e\\u001b[2J\\u0007"', None),
    ("answer", '"<script>alert(1)</script>"', None),
    ("answer", "\"=cmd|' /C calc'!A0\"", None),
    ("sample_index", "-1", "wrong_type"),
    ("sample_index", "1.5", "wrong_type"),
    ("sample_index", "2147483648", "wrong_type"),
    ("sample_index", "true", "wrong_type"),
    ("sample_index", '"first"', "wrong_type"),
    ("sample_index", '"1e3"', "wrong_type"),
    ("sample_index", "[0]", "wrong_type"),
    ("sample_index", '"\\u0665"', None),
    ("sample_index", "3.0", None),
    ("sample_index", "null", None),
    ("model_id", '""', "blank_model_id"),
    ("model_id", '"  "', "blank_model_id"),
    ("model_id", "7", "wrong_type"),
    ("model_id", '["m"]', "wrong_type"),
    ("model_id", "false", "wrong_type"),
    ("extra", '{"deep": [[[[{"a": 1}]]]]}', None),
    ("extra", '"\\u0000"', None),
    ("extra", '{"\\ud800": ["\\udc00", NaN]}', None),
    ("extra", '{"a": [{"b": 1, "b": 2}]}', "repeated_field"),
    ("extra", '1, "extra": 2', "repeated_field"),
    ("extra", '"\\": 1, \\"extra\\": "', None),
)
# Only as bytes: what JSON's own parsers disagree about.
BROKEN_LINES: tuple[tuple[str, bytes, str], ...] = (
    ("torn text", b'{"prompt_id": 1, "answer": "a', "invalid_json"),
    ("torn object", b'{"prompt_id": 1, "answer": "a"', "invalid_json"),
    ("two objects", b'{"prompt_id": 1, "answer": "a"}{"prompt_id": 2, "answer": "b"}', "invalid_json"),
    ("trailing comma", b'{"prompt_id": 1, "answer": "a",}', "invalid_json"),
    ("single quotes", b"{'prompt_id': 1, 'answer': 'a'}", "invalid_json"),
    ("comment", b'// {"prompt_id": 1, "answer": "a"}', "invalid_json"),
    ("NaN", b'{"prompt_id": NaN, "answer": "a"}', "non_finite_number"),
    ("Infinity", b'{"prompt_id": 1, "answer": -Infinity}', "non_finite_number"),
    ("number over the range", b'{"prompt_id": 1e400, "answer": "a"}', "non_finite_number"),
    ("raw NUL", b'{"prompt_id": 1, "answer": "a\x00"}', "nul_character"),
    ("only NUL", b"\x00\x00\x00", "nul_character"),
    ("latin-1", b'{"prompt_id": 1, "answer": "caf\xe9"}', "invalid_utf8"),
    ("cut UTF-8", '{"prompt_id": 1, "answer": "я"}'.encode().replace(b"\x8f", b""), "invalid_utf8"),
    ("overlong UTF-8", b'{"prompt_id": 1, "answer": "\xc0\xaf"}', "invalid_utf8"),
    ("UTF-8 of a surrogate", b'{"prompt_id": 1, "answer": "\xed\xa0\x80"}', "invalid_utf8"),
    ("raw tab in text", b'{"prompt_id": 1, "answer": "a\tb"}', "invalid_json"),
    ("bad escape", b'{"prompt_id": 1, "answer": "\\x41"}', "invalid_json"),
    ("deep list", b'{"prompt_id": 1, "answer": ' + b"[" * 3000, "invalid_json"),
    ("deep object", b'{"a":' * 3000, "invalid_json"),
    ("word", b"null", "wrong_type"),
    ("number", b"12", "wrong_type"),
    ("text", b'"prompt_id"', "wrong_type"),
    ("list", b"[1, 2, 3]", "wrong_type"),
    ("prose", b"Sure! Here is the JSON you asked for:", "invalid_json"),
    ("code fence", b"```json", "invalid_json"),
    ("CSV in JSONL", b"1,answer", "invalid_json"),
    ("no answer", b'{"prompt_id": 1}', "missing_field"),
    ("no prompt_id", b'{"answer": "a"}', "missing_prompt_id"),
    ("empty object", b"{}", "missing_prompt_id"),
    ("misspelt", b'{"promptid": 1, "answer": "a"}', "missing_prompt_id"),
    ("upper case", b'{"PROMPT_ID": 1, "ANSWER": "a"}', "missing_prompt_id"),
)
GOOD = (answer(2), answer(3))


def cases() -> Iterator[Case]:
    """The whole corpus, without the file that asks the prompts 1, 2 and 3."""
    yield from _answers()
    yield from _broken_lines()
    yield from _whole_files()
    yield from _tables()
    yield from _other_formats()
    yield from _taxonomies()
    yield from _parquet()


def _row(field: str, value: str) -> str:
    fields = {"prompt_id": "1", "answer": '"a"'} | {field: value}
    return "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}"


def _answers() -> Iterator[Case]:
    good = [json.dumps(row) for row in GOOD]
    for number, (field, value, reason) in enumerate(ANSWER_VALUES):
        rows = [good[0], _row(field, value), good[1]]
        accepted, rejected = (3, ()) if reason is None else (2, (reason,))
        yield Case(f"lines-{number}.jsonl", "\n".join(rows).encode(), accepted, rejected)
        listed = ",\n".join(rows)
        yield Case(f"list-{number}.json", f"[{listed}]".encode(), accepted, rejected)
        if number % 2:
            yield Case(f"keyed-{number}.json", f'{{"answers": [{listed}]}}'.encode(), accepted, rejected)


def _broken_lines() -> Iterator[Case]:
    good = [json.dumps(row).encode() for row in GOOD]
    for name, line, reason in BROKEN_LINES:
        yield Case(f"between {name}.jsonl", b"\n".join([good[0], line, good[1]]), 2, (reason,))
        yield Case(f"last {name}.jsonl", b"\n".join([*good, line]), 2, (reason,))
        yield Case(f"crlf {name}.jsonl", b"\r\n".join([good[0], line, good[1], b""]), 2, (reason,))


def _whole_files() -> Iterator[Case]:
    good = b"".join(json.dumps(row).encode() + b"\n" for row in GOOD)
    for name, body, reason in (
        ("empty", b"", "empty_file"),
        ("blank lines", b"\n\r\n  \n\t\n", "empty_file"),
        ("only a BOM", b"\xef\xbb\xbf", "empty_file"),
        ("empty list", b"[]", "empty_file"),
        ("gzip twice", gzip.compress(gzip.compress(good)), "compressed"),
        ("gzip of nothing", gzip.compress(b""), "empty_file"),
        ("gzip magic only", b"\x1f\x8b", "unreadable_file"),
        ("zip", _zipped(good), "compressed"),
        ("bzip2 magic", b"BZh91AY&SY", "unreadable_file"),
        ("xz magic", b"\xfd7zXZ\x00", "compressed"),
        ("zstd magic", b"\x28\xb5\x2f\xfd", "unreadable_file"),
        ("pickle", pickle.dumps([answer(1)]), "unknown_format"),
        ("torch checkpoint", pickle.dumps({"weight": b"\x00" * 100}, protocol=2), "unknown_format"),
        ("UTF-32", good.decode().encode("utf-32"), "invalid_utf8"),
        ("torn UTF-16", good.decode().encode("utf-16")[:-1], "invalid_utf8"),
        ("HTML", b"<!DOCTYPE html><html><body>404</body></html>", "unknown_format"),
        ("XML", b'<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY b "c">]>\n<a>&b;</a>', "unknown_format"),
        ("YAML", b"answers:\n  - prompt_id: 1\n    answer: !!python/object:os.system a\n", "unknown_format"),
        ("Markdown", "# Ответы\n\n1. Париж\n".encode(), "unknown_format"),
        ("PNG", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "unknown_format"),
        ("SQLite", b"SQLite format 3\x00" + b"\x00" * 84, "unknown_format"),
        ("other objects", b'{"a": 1}\n{"a": 2}\n', "unknown_format"),
        ("one other object", b'{"a": 1}', "unknown_format"),
        ("git-lfs pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "unknown_format"),
        ("PAR1 and no more", b"PAR1", "unreadable_file"),
        ("PAR1 twice", b"PAR1PAR1", "unreadable_file"),
        ("PAR1 with a huge footer", b"PAR1" + b"\xff\xff\xff\x7fPAR1", "unreadable_file"),
        ("torn pretty document", b'{\n "answers": [\n', "invalid_json"),
    ):
        yield Case(f"whole {name}", body, 0, (reason,))
    yield Case("gzip.jsonl.gz", gzip.compress(good), 2)
    yield Case("utf-16.jsonl", good.decode().encode("utf-16"), 2)
    yield Case("utf-16 big-endian.jsonl", b"\xfe\xff" + good.decode().encode("utf-16-be"), 2)
    yield Case("bom.jsonl", b"\xef\xbb\xbf" + good, 2)
    yield Case("no last newline.jsonl", good.rstrip(), 2)
    yield Case("blank lines between.jsonl", good.replace(b"\n", b"\n\n \n"), 2)
    yield Case("jsonl named csv.csv", good, 2)
    yield Case("list on one line.jsonl", json.dumps(GOOD).encode(), 2)
    yield Case("torn list.json", json.dumps(GOOD).encode()[:-8], 1, ("invalid_json",))
    yield Case("list and more.json", json.dumps(GOOD).encode() + b"\n]oops", 2, ("invalid_json",))
    yield Case("repeated rows.jsonl", good + good, 2, ("duplicate", "duplicate"))
    changed = json.dumps(answer(2, "другой")).encode()
    yield Case("changed row.jsonl", good + changed, 2, ("conflicting_duplicate",))


def _zipped(body: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../../evil.jsonl", body)
    return out.getvalue()


def _tables() -> Iterator[Case]:
    for name, body, accepted, rejected in (
        ("plain", "prompt_id,answer\n1,a\n2,b\n", 2, ()),
        ("semicolons", "prompt_id;answer\n1;a\n2;b\n", 2, ()),
        ("tabs", "prompt_id\tanswer\n1\ta\n", 1, ()),
        ("header only", "prompt_id,answer\n", 0, ("empty_file",)),
        ("quoted newline", 'prompt_id,answer\n1,"a\nb"\n2,c\n', 2, ()),
        ("too many cells", "prompt_id,answer\n1,a,b\n2,c\n", 1, ("wrong_type",)),
        ("too few cells", "prompt_id,answer\n1\n2,c\n", 1, ("wrong_type",)),
        ("blank id", "prompt_id,answer\n ,a\n2,c\n", 1, ("missing_prompt_id",)),
        ("unknown id", "prompt_id,answer\n99,a\n2,c\n", 1, ("unknown_prompt",)),
        ("formula", "prompt_id,answer\n1,=cmd|' /C calc'!A0\n2,@SUM(1)\n", 2, ()),
        ("open quote", 'prompt_id,answer\n1,a\n2,"b\n3,c\n', 2, ("invalid_csv",)),
        ("two open quotes", 'prompt_id,answer\n1,"a\n2,b\n3,"c\n', 1, ("invalid_csv", "invalid_csv")),
        ("quote inside a cell", 'prompt_id,answer\n1,"a" b\n2,c\n3,d "e"\n', 2, ("invalid_csv",)),
        ("only quotes", 'prompt_id,answer\n"\n2,b\n', 1, ("invalid_csv",)),
        ("repeated column", "prompt_id,Answer ,answer\n1,a,b\n", 0, ("repeated_field",)),
        ("bad index", "prompt_id,answer,sample_index\n1,a,x\n2,b,1\n", 1, ("wrong_type",)),
    ):
        yield Case(f"table {name}.csv", body.encode(), accepted, rejected)
    yield Case("table latin-1.csv", b"prompt_id,answer\n1,caf\xe9\n2,b\n", 0, ("invalid_utf8",))
    yield Case("table nul.csv", b"prompt_id,answer\n1,a\x00\n2,b\n", 1, ("nul_character",))


def _lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def _other_formats() -> Iterator[Case]:
    yield from _replaced(
        "arena answers",
        {"question_id": 1, "choices": [{"index": 0, "turns": ["a"]}]},
        {
            "choices": [([], "wrong_type"), ("a", "wrong_type"), ([1], "wrong_type"), ([{}], "wrong_type"),
                        ([{"turns": []}], "wrong_type"), ([{"turns": [1]}], "wrong_type"),
                        ([{"index": 0, "turns": ["a"]}, {"index": 0, "turns": ["b"]}], "wrong_type"),
                        ([{"index": -1, "turns": ["a"]}], "wrong_type")],
            "question_id": [(None, "missing_prompt_id"), ([1], "wrong_type"), (99, "unknown_prompt")],
            "model_id": [(" ", "blank_model_id"), (5, "wrong_type")],
        },
        {"question_id": 2, "choices": [{"index": 0, "turns": ["a"]}]},
    )  # fmt: skip
    yield from _replaced(
        "batch",
        {"custom_id": "1", "response": {"status_code": 200, "body": {"choices": [{"message": {"content": "a"}}]}}},
        {
            "response": [
                (None, "failed_response"), ("a", "failed_response"), ({"status_code": 500}, "failed_response"),
                ({"status_code": 200}, "wrong_type"), ({"status_code": 200, "body": {"choices": []}}, "wrong_type"),
                ({"status_code": 200, "body": {"choices": [1]}}, "wrong_type"),
                ({"status_code": 200, "body": {"choices": [{"message": {"content": 1}}]}}, "wrong_type"),
            ],
            "error": [({"message": "quota"}, "failed_response")],
            "custom_id": [(None, "missing_prompt_id"), ("99", "unknown_prompt"), (True, "wrong_type")],
        },
        {"custom_id": "2", "response": {"status_code": 200, "body": {"choices": [{"message": {"content": "b"}}]}}},
    )  # fmt: skip
    yield from _replaced(
        "lm-eval",
        {"doc_id": 1, "arguments": [["Сколько?", {}]], "resps": [["a"]], "target": "1"},
        {
            "arguments": [(None, "missing_field"), ([], "missing_field"), ([[]], "missing_field"),
                          ({}, "missing_field"), ([[" "]], "missing_field")],
            "resps": [([], "wrong_type"), ([[-1.5, False]], "wrong_type"), ("a", "wrong_type")],
            "doc_id": [(None, "missing_prompt_id"), ([], "wrong_type")],
        },
        {"doc_id": 2, "arguments": [["Где?", {}]], "resps": [["b"]], "target": "1"},
    )  # fmt: skip
    yield from _replaced(
        "alpaca",
        {"instruction": "Вопрос alpaca", "output": "a", "generator": "g"},
        {
            "instruction": [(None, "missing_field"), (" ", "missing_field"), (1, "wrong_type")],
            "output": [(1, "wrong_type"), (["a"], "wrong_type")],
            "generator": [("", "blank_model_id"), ({}, "wrong_type")],
            "input": [(1, "wrong_type")],
        },
        {"instruction": "Другой вопрос alpaca", "output": "a", "generator": "g"},
    )
    yield from _instructions()
    yield from _scores()


def _replaced(
    name: str, row: dict[str, Any], values: dict[str, list[tuple[Any, str]]], good: dict[str, Any]
) -> Iterator[Case]:
    for field, pairs in values.items():
        for number, (value, reason) in enumerate(pairs):
            # Formats that name the model in the row: one a file, so that no answer repeats another file's.
            model = {"generator": f"{field} {number}"} if "generator" in good else {}
            rows = row | model | {field: value}, good | model
            yield Case(f"{name} {field} {number}.jsonl", _lines(*rows), 1, (reason,))


def _criterion(**fields: object) -> dict[str, object]:
    return {"criteria_name": "К", "rubrics": "от 0 до 3", **fields}


def _instructions() -> Iterator[Case]:
    values: tuple[tuple[str, object, str | None], ...] = (
        ("instruction", None, "missing_field"),
        ("instruction", "\n", "missing_field"),
        ("instruction", ["a"], "wrong_type"),
        ("reference_answer", {"a": 1}, "wrong_type"),
        ("reference_answer", True, "wrong_type"),
        ("reference_answer", 3.5, None),
        ("task_type", ["a"], "wrong_type"),
        ("difficulty", 3, None),
        ("criteria", "[", "wrong_type"),
        ("criteria", 5, "wrong_type"),
        ("criteria", [None], "wrong_type"),
        ("criteria", [{}], "missing_field"),
        ("criteria", [{"criteria_name": "К"}], "missing_field"),
        ("criteria", [{"criteria_name": "К", "rubrics": 5}], "wrong_type"),
        ("criteria", [{"criteria_name": "К", "rubrics": "0: одно"}], "unreadable_scale"),
        ("criteria", [{"criteria_name": "К", "rubrics": "0: а\n0: б"}], "unreadable_scale"),
        ("criteria", [{"criteria_name": "К", "rubrics": "0: а\n1e999: б"}], "unreadable_scale"),
        ("criteria", [{"criteria_name": "К", "rubrics": "9" * 400 + ": а\n1: б"}], "unreadable_scale"),
        ("criteria", [{"criteria_name": "К", "rubrics": "от 0 до 99999999"}], "unreadable_scale"),
        ("criteria", [{"criteria_name": "К", "rubrics": "[" * 2000}], "unreadable_scale"),
        ("criteria", [{"criteria_name": "К", "rubrics": {"a": {"b": "c"}}}], "wrong_type"),
        ("criteria", [_criterion(criteria_group="critcal")], "unknown_group"),
        ("criteria", [_criterion(group=["critical"])], "unknown_group"),
        ("criteria", [_criterion(group="general", crit_group="critical")], "conflicting_group"),
        ("criteria", [_criterion(higher_is_better="вниз")], "wrong_type"),
        ("criteria", [_criterion(higher_is_better=False)], None),
        ("criteria", [], None),
        ("meta", {"a": [1, None]}, None),
    )
    for number, (field, value, reason) in enumerate(values):
        rows = (instruction(f"i{number}a"), instruction(f"i{number}b", **{field: value}))
        accepted, rejected = (2, ()) if reason is None else (1, (reason,))
        yield Case(f"instructions {number}.jsonl", _lines(*rows), accepted, rejected)


def _scores() -> Iterator[Case]:
    # The answers these scores are for are those of the corpus' own good file.
    good = {"prompt_id": 2, "model_id": "bom", "criteria_name": "Польза", "score": 1}
    values: tuple[tuple[str, object, str], ...] = (
        ("score", None, "missing_field"),
        ("score", "много", "wrong_type"),
        ("score", "inf", "non_finite_number"),
        ("score", [1], "wrong_type"),
        ("score", False, "wrong_type"),
        ("score", 5, "off_scale"),
        ("score", -0.1, "off_scale"),
        ("model_id", None, "missing_field"),
        ("model_id", "никто", "unknown_output"),
        ("model_id", 5, "wrong_type"),
        ("prompt_id", 99, "unknown_prompt"),
        ("prompt_id", None, "missing_prompt_id"),
        ("criteria_name", "Стиль", "unknown_criterion"),
        ("criteria_name", "", "missing_field"),
        ("annotator", ["a"], "wrong_type"),
    )
    for number, (field, value, reason) in enumerate(values):
        rows = ({**good, "annotator": f"a{number}"}, {**good, "annotator": f"b{number}", field: value})
        yield Case(f"scores {number}.jsonl", _lines(*rows), 1, (reason,))


def _taxonomies() -> Iterator[Case]:
    name = {"ru": "Новый критерий", "en": "New"}
    scale = {"ru": {"0": "нет", "1": "да"}}
    good = {"name": name, "desc": "", "scale": scale, "crit_group": "General", "domain": None}
    for number, (field, value, reason) in enumerate(
        (
            ("scale", {"ru": {"плохо": "а", "хорошо": "б"}}, "unreadable_scale"),
            ("scale", {"ru": {"0": "одно"}}, "unreadable_scale"),
            ("scale", 5, "wrong_type"),
            ("name", 5, "wrong_type"),
            ("name", None, "wrong_type"),
            ("crit_group", {"en": "Gate"}, "unknown_group"),
            ("crit_group", {"en": "General", "ru": "Критические"}, "conflicting_group"),
            ("needs_reference", "yes", "wrong_type"),
            ("higher_is_better", 0, "wrong_type"),
        )
    ):
        document = {f"good{number}": good, f"bad{number}": good | {field: value}}
        yield Case(f"taxonomy {number}.json", json.dumps(document).encode(), 1, (reason,))
    nul = {"goodnul": good, "badnul": good | {"desc": "a\0"}}
    yield Case("taxonomy nul.json", json.dumps(nul).encode(), 1, ("nul_character",))


def _parquet() -> Iterator[Case]:
    frames: tuple[tuple[str, dict[str, list[Any]], int, tuple[str, ...]], ...] = (
        ("plain", {"prompt_id": [1, 2], "answer": ["a", "b"]}, 2, ()),
        ("null id", {"prompt_id": [1, None], "answer": ["a", "b"]}, 1, ("missing_prompt_id",)),
        ("NaN nobody reads", {"prompt_id": [1], "answer": ["a"], "seconds": [float("nan")]}, 1, ()),
        ("NaN id", {"prompt_id": [1.0, float("nan")], "answer": ["a", "b"]}, 1, ("non_finite_number",)),
        ("number answers", {"prompt_id": [1, 2], "answer": [1, 2]}, 0, ("wrong_type", "wrong_type")),
        ("list answers", {"prompt_id": [1], "answer": [["a"]]}, 0, ("wrong_type",)),
        ("bytes answers", {"prompt_id": [1], "answer": [b"\xff"]}, 0, ("wrong_type",)),
        ("nul", {"prompt_id": [1, 2], "answer": ["a\0", "b"]}, 1, ("nul_character",)),
        ("other columns", {"a": [1]}, 0, ("unknown_format",)),
        ("no rows", {"prompt_id": [], "answer": []}, 0, ("empty_file",)),
    )
    for name, columns, accepted, rejected in frames:
        yield Case(f"parquet {name}", _parquet_bytes(pl.DataFrame(columns).to_arrow()), accepted, rejected)
    whole = _parquet_bytes(pa.table({"prompt_id": list(range(1, 4)), "answer": ["a" * 50] * 3}))
    yield Case("parquet cut in half", whole[: len(whole) // 2], 0, ("unreadable_file",))
    yield Case("parquet without its end", whole[:-4], 0, ("unreadable_file",))
    yield Case("parquet with a broken page", whole[:4] + b"\xff" * 60 + whole[64:], 0, ("unreadable_file",) * 3)


def _parquet_bytes(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


INSTRUCTIONS = _lines(*(instruction(n) for n in (1, 2, 3)))
