"""The tiny world of these tests: three models, four instructions, four criteria of which one is a gate.

To fill it and to build its tables takes longer than most tests, so each state is made once, in a file that nobody
writes to, and a test gets a copy of it in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.warehouse.pipeline import build_tables
from pollux_dagster.warehouse.publish import publish
from pollux_dagster.warehouse.schema import create_schema
from pollux_dagster.warehouse.sql_models import SqlModel, packaged_sql_models
from tests.warehouse.tiny_world import TinyWorld


@contextmanager
def copy_of(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute(f"ATTACH '{file}' AS original (READ_ONLY)")
        connection.execute("COPY FROM DATABASE original TO memory")
        connection.execute("DETACH original")
        yield connection


@pytest.fixture(scope="session")
def models() -> list[SqlModel]:
    """The project's own SQL models."""
    return list(packaged_sql_models())


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        create_schema(connection)
        yield connection


@pytest.fixture(scope="session")
def filled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world before anything is asked of a judge."""
    folder = tmp_path_factory.mktemp("filled")
    with duckdb.connect(str(folder / "filled.duckdb"), config={"threads": 1}) as connection:
        create_schema(connection)
        TinyWorld(connection, folder).fill()
    return folder / "filled.duckdb"


@pytest.fixture
def world(filled_file: Path, tmp_path: Path) -> Iterator[TinyWorld]:
    with copy_of(filled_file) as connection:
        yield TinyWorld(connection, tmp_path)


@pytest.fixture(scope="session")
def built_file(filled_file: Path, models: list[SqlModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world, judged and with all its tables."""
    folder = tmp_path_factory.mktemp("built")
    file = folder / "built.duckdb"
    file.write_bytes(filled_file.read_bytes())
    with duckdb.connect(str(file), config={"threads": 1}) as connection:
        TinyWorld(connection, folder).judge_everything()
        build_tables(connection, models, run_id="run-1")
    return file


@pytest.fixture
def built(built_file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with copy_of(built_file) as connection:
        yield connection


@pytest.fixture(scope="session")
def published(built_file: Path, models: list[SqlModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The publication of that state, in a home; nobody writes to it."""
    target = tmp_path_factory.mktemp("home") / "published" / "pollux.duckdb"
    with duckdb.connect(str(built_file)) as con:
        publish(con, target, models=models, contracts=(), run_id="run-1", package_version="0", git_commit=None)
    return target
