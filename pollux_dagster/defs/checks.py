"""Asset checks made from the warehouse's contracts: one check per contract, with the failing rows in its metadata.

The contracts are defined in `warehouse.contracts`; no table is known here.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
import duckdb

from pollux_dagster.defs.metadata import rows_table
from pollux_dagster.runs.interruption import is_stopped_query
from pollux_dagster.warehouse.audit import Audit, audit, not_run
from pollux_dagster.warehouse.checks import CheckResult, record_check_results
from pollux_dagster.warehouse.connection import is_damage
from pollux_dagster.warehouse.contracts import Contract
from pollux_dagster.warehouse.duckdb_resource import WarehouseResource

_OF_THE_MACHINE = (
    *(OSError, MemoryError, duckdb.IOException, duckdb.OutOfMemoryException),
    *(duckdb.FatalException, duckdb.InternalException),
)


def contract_checks(contracts: Sequence[Contract]) -> list[dg.AssetChecksDefinition]:
    """One Dagster asset check per contract, those of a table in one step."""
    by_table: dict[str, list[Contract]] = {}
    for contract in contracts:
        by_table.setdefault(contract.table, []).append(contract)
    return [_checks_of(table, of_table) for table, of_table in by_table.items()]


def dagster_result(
    result: CheckResult, metadata: Mapping[str, int] | None = None, asset: str | None = None
) -> dg.AssetCheckResult:
    """What Dagster shows of a check: its finding in a sentence, and the first failing rows as a table."""
    return dg.AssetCheckResult(
        asset_key=asset.split(".") if asset else None,
        check_name=result.name if asset else None,
        passed=result.passed,
        severity=dg.AssetCheckSeverity.ERROR if result.blocking else dg.AssetCheckSeverity.WARN,
        description=result.sentence,
        metadata={**(metadata or {}), **({} if result.passed else _failing(result))},
    )


def _failing(result: CheckResult) -> dict[str, dg.MetadataValue | int]:
    import polars as pl

    sample = pl.DataFrame(list(result.sample), infer_schema_length=None, strict=False)
    return {"failing_rows": result.failing_rows, "sample": rows_table(sample)}


def _checks_of(table: str, contracts: Sequence[Contract]) -> dg.AssetChecksDefinition:
    """One step for all contracts of a table: a step costs Dagster more than a contract costs the warehouse."""
    asset = dg.AssetKey(table.split("."))
    specs = [
        dg.AssetCheckSpec(
            contract.name,
            asset=asset,
            additional_deps=[other.split(".") for other in contract.other_tables],  # or it may run before they exist
            description=contract.description,
            blocking=contract.blocking,
        )
        for contract in contracts
    ]

    @dg.multi_asset_check(name=f"{table.replace('.', '__')}__contracts", specs=specs, can_subset=True, config_schema={})
    def check(context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        with warehouse.get_connection() as con:
            outcomes = [_audited(con, contract) for contract in contracts if contract.name in selected]
            record_check_results(con, [outcome.result for outcome in outcomes], run_id=context.run.run_id, asset=table)
        for outcome in outcomes:
            result = outcome.result
            if not result.passed:
                context.log.warning(f"check {result.name} of {table} failed: {result.sentence}")
            yield dagster_result(result, {"rows_checked": outcome.checked}, asset=table)

    return check


def _audited(con: duckdb.DuckDBPyConnection, contract: Contract) -> Audit:
    """The contract's result; one that cannot be run has failed, and takes no other one with it."""
    try:
        return audit(con, contract)
    except _OF_THE_MACHINE:
        raise
    except Exception as error:
        if is_stopped_query(error) or (isinstance(error, duckdb.Error) and is_damage(error)):
            raise
        return not_run(con, contract, error)
