"""Publications of the tiny world of the warehouse tests: as it is, and with hostile text in place of every text."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.security.hostile import HOSTILE

FROM_OUTSIDE = ("model_id", "other_model_id", "task_type", "criteria_name", "file_path", "judge_name", "reason")
SHOWN_WHOLE = {"answer": "raw.model_outputs", "instruction": "raw.instructions", "rationale": "judging.verdicts"}


@pytest.fixture(scope="session")
def hostile(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every name and text of the publication is one of the corpus; what belongs together still does."""
    target = tmp_path_factory.mktemp("hostile") / "pollux.duckdb"
    shutil.copyfile(published, target)
    texts = list(HOSTILE.values())

    def poisoned(place: int) -> str:
        return texts[place % len(texts)]

    with duckdb.connect(str(target)) as con:
        columns = con.execute(_COLUMNS, {"names": list(FROM_OUTSIDE)}).fetchall()
        places: dict[str, int] = {}
        for table, column in columns:
            for (value,) in con.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL").fetchall():
                # The number keeps different names apart that are cut to the same length, and huge ones are of no use.
                text = f"{poisoned(places.setdefault(value, len(places)))[:300]} {places[value]}"
                con.execute(
                    f"UPDATE {table} SET {column} = $text WHERE {column} = $value", {"text": text, "value": value}
                )
        for column, table in SHOWN_WHOLE.items():
            for place, (row,) in enumerate(con.execute(f"SELECT rowid FROM {table} ORDER BY rowid").fetchall()):
                con.execute(
                    f"UPDATE {table} SET {column} = $text WHERE rowid = $row", {"text": poisoned(place), "row": row}
                )
    return target


@pytest.fixture
def changed(published: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the publication after some statements, in a folder of its own."""

    def change(*statements: str) -> Path:
        target = tmp_path / "published" / "pollux.duckdb"
        target.parent.mkdir()
        shutil.copyfile(published, target)
        with duckdb.connect(str(target)) as con:
            for statement in statements:
                con.execute(statement)
        return target

    return change


_COLUMNS = """
SELECT schema_name || '.' || table_name, column_name
FROM duckdb_columns() JOIN duckdb_tables() USING (database_name, schema_name, table_name)
WHERE list_contains($names, column_name)
"""
