"""The fixtures of the ingest tests: worlds of one test or shared by several, and files that are only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.warehouse.schema import create_schema
from tests.ingest.landing_world import Files, World, instruction


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse of the worlds of a module, one after the other: to make one takes longer than to empty it."""
    with duckdb.connect(config={"threads": 1}) as con:
        create_schema(con)
        yield con


@pytest.fixture
def world(tmp_path: Path, warehouse: duckdb.DuckDBPyConnection) -> Iterator[World]:
    landing = tmp_path / "landing"
    landing.mkdir()
    yield World(landing, warehouse)
    tables = warehouse.execute(
        "SELECT schema_name || '.' || table_name FROM duckdb_tables() "
        "WHERE NOT temporary AND schema_name || '.' || table_name <> 'meta.schema_version'"
    ).fetchall()
    warehouse.execute(";".join(f"TRUNCATE {table}" for (table,) in tables))


@pytest.fixture
def asked(world: World) -> World:
    """A world in which prompts 1, 2 and 3 are asked, each with the criterion «Польза»."""
    return ask(world)


@pytest.fixture(scope="module")
def new_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], World]]:
    """Makes worlds, each with a warehouse of its own, that several tests of a module look at.

    Cases that cannot influence each other are landed at once in such a world: a sync of many small files takes hardly
    longer than one of a single file.
    """
    with ExitStack() as warehouses:

        def make() -> World:
            con = warehouses.enter_context(duckdb.connect(config={"threads": 1}))
            create_schema(con)
            return World(tmp_path_factory.mktemp("landing"), con)

        yield make


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A landing folder of which the files are only read."""
    landing = tmp_path / "landing"
    landing.mkdir()
    return Files(landing)


def ask(world: World) -> World:
    world.write("instructions.jsonl", *(instruction(n) for n in (1, 2, 3)))
    return world
