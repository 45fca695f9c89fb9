"""judging.verdicts is what the ledger's segments say, in whatever order and grouping they come."""

from __future__ import annotations

import itertools
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.warehouse import verdicts as module
from pollux_dagster.warehouse.schema import create_schema
from pollux_dagster.warehouse.verdicts import load_verdicts
from tests.warehouse.tiny_world import TinyWorld, verdict_row, write_segment

FAILED = verdict_row("k", "truncated", None, minute=1)
OK = verdict_row("k", "ok", 1.0, minute=2)
LATER_OK = verdict_row("k", "ok", 2.0, minute=3)
LATER_FAILURE = verdict_row("k", "transport_error", None, minute=4)


def kept(con: duckdb.DuckDBPyConnection) -> list[tuple[str, float | None]]:
    return con.execute("SELECT status, score FROM judging.verdicts").fetchall()


ORDERS = list(itertools.permutations([FAILED, OK, LATER_OK, LATER_FAILURE]))


@pytest.mark.parametrize(
    "order", [pytest.param(order, marks=() if at % 5 == 0 else pytest.mark.slow) for at, order in enumerate(ORDERS)]
)
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


TWINS = [
    verdict_row("k", "ok", 1.0, minute=5),
    verdict_row("k", "ok", 2.0, minute=5),
    {**verdict_row("k", "ok", 2.0, minute=5), "raw_text": "другие слова"},
]


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(order, marks=() if at % 3 == 0 else pytest.mark.slow)
        for at, order in enumerate(itertools.permutations(TWINS))
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_of_verdicts_with_one_date_the_same_one_stands_after_every_loading(
    world: TinyWorld, order: tuple[dict[str, object], ...], at_once: bool
) -> None:
    paths = [write_segment(world.folder / f"{number}.parquet", [row]) for number, row in enumerate(order)]
    for known in [len(paths)] if at_once else range(1, len(paths) + 1):
        load_verdicts(world.con, paths[:known])
    assert world.con.execute("SELECT score, raw_text FROM judging.verdicts").fetchall() == [(2.0, "текст")]


def test_a_clock_that_was_set_back_brings_no_failure_back(world: TinyWorld) -> None:
    world.load([verdict_row("k", "truncated", None, minute=500_000)], "dated-ahead.parquet")
    world.load([OK], "after-the-clock-was-set.parquet")
    assert kept(world.con) == [("ok", 1.0)]


def test_batches_of_any_size_come_to_the_same_table(world: TinyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        verdict_row(f"k{n % 7}", "ok" if n % 3 else "truncated", float(n) if n % 3 else None, minute=n % 11)
        for n in range(60)
    ]
    paths = [write_segment(world.folder / f"{n}.parquet", rows[n : n + 3]) for n in range(0, 60, 3)]
    tables, remembered = [], []
    for verdicts in (1, 7, 10_000):
        monkeypatch.setattr(module, "BATCH_VERDICTS", verdicts)
        with duckdb.connect(":memory:") as fresh:
            create_schema(fresh)
            load_verdicts(fresh, paths)
            tables.append(fresh.execute("SELECT * FROM judging.verdicts ORDER BY ALL").fetchall())
            remembered.append(
                fresh.execute("SELECT segment, row_count FROM meta.ledger_segments ORDER BY ALL").fetchall()
            )
    assert tables[0] == tables[1] == tables[2]
    assert remembered[0] == remembered[1] == remembered[2] == [(str(path), 3) for path in sorted(paths, key=str)]


def test_a_load_that_was_killed_goes_on_where_it_stopped(world: TinyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_VERDICTS", 4)
    rows = [verdict_row(f"k{n}", "ok", float(n)) for n in range(20)]
    paths = [write_segment(world.folder / f"{n:02}.parquet", rows[n : n + 2]) for n in range(0, 20, 2)]
    load, calls = module._load, 0

    def killed(con: duckdb.DuckDBPyConnection, batch: list[str]) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return load(con, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_load", killed)
        load_verdicts(world.con, paths)
    assert world.con.execute("SELECT count(*) FROM judging.verdicts").fetchone() == (8,)
    assert load_verdicts(world.con, paths) == 12


def test_many_small_segments_are_loaded_together(world: TinyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_segment(world.folder / f"{n}.parquet", [verdict_row(f"k{n}", "ok", 1.0)]) for n in range(100)]
    load = module._load
    calls: list[int] = []

    def counting(con: duckdb.DuckDBPyConnection, batch: list[str]) -> int:
        calls.append(len(batch))
        return load(con, batch)

    monkeypatch.setattr(module, "_load", counting)
    assert load_verdicts(world.con, paths) == 100
    assert calls == [100]
