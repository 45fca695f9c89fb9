"""JSON documents: a broken row of a list costs itself, and no list of a document is passed over in silence."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pollux_dagster.ingest import json_rows
from tests.ingest.landing_world import Files, World, answer, instruction

ROWS = 1000
DAMAGE: dict[str, Callable[[str], str]] = {
    "bad escape": lambda row: row.replace("ответ", "C:\\dir"),
    "one stray quote": lambda row: row.replace("ответ", '5" экран'),
    "two stray quotes": lambda row: row.replace("ответ", '"да"'),
    "torn": lambda row: row[:30],
    "comma before the end": lambda row: row[:-1] + ",}",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("separator", [", ", ",\n", ","])
def test_a_broken_row_of_a_list_costs_itself_only(
    files: Files, damage: Callable[[str], str], indent: int | None, separator: str
) -> None:
    rows = [
        json.dumps(answer(n, "ответ [x] {", meta=[{"a": n}, {"a": [n]}]), ensure_ascii=False, indent=indent)
        for n in range(1, ROWS + 1)
    ]
    broken = (3, 4, 700, ROWS - 1)
    for n in broken:
        rows[n - 1] = damage(rows[n - 1])
    files.write_bytes("m.json", f"[{separator.join(rows)}]".encode())
    files.read()
    assert files.rejected() == [("m.json", n, "invalid_json") for n in broken]
    assert {int(prompt) for _, prompt, _, _ in files.outputs()} == set(range(1, ROWS + 1)) - set(broken)


def test_what_is_no_row_at_all_is_passed_over_up_to_the_next(files: Files) -> None:
    rows = [json.dumps(answer(n)) for n in (1, 2, 3)]
    files.write_bytes("m.json", f"[{rows[0]}, oops, {rows[1]}}}, {rows[2]}]".encode())
    files.read()
    assert files.rejected() == [("m.json", 2, "invalid_json"), ("m.json", 4, "invalid_json")]
    assert len(files.outputs()) == 3


def test_a_row_that_opens_otherwise_than_its_broken_neighbour_is_read(files: Files) -> None:
    files.write_bytes(
        "m.json",
        rb'[{"prompt_id": 1, "answer": "\x"}, {"answer": "a", "prompt_id": 2}, {"prompt_id": 3, "answer": ""}]',
    )
    files.read()
    assert files.rejected() == [("m.json", 1, "invalid_json")]
    assert [prompt for _, prompt, _, _ in files.outputs()] == ["2", "3"]


BROKEN_ROWS = ['{"k": "\\x"}', '{"k": "\\x"', '{"k%d": "\\x"', '{"k%d": "\\x"}', "{", "x"]


def _broken_document(row: str, rows: int) -> bytes:
    return f"[{','.join(row % number if '%d' in row else row for number in range(rows))}]".encode()


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=() if row in ('{"k%d": "\\x"', "{") else pytest.mark.slow, id=repr(row))
        for row in BROKEN_ROWS
    ],
)
def test_a_document_of_broken_rows_is_read_to_its_end(files: Files, row: str) -> None:
    files.write_bytes("m.json", _broken_document(row, 20_000))
    files.read()
    assert {reason for _, _, reason in files.rejected()} == {"invalid_json"}


@pytest.mark.parametrize("row", BROKEN_ROWS, ids=repr)
def test_in_twice_as_many_broken_rows_not_more_than_twice_as_much_is_looked_through(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    brackets_close = json_rows._brackets_close
    characters = 0

    def counting(text: str, at: int, limit: int) -> int:
        nonlocal characters
        characters += limit - at
        return brackets_close(text, at, limit)

    def looked_through(rows: int) -> int:
        nonlocal characters
        characters = 0
        assert list(json_rows.salvage_items(_broken_document(row, rows)))
        return characters

    monkeypatch.setattr(json_rows, "_brackets_close", counting)
    assert looked_through(2_000) <= 2.2 * looked_through(1_000)


def test_every_list_of_a_document_is_read_or_rejected(files: Files) -> None:
    document = {"answers": [answer(1)], "instructions": [instruction(9)], "scores": [1, 2], "rows": []}
    files.write_json("m.json", document)
    files.write_bytes("n.json", json.dumps(document, ensure_ascii=False).replace('"ответ"', '"\\x"').encode())
    files.read()
    expected = [(2, "unknown_format"), (3, "unknown_format")]
    assert [(row, reason) for path, row, reason in files.rejected() if path == "m.json"] == expected
    details = files.details()
    assert "1 rows under 'instructions'" in details[0] and "2 rows under 'scores'" in details[1]
    assert [row for path, *row in files.rejected() if path == "n.json"] == [
        [1, "invalid_json"],
        [2, "unknown_format"],
        [3, "unknown_format"],
    ]
    assert [output[:2] for output in files.outputs()] == [("m", "1")]


def test_an_empty_list_does_not_stand_before_a_full_one(world: World) -> None:
    world.write_json("i.json", {"answers": [], "instructions": [instruction(1), instruction(2)]})
    world.sync()
    assert (world.rejected(), world.rows("SELECT count(*) FROM raw.instructions")) == ([], [(2,)])


@pytest.mark.parametrize("ends", ["\n]}", "\n ]\n}\n"])
def test_a_document_with_a_row_to_a_line_is_one_document(asked: World, ends: str) -> None:
    rows = ",\n".join(json.dumps(answer(n), ensure_ascii=False) for n in (1, 2, 3))
    asked.write_bytes("b/answers.json", ('{"model": "org/b", "answers": [\n' + rows + ends).encode())
    asked.write("torn.jsonl", '{"prompt_id": 1, "answ', *(answer(n) for n in (1, 2) for _ in range(60)))
    report = asked.sync()
    assert [output[:2] for output in asked.outputs() if output[0] == "org/b"] == [("org/b", n) for n in "123"]
    assert [file.row_count for file in report.files if file.path == "torn.jsonl"] == [121]
    assert ("torn.jsonl", 1, "invalid_json") in asked.rejected()


def test_values_one_after_the_other_are_refused_with_what_to_do(files: Files) -> None:
    files.write_bytes("m.json", "\n".join(json.dumps(answer(n), indent=1) for n in (1, 2)).encode())
    files.read()
    assert files.rejected() == [("m.json", 0, "invalid_json")]
    assert "jq -c" in files.details()[0]
