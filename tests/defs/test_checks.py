"""The contracts of a table as Dagster's checks: one that cannot be run has failed, and hides none of the others."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from pollux_dagster.defs.checks import contract_checks
from pollux_dagster.warehouse.contracts import NO_ROWS, Contract, not_null
from pollux_dagster.warehouse.duckdb_resource import WarehouseResource
from pollux_dagster.warehouse.gate import objections
from pollux_dagster.warehouse.schema import create_schema

TABLE = "raw.model_outputs"
PASSES = Contract(TABLE, "passes", "There is no stranger.", f"SELECT model_id FROM {TABLE}", NO_ROWS)
FAILS = Contract(TABLE, "fails", "There is one.", "SELECT 1 AS one", NO_ROWS)
CONTRACTS = (
    Contract(TABLE, "query", "Its query is wrong.", f"SELECT misspelt FROM {TABLE}", NO_ROWS),
    PASSES,
    Contract(TABLE, "expectation", "Its expectation is.", f"SELECT model_id FROM {TABLE}", not_null("misspelt")),
    FAILS,
)


@pytest.mark.slow
def test_a_contract_that_cannot_be_run_fails_alone_and_says_why(tmp_path: Path) -> None:
    warehouse = WarehouseResource(database=str(tmp_path / "warehouse.duckdb"))
    with warehouse.get_connection() as con:
        create_schema(con)
    definitions = dg.Definitions(
        asset_checks=contract_checks(CONTRACTS),
        resources={"warehouse": warehouse},
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.all_asset_checks())],
    )
    result = definitions.resolve_job_def("checks").execute_in_process(raise_on_error=False)
    shown = {check.check_name: (check.passed, check.description) for check in result.get_asset_check_evaluations()}
    with warehouse.get_connection(read_only=True) as con:
        recorded = con.execute("SELECT check_name, passed, description FROM meta.check_results").fetchall()
        stands_against = {found.check: found.problem for found in objections(con, CONTRACTS, [])}
    assert not result.success
    assert {name: passed for name, (passed, _) in shown.items()} == {
        "query": False, "passes": True, "expectation": False, "fails": False,
    }  # fmt: skip
    assert {(name, passed) for name, passed, _ in recorded} == {(name, passed) for name, (passed, _) in shown.items()}
    for name, words in (("query", "it could not be run: Binder Error"), ("expectation", "could not be evaluated")):
        assert words in str(shown[name][1])
        assert words in {check: str(said) for check, _, said in recorded}[name]
        assert "misspelt" in stands_against[name]
    assert "fails" in stands_against and "passes" not in stands_against
