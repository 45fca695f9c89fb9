"""Component types for `defs.yaml` files; `dg list components` lists them."""

from pollux_dagster.components.sql_models import SqlModelsComponent

__all__ = ["SqlModelsComponent"]
