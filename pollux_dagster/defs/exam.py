"""The judge's exam as an asset and a job of its own. No other job takes it: it costs requests and says nothing about
the models.
"""

from collections.abc import Iterator

import dagster as dg

from pollux_dagster.app.resources import JudgeResource, LedgerResource
from pollux_dagster.defs.metadata import row_count, rows_table
from pollux_dagster.warehouse.duckdb_resource import WarehouseResource


@dg.multi_asset(
    name="take_exam",
    specs=[
        dg.AssetSpec(
            ["judging", table], description=description, group_name="exam", kinds={"vllm", "parquet", "duckdb"}
        )
        for table, description in {
            "exam_rounds": "The states of each judge in which it took the exam.",
            "exam_results": "How far each probe of the exam moved the scores; marts.judge_exam describes the columns.",
        }.items()
    ],
)
def judge_exam(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, judge: JudgeResource, ledger: LedgerResource
) -> Iterator[dg.MaterializeResult[None]]:
    """Ask the judge the fixed questions with every probe, except what this state of it was asked already."""
    from pollux_dagster.app.exam import take_exam

    taken = take_exam(warehouse, judge, ledger, context.run.run_id, context.log.info)
    about: dict[str, dg.MetadataValue | str | int] = {
        "judge": taken.judge_name,
        "asked": taken.asked,
        "flagged": rows_table(taken.flagged),
    }
    with warehouse.get_connection() as con:
        for table, metadata in (("exam_rounds", {}), ("exam_results", about)):
            yield dg.MaterializeResult(
                asset_key=["judging", table], metadata={**row_count(con, "judging", table), **metadata}
            )


exam_job = dg.define_asset_job(
    "exam",
    selection=dg.AssetSelection.groups("exam") | dg.AssetSelection.assets(["marts", "judge_exam"]),
    description="Asks the judge the exam and warns of every probe that moves its scores. Nothing else starts it.",
)
