"""The tiny world of these tests: three models, four instructions, four criteria of which one is a gate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.warehouse.schema import create_schema
from pollux_dagster.warehouse.sql_models import SqlModel, packaged_sql_models
from tests.warehouse.tiny_world import TinyWorld


@pytest.fixture(scope="session")
def models() -> list[SqlModel]:
    """The project's own SQL models."""
    return list(packaged_sql_models())


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        create_schema(connection)
        yield connection


@pytest.fixture
def world(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> TinyWorld:
    return TinyWorld(con, tmp_path)
