"""What Dagster loads. Everything is put together in `defs.build`."""

from pollux_dagster.defs.build import build_defs
from pollux_dagster.defs.instance_owner import claim_configured_instance
from pollux_dagster.defs.settings import Settings

defs = build_defs(settings := Settings.from_environment())
claim_configured_instance(settings)  # a second home on one instance shows in the UI as a location that did not load
