"""The statistics step: one computation, one asset per table. `warehouse.statistics` defines what is computed."""

from collections.abc import Iterator

import dagster as dg

from pollux_dagster.core.duckdb_memory import give_memory_back
from pollux_dagster.core.statistics import Aggregation, Proxy
from pollux_dagster.core.text import counted
from pollux_dagster.defs.metadata import row_count
from pollux_dagster.warehouse.duckdb_resource import WarehouseResource
from pollux_dagster.warehouse.statistics import TABLES


def statistics_assets(aggregation: Aggregation, proxy: Proxy) -> dg.AssetsDefinition:
    """The multi-asset. `aggregation` and `proxy` are those of `refresh_statistics`."""

    @dg.multi_asset(
        name="statistics",
        specs=[
            dg.AssetSpec(
                ["statistics", table],
                deps=[["staging", "scores"], ["raw", "human_scores"]],
                description=description,
                group_name="statistics",
                kinds={"numpy", "scipy", "duckdb"},
            )
            for table, description in TABLES.items()
        ],
    )
    def statistics(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        """Intervals, comparisons, agreement with people and calibration, computed from the existing scores."""
        # Imported here: scipy costs a second that the UI and the command line would otherwise spend at every start.
        from pollux_dagster.warehouse.statistics.refresh import refresh_statistics

        with warehouse.get_connection() as con:
            warehouse.create_schema(con)
            give_memory_back(con)
            report = refresh_statistics(con, aggregation=aggregation, proxy=proxy)
            context.log.info(f"statistics of {counted(report.judges, 'judge')} in {report.elapsed_s:.1f} s")
            for table in TABLES:
                yield dg.MaterializeResult(
                    asset_key=["statistics", table], metadata=row_count(con, "statistics", table)
                )

    return statistics
