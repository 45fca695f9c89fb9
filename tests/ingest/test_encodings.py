"""Text in other encodings than UTF-8: read as a whole, or refused as a whole with the line and the byte."""

from __future__ import annotations

import json

import pytest

from pollux_dagster.ingest import encodings
from tests.ingest.landing_world import Files, answer

TABLE = "prompt_id;answer\r\n1;Да, конечно\r\n2;No\r\n3;Ответ «в кавычках» — №3 ё\r\n"
LINES = "".join(json.dumps(answer(n, f"Ответ номер {n}"), ensure_ascii=False) + "\n" for n in (1, 2, 3))


@pytest.mark.parametrize("encoding", ["cp1251", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text", [TABLE, LINES, f"[{LINES.strip().replace(chr(10), ', ')}]"], ids=["csv", "lines", "list"]
)
def test_a_file_in_one_other_encoding_is_read_and_says_so(files: Files, text: str, encoding: str) -> None:
    files.write_bytes("m.txt", text.encode("utf-8"))
    files.read()
    expected = files.outputs()
    assert len(expected) == 3
    files.write_bytes("m.txt", text.encode(encoding))
    files.read()
    assert (files.outputs(), files.rejected()) == (expected, [])
    assert files.notes() == [("m.txt", 0, "encoding")]


@pytest.mark.parametrize("encoding", ["koi8-r", "cp866", "mac-cyrillic", "iso8859-5"])
@pytest.mark.parametrize(
    "text", [TABLE.replace("«", '"').replace("»", '"').replace("—", "-"), LINES, "prompt_id,answer\n1,нет\n2,НЕТ\n"]
)
def test_other_encodings_of_russian_are_not_guessed(files: Files, text: str, encoding: str) -> None:
    files.write_bytes("m.csv", text.replace("№", "N").encode(encoding))
    files.read()
    assert files.rejected() == [("m.csv", 0, "invalid_utf8")]
    (detail,) = files.details()
    assert detail.startswith("line ") and "byte " in detail and "save it as CSV UTF-8" in detail


@pytest.mark.parametrize(
    "body",
    [
        "prompt_id,answer\n1,café\n2,ok\n".encode("latin-1"),
        "prompt_id,answer\n1,Größe\n2,ok\n".encode("cp1252"),
        "prompt_id,answer\n1,ответ\n2,".encode() + "ответ\n".encode("cp1251"),
        "prompt_id,answer\n1,你好,\n2,好\n".encode("gbk"),
        LINES.encode()[:60] + b"\n" + LINES.encode("cp1251"),
    ],
)
def test_a_file_of_no_one_encoding_is_refused_once(files: Files, body: bytes) -> None:
    files.write_bytes("m.csv", body)
    files.read()
    assert files.rejected() == [("m.csv", 0, "invalid_utf8")]
    assert files.outputs() == []


def test_a_damaged_row_of_utf_8_json_costs_itself(files: Files) -> None:
    lines = LINES.encode().splitlines()
    lines[1] = lines[1].replace("н".encode(), b"\xd0", 1)
    files.write("m.jsonl", *lines)
    files.read()
    assert files.rejected() == [("m.jsonl", 2, "invalid_utf8")]
    assert len(files.outputs()) == 2 and files.notes() == []


def test_what_is_no_landing_file_in_any_encoding_is_not_counted_as_a_lost_one(files: Files) -> None:
    files.write_bytes("README.txt", "Описание набора, и как его читать.\nИ так далее.\n".encode("koi8-r"))
    files.read()
    assert files.rejected() == [("README.txt", 0, "unknown_format")]


@pytest.mark.parametrize("text", ["Да", "нет", "ОТВЕТ НЕТ", "Ёлка", "Київ — місто", "Ответ: 5 км/ч"])
def test_short_texts_are_known_as_windows_1251(text: str) -> None:
    assert encodings.is_russian_in_1251(text.encode("cp1251"))


@pytest.mark.parametrize("codec", ["koi8-r", "cp866", "iso8859-5"])
@pytest.mark.parametrize("text", ["Да", "нет", "ОТВЕТ НЕТ", "Ответ: 5 км/ч", "Столица Австралии - Канберра."])
def test_short_texts_in_other_encodings_are_not(text: str, codec: str) -> None:
    assert not encodings.is_russian_in_1251(text.encode(codec))
