"""One dynamic partition per LLM under test. Keys are derived from model ids, which may be any text in a file."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
import duckdb

from pollux_dagster.app.landed import landed_model_ids
from pollux_dagster.core.model_ids import MODEL_PARTITIONS, model_partition_key

model_partitions = dg.DynamicPartitionsDefinition(name=MODEL_PARTITIONS)

# Several partitions in one run share one server start and one pass of SQL.
one_run = dg.BackfillPolicy.single_run()


def selected_partitions(context: dg.AssetExecutionContext) -> list[str]:
    """The partitions this run was launched for; empty where it covers every model that has something new."""
    return list(context.partition_keys) if context.has_partition_key or context.has_partition_key_range else []


def landed_models(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Partition key → model id, for every model that has an output in raw."""
    return {model_partition_key(model_id): model_id for model_id in landed_model_ids(con)}


def register_models(instance: dg.DagsterInstance, keys: Sequence[str]) -> list[str]:
    """Add the partitions that Dagster does not have yet; returns them."""
    known = set(instance.get_dynamic_partitions(MODEL_PARTITIONS))
    new = [key for key in keys if key not in known]
    if new:
        instance.add_dynamic_partitions(MODEL_PARTITIONS, new)
    return new
