"""The fixtures of the ingest tests: an empty world, and one in which three prompts are asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.warehouse.schema import create_schema
from tests.ingest.landing_world import World, instruction


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    landing = tmp_path / "landing"
    landing.mkdir()
    with duckdb.connect(config={"threads": 1}) as con:
        create_schema(con)
        yield World(landing, con)


@pytest.fixture
def asked(world: World) -> World:
    """A world in which prompts 1, 2 and 3 are asked, each with the criterion «Польза»."""
    world.write("instructions.jsonl", *(instruction(n) for n in (1, 2, 3)))
    return world
