"""Time and versions: clocks that jump, a warehouse of an earlier layout, a warehouse that is no database any more.

The one idea: the ledger decides what was judged, so neither a clock nor a file of the warehouse can change a table or
cost a request.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from unittest import mock

import duckdb

from pollux_dagster.judge import evaluate as judging
from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.ledger import ledger as ledger_module
from tests.chaos.arena import Arena, World
from tests.chaos.daemon import attached
from tests.chaos.disk import HARMS
from tests.chaos.faults import judge_on
from tests.chaos.world import ChaosError, compare, read_rows, settings_of

LAYOUTS = Path(__file__).with_name("layouts")
LONGEST_JUMP = timedelta(days=400)


@contextmanager
def jumping_clock(source: random.Random) -> Iterator[None]:
    """Every look at the wall clock, where verdicts are dated and files aged, finds it somewhere else."""

    def jump_s() -> float:
        return source.uniform(-1, 1) * LONGEST_JUMP.total_seconds()

    class Datetime:
        @staticmethod
        def now(tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=jump_s())

    class Time:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def time() -> float:
            return datetime.now(UTC).timestamp() + jump_s()

    with mock.patch.object(judging, "datetime", Datetime), mock.patch.object(ledger_module, "time", Time):
        yield


def open_an_earlier_layout(
    arena: Arena, world: World, judge: Endpoint, layout: Path, name: str
) -> Mapping[str, object]:
    """A warehouse with the tables of `layout` and the rows of a judged world: brought up, and nothing asked again."""
    settings = settings_of(arena.folder / "homes" / name, world.landing)
    done = judge_on(settings, judge.base_url, judge, arena.profile, "before")
    current = settings.warehouse.with_name("current.duckdb")
    settings.warehouse.rename(current)
    copied = write_layout(layout, settings.warehouse, current)
    after = judge_on(settings, judge.base_url, judge, arena.profile, "after")
    compare(after.rows, world.undisturbed)
    if after.asked:
        raise ChaosError(f"{after.asked} verdicts were asked for again after a change of layout")
    return {"layout": layout.stem, "tables_copied": copied, "asked_before": done.asked, "asked_after": after.asked}


def write_layout(layout: Path, target: Path, current: Path) -> int:
    """Make `target` with the DDL of an earlier version, filled from `current` by column name; returns its tables."""
    with duckdb.connect(str(target)) as con:
        con.execute(layout.read_text(encoding="utf-8"))
        con.execute(f"ATTACH '{current}' AS now (READ_ONLY)")
        tables = con.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = current_database() "
            "AND table_name <> 'schema_version'"
        ).fetchall()
        for (table,) in tables:
            schema, name = table.split(".")
            columns = con.execute(
                "SELECT column_name FROM duckdb_columns() WHERE database_name = current_database() "
                "AND schema_name = ? AND table_name = ?",
                [schema, name],
            ).fetchall()
            listed = ", ".join(column for (column,) in columns)
            con.execute(f"INSERT INTO {table} ({listed}) SELECT {listed} FROM now.{table}")
        con.execute("UPDATE landing.files SET reader_version = reader_version - 1")
        con.execute("INSERT INTO meta.schema_version VALUES (1, now())")
    return len(tables)


def rebuild_a_corrupt_warehouse(
    arena: Arena, world: World, judge: Endpoint, finished: Path, harm: str, source: random.Random
) -> Mapping[str, object]:
    """Damage the warehouse of a copy of the home `finished` and run `pollux rebuild`: same tables, no request, the
    damaged file kept. Raises ChaosError.
    """
    home = finished.with_name(f"warehouse-{harm}")
    shutil.copytree(finished, home)
    settings, environment = attached(arena, judge, home, world)
    before = read_rows(settings.published)
    HARMS[harm](settings.warehouse, source)
    if harm == "bit_flipped":  # one bit may fall on a free block: ruin the header as well
        content = bytearray(settings.warehouse.read_bytes())
        content[8:12] = b"LOST"
        settings.warehouse.write_bytes(bytes(content))
    message = pollux(environment, "run", expected_code=1)
    if "pollux rebuild" not in message:
        raise ChaosError(f"the error does not say what to do: {message[-1500:]}")
    pollux(environment, "rebuild", expected_code=0)
    compare(read_rows(settings.published), before)
    with duckdb.connect(str(settings.warehouse), read_only=True) as con:
        asked = con.execute(
            "SELECT (details->>'requested')::INTEGER FROM meta.runs WHERE step = 'judge' "
            "ORDER BY position DESC LIMIT 1"  # earlier runs are remembered across the rebuild
        ).fetchone()
    kept = list(home.glob("warehouse.duckdb.broken-*"))
    if asked != (0,) or not kept:
        raise ChaosError(f"the rebuild asked for {asked} verdicts and kept {kept}")
    return {"rows": len(before), "asked": 0, "kept": kept[0].name}


def pollux(environment: Mapping[str, str], command: str, *, expected_code: int) -> str:
    """Run one command of the command line; returns all it printed. Raises ChaosError for another exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "pollux_dagster.cli", command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode != expected_code:
        raise ChaosError(f"`pollux {command}` ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
    return done.stdout + done.stderr
