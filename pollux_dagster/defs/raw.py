"""Raw assets: what landed, cleaned of rows nobody can use.

One step reads every changed file once and writes all raw tables; the per-model asset reports each model's share.
Both call the same incremental `sync`, so whichever runs first does the reading and the other finds nothing to do.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import duckdb

from pollux_dagster.defs.automation import when_something_new
from pollux_dagster.defs.metadata import OWNERS, column_schema, record_run, rows_table
from pollux_dagster.defs.partitions import landed_models, models, one_run, register_models
from pollux_dagster.defs.resources import LandingResource
from pollux_dagster.ingest.sync import SyncReport, sync
from pollux_dagster.warehouse.duckdb_resource import WarehouseResource
from pollux_dagster.warehouse.schema import create_schema

RAW_TABLES = {
    "instructions": "One row per prompt_id: the instruction, its reference answer if it has one, and its task.",
    "criteria": "One row per distinct (criteria_name, rubrics): the scale read from the rubric, group and gate flag.",
    "instruction_criteria": "Which criteria an instruction is judged on, from its own list or from the taxonomy.",
    "human_scores": "People's scores for (prompt, model, criterion), one row per annotator.",
    "rejected_rows": "Every row that cannot be used: file, row number, reason, detail, raw text.",
}


def _spec(table: str, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        ["raw", table], description=description, group_name="raw", kinds={"duckdb", "polars"}, owners=OWNERS
    )


@dg.multi_asset(
    name="landing",
    specs=[_spec(table, description) for table, description in RAW_TABLES.items()],
    pool="warehouse",
)
def landing_assets(
    context: dg.AssetExecutionContext, landing: LandingResource, warehouse: WarehouseResource
) -> Iterator[dg.MaterializeResult[None]]:
    """Read the landing files that changed and bring every raw table up to date."""
    with warehouse.get_connection() as con:
        report = _sync(context, con, landing)
        new = register_models(context.instance, list(landed_models(con)))
        if new:
            context.log.info(f"new models: {', '.join(new)}")
        for table in RAW_TABLES:
            yield dg.MaterializeResult(
                asset_key=["raw", table],
                metadata={
                    **column_schema(con, "raw", table),
                    "files_loaded": len(report.loaded),
                    "files_unchanged": report.unchanged,
                    "files_removed": list(report.removed),
                    **(_rejections(con) if table == "rejected_rows" else {}),
                },
            )


@dg.asset(
    key=["raw", "model_outputs"],
    partitions_def=models,
    deps=[["raw", "instructions"]],
    group_name="raw",
    kinds={"duckdb", "polars"},
    owners=OWNERS,
    pool="warehouse",
    backfill_policy=one_run,
    automation_condition=when_something_new,
    config_schema={},
)
def model_outputs(
    context: dg.AssetExecutionContext, landing: LandingResource, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """One model's answers, one row per (model_id, prompt_id, sample_index)."""
    with warehouse.get_connection() as con:
        _sync(context, con, landing)
        ids = landed_models(con)
        counts = dict(con.execute("SELECT model_id, count(*) FROM raw.model_outputs GROUP BY model_id").fetchall())
        for key in context.partition_keys:
            model_id = ids.get(key)
            if model_id is None:
                context.log.warning(f"model {key!r} has no answers in {landing.path} any more")
            context.add_asset_metadata(
                {"model_id": model_id or key, "answers": counts.get(model_id, 0)}, partition_key=key
            )
        return dg.MaterializeResult(metadata=column_schema(con, "raw", "model_outputs"))


def _sync(context: dg.AssetExecutionContext, con: duckdb.DuckDBPyConnection, landing: LandingResource) -> SyncReport:
    started = datetime.now(UTC)
    create_schema(con)
    report = sync(con, landing.folder, run_id=context.run.run_id, taxonomy=Path(landing.taxonomy))
    if report.loaded or report.removed:
        context.log.info(str(report))
        record_run(con, context.run.run_id, "ingest", started, report.as_json())
    return report


def _rejections(con: duckdb.DuckDBPyConnection) -> dict[str, dg.MetadataValue]:
    by_reason = con.execute(
        "SELECT reason, count(*) AS rows, count(DISTINCT file_path) AS files FROM raw.rejected_rows "
        "GROUP BY reason ORDER BY rows DESC"
    ).pl()
    return {"rejected_by_reason": rows_table(by_reason)}
