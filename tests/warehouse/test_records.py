"""What is kept beside the ledger comes back into a new warehouse, in its order, and damage costs its own file only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.warehouse.golden import GoldenRound, accept_latest_round, record_round
from pollux_dagster.warehouse.record_files import DIGESTS, TABLES, keep_records, restore_records
from pollux_dagster.warehouse.schema import create_schema

TRUNCATED: Callable[[bytes], bytes] = lambda body: body[: len(body) // 2]  # noqa: E731
EMPTIED: Callable[[bytes], bytes] = lambda _: b""  # noqa: E731


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def known(con: duckdb.DuckDBPyConnection, ledger: Path) -> duckdb.DuckDBPyConnection:
    """Two judges, three runs of which the last has the earliest date, two golden rounds; kept beside the ledger."""
    for number, (judge, year) in enumerate((("judge-a", 2030), ("judge-a", 2031), ("judge-b", 2020))):
        con.execute(
            "INSERT INTO meta.runs SELECT ?, 'judge', make_timestamptz(?, 1, 1, 0, 0, 0), "
            "make_timestamptz(?, 1, 1, 0, 0, 0), ?, ?",
            [f"run-{number}", year, year, json.dumps({"judge_id": judge}), number + 1],
        )
    for judge in ("judge-a", "judge-b"):
        con.execute("INSERT INTO meta.judges VALUES (?, ?, 'm', 'r', FALSE, '{}', now())", [judge, judge])
        record_round(con, GoldenRound(judge, "m", "vllm", "1", ()), run_id="run-1")
    con.execute("UPDATE judging.golden_rounds SET judged_at = judged_at - INTERVAL 1 YEAR WHERE judge_id = 'judge-b'")
    keep_records(con, ledger / "records")
    return con


def new_warehouse() -> duckdb.DuckDBPyConnection:
    """As it is when the records are read back: an ingest has run."""
    con = duckdb.connect(config={"threads": 1})
    create_schema(con)
    con.execute("INSERT INTO meta.runs SELECT 'run-9', 'ingest', now(), now(), '{}', 1")
    return con


def runs(con: duckdb.DuckDBPyConnection) -> list[str]:
    return [run for (run,) in con.execute("SELECT run_id FROM meta.runs ORDER BY position").fetchall()]


def test_restored_rows_keep_their_order_and_come_before_what_was_written_since(
    known: duckdb.DuckDBPyConnection, ledger: Path
) -> None:
    con = new_warehouse()
    assert restore_records(con, ledger / "records").rows == 7
    assert runs(con) == ["run-0", "run-1", "run-2", "run-9"]
    assert "judge-b" in accept_latest_round(con)
    assert restore_records(con, ledger / "records").rows == 0


def test_records_of_before_rows_were_numbered_are_restored_in_their_old_order(
    known: duckdb.DuckDBPyConnection, ledger: Path
) -> None:
    (ledger / "records" / DIGESTS).unlink()
    for table in ("meta.runs", "judging.golden_rounds"):
        file = ledger / "records" / f"{table}.parquet"
        known.sql(f"SELECT * EXCLUDE (position) FROM {table}").write_parquet(str(file))
    con = new_warehouse()
    assert restore_records(con, ledger / "records").rows == 7
    assert runs(con) == ["run-0", "run-1", "run-2", "run-9"]
    assert "judge-a" in accept_latest_round(con)  # all that is known of these is their dates


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("harm", "with_digests"),
    [
        pytest.param(TRUNCATED, True, id="truncated"),
        pytest.param(EMPTIED, False, id="emptied without digests", marks=pytest.mark.slow),
        pytest.param(EMPTIED, True, id="emptied", marks=pytest.mark.slow),
        pytest.param(TRUNCATED, False, id="truncated without digests", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_record_is_set_aside_with_a_report_and_the_others_are_read(
    known: duckdb.DuckDBPyConnection, ledger: Path, table: str, harm: Callable[[bytes], bytes], with_digests: bool
) -> None:
    file = ledger / "records" / f"{table}.parquet"
    damaged = harm(file.read_bytes())
    file.write_bytes(damaged)
    if not with_digests:  # as earlier versions wrote them
        (ledger / "records" / DIGESTS).unlink()
    con = new_warehouse()
    counts = {name: known.execute(f"SELECT count(*) FROM {name}").fetchone() for name in TABLES}
    restored = restore_records(con, ledger / "records")
    (aside,) = restored.damaged
    assert (aside.parent, aside.read_bytes(), file.exists()) == (ledger / "quarantine", damaged, False)
    report = json.loads(aside.with_name(f"{aside.name}.report.json").read_text("utf-8"))
    assert (report["file"], report["size_bytes"]) == (aside.name, len(damaged)) and report["reason"]
    for name in set(TABLES) - {table, "meta.runs"}:
        assert con.execute(f"SELECT count(*) FROM {name}").fetchone() == counts[name]
    # What a run does next, and the next loss of the warehouse.
    con.execute("INSERT OR IGNORE INTO meta.judges VALUES ('judge-a', 'judge-a', 'm', 'r', FALSE, '{}', now())")
    keep_records(con, ledger / "records")
    again = restore_records(new_warehouse(), ledger / "records")
    assert again.damaged == () and again.rows > 0


def test_one_flipped_bit_is_damage(known: duckdb.DuckDBPyConnection, ledger: Path) -> None:
    file = ledger / "records" / "meta.judges.parquet"
    body = file.read_bytes()
    at = len(body) // 3
    file.write_bytes(body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
    assert [path.parent.name for path in restore_records(new_warehouse(), ledger / "records").damaged] == ["quarantine"]


def test_a_restore_after_a_damaged_table_of_judges_can_be_done_again(
    known: duckdb.DuckDBPyConnection, ledger: Path
) -> None:
    (ledger / "records" / "meta.judges.parquet").write_bytes(b"")
    con = new_warehouse()
    restore_records(con, ledger / "records")
    assert restore_records(con, ledger / "records").rows == 0  # killed before it had a judge
    assert runs(con) == ["run-0", "run-1", "run-2", "run-9"]


def test_a_copy_that_was_cut_off_between_its_files_is_no_damage(
    known: duckdb.DuckDBPyConnection, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.execute("INSERT INTO meta.judges VALUES ('judge-c', 'judge-c', 'm', 'r', FALSE, '{}', now())")
    known.execute("INSERT INTO meta.runs SELECT 'run-3', 'judge', now(), now(), '{}', 4")
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.name == "judging.golden_rounds.parquet":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        keep_records(known, ledger / "records")
    con = new_warehouse()
    assert restore_records(con, ledger / "records").damaged == ()
    assert (runs(con), con.execute("SELECT count(*) FROM meta.judges").fetchone()) == (
        ["run-0", "run-1", "run-2", "run-3", "run-9"], (2,)
    )  # fmt: skip
    keep_records(con, ledger / "records")
    assert restore_records(new_warehouse(), ledger / "records").damaged == ()
