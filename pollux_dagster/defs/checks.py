"""Asset checks made from the warehouse's contracts: one check per contract, with the failing rows in its metadata.

The contracts are defined in `warehouse.contracts`; no table is known here.
"""

from collections.abc import Mapping, Sequence

import dagster as dg
import polars as pl

from pollux_dagster.defs.metadata import rows_table
from pollux_dagster.warehouse.audit import audit
from pollux_dagster.warehouse.checks import CheckResult, record_check_results
from pollux_dagster.warehouse.contracts import Contract
from pollux_dagster.warehouse.duckdb_resource import WarehouseResource


def contract_checks(contracts: Sequence[Contract]) -> list[dg.AssetChecksDefinition]:
    """One Dagster asset check per contract."""
    return [_check(contract) for contract in contracts]


def dagster_result(
    result: CheckResult, metadata: Mapping[str, int] | None = None, asset: str | None = None
) -> dg.AssetCheckResult:
    """What Dagster shows of a check: outcome, number of failing rows, and the first of them as a table."""
    return dg.AssetCheckResult(
        asset_key=asset.split(".") if asset else None,
        check_name=result.name if asset else None,
        passed=result.passed,
        severity=dg.AssetCheckSeverity.ERROR if result.blocking else dg.AssetCheckSeverity.WARN,
        description=None if result.passed else result.description,  # the check's definition says what is checked
        metadata={**(metadata or {}), **({} if result.passed else _failing(result))},
    )


def _failing(result: CheckResult) -> dict[str, dg.MetadataValue | int]:
    sample = pl.DataFrame(list(result.sample), infer_schema_length=None, strict=False)
    return {"failing_rows": result.failing_rows, "sample": rows_table(sample)}


def _check(contract: Contract) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=contract.table.split("."),
        additional_deps=[table.split(".") for table in contract.other_tables],  # or it may run before they exist
        name=contract.name,
        description=contract.description,
        blocking=contract.blocking,
        config_schema={},
    )
    def check(context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource) -> dg.AssetCheckResult:
        with warehouse.get_connection() as con:
            outcome = audit(con, contract)
            record_check_results(con, [outcome.result], run_id=context.run.run_id, asset=contract.table)
        if not outcome.result.passed:
            context.log.warning(f"check {contract.name} of {contract.table} failed: {outcome.result.description}")
        return dagster_result(outcome.result, {"rows_checked": outcome.checked})

    return check
