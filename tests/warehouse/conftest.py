"""The tiny world of these tests: three models, four instructions, four criteria of which one is a gate.

To fill it and to build its tables takes longer than most tests, so each state is made once, in a file of `tiny_files`,
and a test gets a copy of it in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.warehouse.schema import create_schema
from tests.warehouse.tiny_world import TinyWorld


@contextmanager
def copy_of(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute(f"ATTACH '{file}' AS original (READ_ONLY)")
        connection.execute("COPY FROM DATABASE original TO memory")
        connection.execute("DETACH original")
        yield connection


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        create_schema(connection)
        yield connection


@pytest.fixture
def world(filled_file: Path, tmp_path: Path) -> Iterator[TinyWorld]:
    with copy_of(filled_file) as connection:
        yield TinyWorld(connection, tmp_path)


@pytest.fixture
def built(built_file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with copy_of(built_file) as connection:
        yield connection
