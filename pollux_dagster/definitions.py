"""What Dagster loads. Everything is put together in `defs.build`."""

from pollux_dagster.defs.build import build_defs

defs = build_defs()
