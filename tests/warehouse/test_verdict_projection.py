"""judging.verdicts is what the ledger's segments say, in whatever order and grouping they come."""

from __future__ import annotations

import itertools
from pathlib import Path

import duckdb
import pytest
from tiny_world import TinyWorld, verdict_row, write_segment

from pollux_dagster.warehouse.schema import create_schema
from pollux_dagster.warehouse.verdicts import load_verdicts

FAILED = verdict_row("k", "truncated", None, minute=1)
OK = verdict_row("k", "ok", 1.0, minute=2)
LATER_OK = verdict_row("k", "ok", 2.0, minute=3)
LATER_FAILURE = verdict_row("k", "transport_error", None, minute=4)


def kept(con: duckdb.DuckDBPyConnection) -> list[tuple[str, float | None]]:
    return con.execute("SELECT status, score FROM judging.verdicts").fetchall()


@pytest.mark.parametrize("order", list(itertools.permutations([FAILED, OK, LATER_OK, LATER_FAILURE])))
def test_the_later_ok_verdict_wins_in_any_order_of_segments(
    world: TinyWorld, order: tuple[dict[str, object], ...]
) -> None:
    for number, row in enumerate(order):
        world.load([row], f"{number}.parquet")
    assert kept(world.con) == [("ok", 2.0)]


def test_within_one_segment_the_same_rule_holds(world: TinyWorld) -> None:
    assert world.load([LATER_FAILURE, OK, FAILED], "one.parquet") == 1
    assert kept(world.con) == [("ok", 1.0)]


def test_a_later_failure_replaces_an_earlier_one(world: TinyWorld) -> None:
    world.load([LATER_FAILURE], "late.parquet")
    world.load([FAILED], "early.parquet")
    assert kept(world.con) == [("transport_error", None)]


def test_a_loaded_segment_is_not_read_again(world: TinyWorld) -> None:
    world.load([OK], "one.parquet")
    world.segments[0].write_bytes(b"not parquet any more")
    assert load_verdicts(world.con, world.segments) == 0


def test_compaction_changes_nothing_and_is_forgotten_about(world: TinyWorld) -> None:
    other = verdict_row("l", "ok", 5.0)
    world.load([OK], "one.parquet")
    world.load([LATER_FAILURE, other], "two.parquet")
    before = world.con.execute("SELECT * FROM judging.verdicts ORDER BY ALL").fetchall()
    merged = write_segment(world.folder / "merged.parquet", [OK, LATER_FAILURE, other])
    assert load_verdicts(world.con, [merged]) == 0
    assert world.con.execute("SELECT * FROM judging.verdicts ORDER BY ALL").fetchall() == before
    assert world.con.execute("SELECT segment, row_count FROM meta.ledger_segments").fetchall() == [(str(merged), 3)]


def test_a_segment_that_cannot_be_read_loses_none_of_the_others(world: TinyWorld) -> None:
    good = write_segment(world.folder / "good.parquet", [OK])
    broken = world.folder / "broken.parquet"
    broken.write_bytes(b"PAR1 nonsense")
    with pytest.raises(duckdb.Error):
        load_verdicts(world.con, [good, broken])
    assert kept(world.con) == [("ok", 1.0)]
    broken.unlink()
    assert load_verdicts(world.con, [good]) == 0


def test_verdicts_of_a_segment_that_was_set_aside_leave_and_older_ones_come_back(world: TinyWorld) -> None:
    other = verdict_row("l", "ok", 5.0)
    world.load([FAILED, other], "whole.parquet")
    world.load([OK, verdict_row("m", "ok", 1.0)], "damaged.parquet")
    whole, _ = world.segments
    load_verdicts(world.con, [whole])
    rows = world.con.execute("SELECT verdict_key, status FROM judging.verdicts ORDER BY verdict_key").fetchall()
    assert rows == [("k", "truncated"), ("l", "ok")]
    assert load_verdicts(world.con, [whole]) == 0


def test_without_any_segment_left_there_is_no_verdict(world: TinyWorld) -> None:
    world.load([OK], "one.parquet")
    load_verdicts(world.con, [])
    assert kept(world.con) == []


def test_a_fresh_warehouse_gets_everything_from_the_ledger(world: TinyWorld, tmp_path: Path) -> None:
    world.judge_everything()
    with duckdb.connect(":memory:") as fresh:
        create_schema(fresh)
        load_verdicts(fresh, list(reversed(world.segments)))
        query = "SELECT * FROM judging.verdicts ORDER BY verdict_key"
        assert fresh.execute(query).fetchall() == world.con.execute(query).fetchall()
