"""The publication of the tiny world of the warehouse tests, in a home beside a landing folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.label.draws import AnswerKey, Draw, Wanted, make_draw
from pollux_dagster.label.session import Item, Session, read_items
from tests.warehouse.tiny_world import MODELS


@dataclass(frozen=True)
class Place:
    """A landing folder and a folder of draws, with what is published."""

    published: Path
    landing: Path
    draws: Path

    def draw(self, wanted: Wanted | None = None, scored: Sequence[AnswerKey] = ()) -> Draw:
        with duckdb.connect(str(self.published), read_only=True) as con:
            return make_draw(con, self.draws, wanted or Wanted(), scored)

    def items(self, draw: Draw) -> list[Item]:
        with duckdb.connect(str(self.published), read_only=True) as con:
            return read_items(con, draw)

    def session(self, annotator: str = "anna", draw: Draw | None = None) -> Session:
        draw = draw or self.draw()
        return Session(draw, self.items(draw), self.landing, self.draws, annotator)


@pytest.fixture
def place(published: Path, tmp_path: Path) -> Place:
    landing = tmp_path / "landing"
    for model in MODELS:
        file = landing / "answers" / f"{model}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return Place(published, landing, tmp_path / "home" / "label_draws")


@pytest.fixture
def place_after(place: Place, tmp_path: Path) -> Callable[..., Place]:
    """The same after some statements on a copy of the publication."""

    def change(*statements: str) -> Place:
        target = tmp_path / "home" / "published" / "pollux.duckdb"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(place.published.read_bytes())
        with duckdb.connect(str(target)) as con:
            for statement in statements:
                con.execute(statement)
        return replace(place, published=target)

    return change
