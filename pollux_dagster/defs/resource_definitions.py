"""Resources as Dagster gets them, without any configuration in a run's config.

Their values come from the settings of the process that loads the definitions: a person who may launch a run must not be
able to name a program, an address or a path.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from pollux_dagster.warehouse.duckdb_resource import WarehouseResource


def fixed(value: object) -> dg.ResourceDefinition:
    """`value` as a resource that no run config can change: its config schema is an empty object.

    A `ConfigurableResource` would offer each of its fields in the config of every run, and a plain value would accept
    any config and ignore it; here validation refuses a run that names a field. The warehouse stays open for the whole
    run.
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
    """Replaces Dagster's default, which pickles values into a folder that run config may name."""
    return _NoValues()


class _NoValues(dg.IOManager):
    """Assets keep their results in the warehouse and the ledger, and return no values."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        if obj is not None:
            raise TypeError(f"{context.asset_key.to_user_string()} returned a {type(obj).__name__}, expected None")

    def load_input(self, context: dg.InputContext) -> object:
        raise TypeError("an asset requested another asset's value: expected it to read the warehouse")
