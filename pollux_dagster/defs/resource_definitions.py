"""Resources as Dagster gets them: no part of a run's config.

Their values come from the settings of the process that loads the definitions: whoever may launch a run may not name a
program, an address or a path.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from pollux_dagster.warehouse.duckdb_resource import WarehouseResource


def fixed(value: object) -> dg.ResourceDefinition:
    """`value` as a resource that no run config can change: its config schema is an empty object.

    A `ConfigurableResource` offers each of its fields in the config of every run, and a plain value takes any config
    and ignores it; here a run that names a field is refused by validation. The warehouse stays open for the run.
    """
    if isinstance(value, WarehouseResource):
        warehouse = value

        def kept_open(_: dg.InitResourceContext) -> Iterator[object]:
            with warehouse.kept_open():
                yield warehouse

        return dg.ResourceDefinition(kept_open, config_schema={}, description=type(value).__doc__)
    return dg.ResourceDefinition(lambda _: value, config_schema={}, description=type(value).__doc__)


@dg.io_manager(config_schema={})
def no_io_manager(_: dg.InitResourceContext) -> dg.IOManager:
    """In place of Dagster's default, which pickles values into a folder that run config may name."""
    return _NoValues()


class _NoValues(dg.IOManager):
    """Assets keep what they make in the warehouse and the ledger and return no values."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        if obj is not None:
            raise TypeError(f"{context.asset_key.to_user_string()} returned a {type(obj).__name__}, expected None")

    def load_input(self, context: dg.InputContext) -> object:
        raise TypeError("an asset asked for another one's value: expected it to read the warehouse")
