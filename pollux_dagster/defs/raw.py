"""Raw assets: the landed data without unusable rows.

One step reads every changed file once and writes all raw tables, including each model's answers; it reports the models
whose answers changed as partitions of `raw/model_outputs`.
"""

from collections.abc import Iterator

import dagster as dg
import duckdb

from pollux_dagster.app.resources import LandingResource
from pollux_dagster.core.model_ids import model_partition_key
from pollux_dagster.defs.automation import LANDED_TAG
from pollux_dagster.defs.metadata import row_count, rows_table
from pollux_dagster.defs.partitions import (
    landed_models,
    model_partitions,
    one_run,
    register_models,
    selected_partitions,
)
from pollux_dagster.ingest.resolve import resolved_state
from pollux_dagster.warehouse.duckdb_resource import WarehouseResource
from pollux_dagster.warehouse.fingerprints import fingerprint

RAW_TABLES = {
    "instructions": "One row per prompt_id: the instruction, its reference answer if it has one, and its task.",
    "criteria": "One row per distinct (criteria_name, rubrics): the scale read from the rubric, group and gate flag.",
    "instruction_criteria": "The criteria each instruction is judged on, from its own list or from the taxonomy.",
    "human_scores": "People's scores for (prompt, model, sample, criterion), one row per annotator.",
    "rejection_counts": "How many rows of each file, and of each model's answers, were rejected, by reason.",
    "answer_counts": "One row per model: instructions it should have answered and did answer, rows read and rejected.",
    "notes": "What the owner of a landing file should know though its rows are used: file, row number, kind, detail.",
    "rejected_rows": "Every row that cannot be used: file, row number, reason, detail, raw text.",
}


def _spec(table: str, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(["raw", table], description=description, group_name="raw", kinds={"duckdb", "polars"})


@dg.multi_asset(
    name="landing",
    specs=[_spec(table, description) for table, description in RAW_TABLES.items()],
)
def landing_assets(
    context: dg.AssetExecutionContext, landing: LandingResource, warehouse: WarehouseResource
) -> Iterator[dg.MaterializeResult[None]]:
    """Read the landing files that changed and bring every raw table up to date."""
    with warehouse.get_connection() as con:
        warehouse.create_schema(con)
        report = landing.sync(con, context.run.run_id)
        if report.loaded or report.removed or report.unread:
            context.log.info(str(report))
        new = register_models(context.instance, list(landed_models(con)))
        if new:
            context.log.info(f"new models: {', '.join(new)}")
        _report_models(context, con, report.changed_models)
        context.instance.add_run_tags(context.run.run_id, {LANDED_TAG: resolved_state(con)})
        for table in RAW_TABLES:
            yield dg.MaterializeResult(
                asset_key=["raw", table],
                data_version=dg.DataVersion(fingerprint(con, f"raw.{table}")),
                metadata={
                    **row_count(con, "raw", table),
                    "files_loaded": len(report.loaded),
                    "files_unchanged": report.unchanged,
                    "files_removed": list(report.removed),
                    **(_rejections(con) if table == "rejected_rows" else {}),
                },
            )


@dg.asset(
    key=["raw", "model_outputs"],
    partitions_def=model_partitions,
    deps=[["raw", "instructions"]],
    group_name="raw",
    kinds={"duckdb", "polars"},
    backfill_policy=one_run,
    config_schema={},
)
def model_outputs(
    context: dg.AssetExecutionContext, landing: LandingResource, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """One model's answers, one row per (model_id, prompt_id, sample_index)."""
    with warehouse.get_connection() as con:
        warehouse.create_schema(con)
        if keys := selected_partitions(context):
            ids = landed_models(con)
            for key in keys:
                if key not in ids:
                    context.log.warning(f"model {key!r} no longer has answers in {landing.path}")
                context.add_asset_metadata(_answers(con, ids.get(key, key)), partition_key=key)
            return dg.MaterializeResult()
        return dg.MaterializeResult(metadata=row_count(con, "raw", "model_outputs"))


def _report_models(
    context: dg.AssetExecutionContext, con: duckdb.DuckDBPyConnection, model_ids: tuple[str, ...]
) -> None:
    """Report one materialization per model whose answers are new, different or gone."""
    for model_id in model_ids:
        context.log_event(
            dg.AssetMaterialization(
                ["raw", "model_outputs"], partition=model_partition_key(model_id), metadata=_answers(con, model_id)
            )
        )


def _answers(con: duckdb.DuckDBPyConnection, model_id: str) -> dict[str, str | int]:
    query = "SELECT count(*), count(DISTINCT prompt_id) FROM raw.model_outputs WHERE model_id = ?"
    answers, instructions = con.execute(query, [model_id]).fetchone() or (0, 0)
    return {"model_id": model_id, "dagster/row_count": answers, "instructions_answered": instructions}


def _rejections(con: duckdb.DuckDBPyConnection) -> dict[str, dg.MetadataValue]:
    by_reason = con.execute(
        "SELECT reason, count(*) AS rows, count(DISTINCT file_path) AS files FROM raw.rejected_rows "
        "GROUP BY reason ORDER BY rows DESC"
    ).pl()
    return {"rejected_by_reason": rows_table(by_reason)}
