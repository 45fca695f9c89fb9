"""What was rejected counts: by file and by model, with what changes no number left out."""

from __future__ import annotations

import gzip
import json

import duckdb
import pytest

from pollux_dagster.warehouse.audit import audit
from pollux_dagster.warehouse.checks import CheckResult
from pollux_dagster.warehouse.contracts import contracts
from tests.ingest.landing_world import World, answer, instruction


def check(con: duckdb.DuckDBPyConnection, name: str, maximum: float = 0.02) -> CheckResult:
    (contract,) = [contract for contract in contracts(0.9, maximum) if contract.name == name]
    return audit(con, contract).result


def blocked(world: World, maximum: float = 0.02) -> list[tuple[object, ...]]:
    """(file, model, reason, count) of what stops publication."""
    result = check(world.con, "few_rows_are_rejected", maximum)
    assert result.blocking
    return [(row["file_path"], row["model_id"], row["reason"], row["rejected"]) for row in result.sample]


def counts(world: World) -> list[tuple[object, ...]]:
    return world.rows("SELECT model_id, expected, answered, row_count, rejected FROM raw.answer_counts ORDER BY ALL")


@pytest.fixture
def nine(world: World) -> World:
    """Nine prompts are asked, and one model answers them all."""
    world.write("instructions.jsonl", *(instruction(n) for n in range(9)))
    world.write("whole.jsonl", *(answer(n) for n in range(9)))
    return world


def test_a_model_of_which_most_rows_were_rejected_is_stopped_with_file_reason_and_count(nine: World) -> None:
    nine.write("m.jsonl", answer(0), answer(1), *(answer(n, 5) for n in range(2, 7)), answer(77), answer(78))
    nine.sync()
    assert blocked(nine) == [("m.jsonl", "m", "unknown_prompt", 2), ("m.jsonl", "m", "wrong_type", 5)]
    assert counts(nine) == [("m", 11, 2, 9, 7), ("whole", 9, 9, 9, 0)]
    assert blocked(nine, maximum=7 / 9) == []
    assert not check(nine.con, "every_row_is_used", 7 / 9).passed


def test_nothing_is_stopped_where_nothing_was_rejected(nine: World) -> None:
    nine.sync()
    assert blocked(nine) == []
    assert check(nine.con, "every_row_is_used").passed


def test_a_file_of_which_nothing_is_used_stops_publication_as_one_with_a_bad_part_does(nine: World) -> None:
    nine.write("m.jsonl", *(answer(n, 5) for n in range(9)))
    nine.write_bytes("torn.json", json.dumps([answer(1)])[:20].encode())
    nine.write("stranger.jsonl", *(answer(100 + n, model_id="stranger") for n in range(9)))
    nine.sync()
    lost = {("m.jsonl", None, "wrong_type", 9), ("stranger.jsonl", "stranger", "unknown_prompt", 9)}
    assert {*blocked(nine)} == lost | {("torn.json", None, "invalid_json", 1)}
    rules = contracts(0.9, leave_out_failing=True)
    (contract,) = [contract for contract in rules if contract.name == "few_rows_are_rejected"]
    assert audit(nine.con, contract).result.passed  # then these models are left out by name


def test_a_file_that_others_numbers_hang_on_stops_publication_also_when_all_of_it_is_lost(nine: World) -> None:
    nine.write("more.jsonl", *({**instruction(20 + n), "criteria": 5} for n in range(3)))
    nine.sync()
    assert blocked(nine) == [("more.jsonl", None, "wrong_type", 3)]


def test_where_failing_models_are_left_out_their_rejected_rows_stop_nothing(nine: World) -> None:
    nine.write("m.jsonl", answer(0), answer(1), *(answer(n, 5) for n in range(2, 9)))
    nine.sync()
    rules = contracts(0.9, leave_out_failing=True)
    (contract,) = [contract for contract in rules if contract.name == "few_rows_are_rejected"]
    assert audit(nine.con, contract).result.passed
    assert not check(nine.con, "few_rows_are_rejected").passed


def test_one_model_of_many_in_a_file_cannot_hide_among_the_others(nine: World) -> None:
    nine.write(
        "all.jsonl",
        *(answer(n, model_id=f"m{k}") for k in range(60) for n in range(9)),
        *(answer(90 + n, model_id="lost") for n in range(2)),
    )
    nine.sync()
    assert blocked(nine) == [("all.jsonl", "lost", "unknown_prompt", 2)]  # of this one nothing is used at all
    nine.write("late.jsonl", answer(1, model_id="lost"))
    nine.sync()
    assert blocked(nine) == [("all.jsonl", "lost", "unknown_prompt", 2)]
    assert counts(nine)[0] == ("lost", 11, 1, 3, 2)


def test_a_small_file_of_a_large_model_is_looked_at_by_itself(nine: World) -> None:
    nine.write("m/a.jsonl", *(answer(n, model_id="m", sample_index=k) for n in range(9) for k in range(30)))
    nine.write("m/b.jsonl", answer(1, model_id="m", sample_index=99), answer(2, 5, model_id="m"))
    nine.sync()
    assert blocked(nine) == [("m/b.jsonl", "m", "wrong_type", 1)]


def test_a_second_set_of_answers_under_a_models_name_is_no_repeat(nine: World) -> None:
    nine.write("z.jsonl", *(answer(n, "другой", model_id="whole") for n in range(9)))
    nine.sync()
    assert blocked(nine) == [("z.jsonl", "whole", "conflicting_duplicate", 9)]


def test_repeats_of_what_is_used_stop_nothing(nine: World) -> None:
    nine.write("copy.jsonl", *(answer(n, model_id="whole") for n in range(9)))
    nine.write("instructions-copy.jsonl", *(instruction(n) for n in range(9)))
    criteria = ["Польза", "Стиль"]
    nine.write(
        "wide.jsonl",
        *(
            {**instruction(n), "answer": "ответ", "model_id": "wide", "criteria": None, "criteria_name": name,
             "rubrics": "0: нет\n1: да", "criteria_score": 1}
            for n in range(20, 23) for name in criteria
        ),
    )  # fmt: skip
    report = nine.sync()
    assert report.rejected_by_reason == {"duplicate": 18}
    assert blocked(nine) == []
    assert check(nine.con, "every_row_is_used").passed
    assert [row for row in counts(nine) if row[0] == "wide"] == [("wide", 12, 3, 6, 0)]


def test_scores_of_people_for_what_is_not_here_stop_nothing_and_unusable_ones_do(nine: World) -> None:
    def score(prompt: int, value: object, model: str = "whole", criterion: str = "Польза") -> dict[str, object]:
        return {"prompt_id": prompt, "model_id": model, "criteria_name": criterion, "score": value}

    nine.write("a.jsonl", score(1, 1), score(1, 1, model="absent"), score(99, 1), score(2, 1, criterion="Красота"))
    nine.write("b.jsonl", score(3, 1), score(4, 7), score(5, "много"))
    report = nine.sync()
    assert report.rejected == 5
    assert blocked(nine) == [("b.jsonl", None, "off_scale", 1), ("b.jsonl", None, "wrong_type", 1)]


def test_files_that_nobody_meant_to_be_read_are_warned_of(nine: World) -> None:
    nine.write_bytes("README.md", "# Ответы\n\nКак они получены.\n".encode())
    nine.write_bytes("empty.jsonl", b"")
    nine.write_bytes("old.jsonl.gz", gzip.compress(b"{}"))
    nine.write("results.json", {"accuracy": 0.5})
    nine.sync()
    assert blocked(nine) == []
    warning = check(nine.con, "every_row_is_used")
    assert (warning.passed, warning.blocking, warning.failing_rows) == (False, False, 4)


def test_an_instruction_that_nobody_could_answer_is_missing_for_all(nine: World) -> None:
    nine.write("instructions.jsonl", *(instruction(n) for n in range(9)), instruction("lost"))
    nine.write("m.jsonl", *(answer(n) for n in range(8)), answer("lost", 5))
    nine.sync()
    result = check(nine.con, "models_answer_the_same_instructions")
    found = [(row["model_id"], row["missing_instructions"], row["answered_by_nobody"]) for row in result.sample]
    assert found == [("m", 2, 1), ("whole", 1, 1)]


def test_a_file_that_is_mended_is_stopped_no_more(nine: World) -> None:
    nine.write("m.jsonl", answer(0), answer(1, 5))
    nine.sync()
    assert blocked(nine) != []
    nine.write("m.jsonl", answer(0), answer(1, "пять"))
    nine.sync()
    assert blocked(nine) == []
