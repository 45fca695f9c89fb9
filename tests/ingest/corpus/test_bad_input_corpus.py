"""Every file of the corpus at once: each row is accepted or rejected for the reason that was written down for it."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from pollux_dagster.ingest.rows import Reason
from pollux_dagster.ingest.sync import FileReport
from pollux_dagster.warehouse.schema import create_schema
from tests.ingest.corpus.corpus_cases import INSTRUCTIONS, Case, cases
from tests.ingest.landing_world import World

CASES = {case.name: case for case in cases()}
REASONS_OF_OTHER_PLACES = {
    Reason.INVALID_LANDING_TOML,  # in test_landing_toml
    Reason.TOO_LARGE,  # limits are in test_large_inputs
    Reason.AMBIGUOUS_PROMPT,  # test_datasets
    Reason.SUPERSEDED,  # test_lm_eval
}


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dict[str, FileReport]]]:
    landing = tmp_path_factory.mktemp("landing")
    with duckdb.connect(config={"threads": 1}) as con:
        create_schema(con)
        world = World(landing, con)
        world.write_bytes("0 instructions.jsonl", INSTRUCTIONS)
        for case in CASES.values():
            world.write_bytes(case.name, case.body)
        report = world.sync(taxonomy=None)
        yield world, {file.path: file for file in report.files}


def test_the_corpus_is_as_large_as_promised_and_names_are_unique() -> None:
    names = [case.name for case in cases()]
    assert len(names) == len(set(names)) >= 250
    assert sum(len(case.rejected) for case in CASES.values()) >= 250


def test_every_reason_there_is_occurs() -> None:
    occurring = {reason for case in CASES.values() for reason in case.rejected}
    assert {reason.value for reason in set(Reason) - REASONS_OF_OTHER_PLACES} == occurring


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_every_row_is_accepted_or_rejected_for_its_reason(
    landed: tuple[World, dict[str, FileReport]], case: Case
) -> None:
    world, files = landed
    rejected = world.rows(
        f"SELECT reason, detail FROM raw.rejected_rows WHERE file_path = '{case.name}' ORDER BY row_number"
    )
    assert tuple(reason for reason, _ in rejected) == case.rejected, rejected
    assert files[case.name].accepted == case.accepted
    assert files[case.name].row_count == case.accepted + len(case.rejected)


def test_no_reader_failed_where_it_should_have_rejected(landed: tuple[World, dict[str, FileReport]]) -> None:
    world, _ = landed
    assert world.rows("SELECT file_path FROM raw.rejected_rows WHERE detail LIKE '%the reader failed%'") == []


def test_what_is_kept_of_a_rejected_row_can_be_stored_anywhere(landed: tuple[World, dict[str, FileReport]]) -> None:
    world, _ = landed
    for detail, text in world.rows("SELECT detail, raw_text FROM raw.rejected_rows"):
        for kept in (detail, text or ""):
            assert "\0" not in kept
            assert len(kept) <= 4000
            kept.encode()


def test_the_same_corpus_read_again_says_the_same(landed: tuple[World, dict[str, FileReport]]) -> None:
    world, _ = landed
    before = world.rows("SELECT * FROM raw.rejected_rows ORDER BY ALL")
    assert world.sync(taxonomy=None).loaded == ()
    assert world.rows("SELECT * FROM raw.rejected_rows ORDER BY ALL") == before
