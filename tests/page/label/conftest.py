"""The publication of the tiny world of the warehouse tests, in a home beside a landing folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.label.draws import AnswerKey, Draw, Wanted, make_draw
from pollux_dagster.label.session import Item, Session, read_items
from tests.warehouse.tiny_world import MODELS


@dataclass(frozen=True)
class Place:
    """A landing folder and a folder of draws, with what is published and a connection to it."""

    con: duckdb.DuckDBPyConnection
    landing: Path
    draws: Path

    def draw(self, wanted: Wanted | None = None, scored: Sequence[AnswerKey] = ()) -> Draw:
        return make_draw(self.con, self.draws, wanted or Wanted(), scored)

    def items(self, draw: Draw) -> list[Item]:
        return read_items(self.con, draw)

    def session(self, annotator: str = "anna", draw: Draw | None = None) -> Session:
        draw = draw or self.draw()
        return Session(draw, self.items(draw), self.landing, self.draws, annotator)


@pytest.fixture(scope="session")
def reader(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """One connection for all tests, since opening it takes longer than most of them; to a copy of its own, because
    other tests open the file with other settings.
    """
    copy = tmp_path_factory.mktemp("read") / "pollux.duckdb"
    copy.write_bytes(published.read_bytes())
    with duckdb.connect(str(copy), config={"threads": 1}) as con:
        yield con


@pytest.fixture
def place(reader: duckdb.DuckDBPyConnection, tmp_path: Path) -> Place:
    landing = tmp_path / "landing"
    for model in MODELS:
        file = landing / "answers" / f"{model}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return Place(reader, landing, tmp_path / "home" / "label_draws")


@pytest.fixture
def place_after(place: Place) -> Iterator[Callable[..., Place]]:
    """The same after some statements, which are taken back at the end."""
    place.con.execute("BEGIN")

    def change(*statements: str) -> Place:
        for statement in statements:
            place.con.execute(statement)
        return place

    yield change
    place.con.execute("ROLLBACK")
