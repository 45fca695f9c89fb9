"""Every row of the folders that the package brings is used: of the demonstration and of what `pollux init` writes."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from pollux_dagster import demo
from pollux_dagster.ingest.sync import sync
from pollux_dagster.settings import PACKAGE_TAXONOMY

STARTER = Path(demo.__file__).parents[1] / "starter" / "landing"


@pytest.mark.usefixtures("world")  # which empties the warehouse afterwards
@pytest.mark.parametrize(("landing", "answers"), [(demo.LANDING, 4 * 67), (STARTER, 6)])
def test_no_row_is_rejected(landing: Path, answers: int, warehouse: duckdb.DuckDBPyConnection) -> None:
    sync(warehouse, landing, run_id="r", taxonomy=PACKAGE_TAXONOMY)
    assert warehouse.execute("SELECT file_path, reason, detail FROM raw.rejected_rows").fetchall() == []
    assert warehouse.execute("SELECT count(*) FROM raw.model_outputs").fetchone() == (answers,)
