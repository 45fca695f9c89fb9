"""The code location that Dagster loads: `dagster … -m pollux_dagster.definitions`."""

import dagster as dg

from pollux_dagster.defs.build import build_defs
from pollux_dagster.runs.instance import keep_files_private
from pollux_dagster.runs.instance_owner import claim_configured_instance
from pollux_dagster.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """The code location of the home that the environment names.

    Raises:
        ForeignInstanceError: the Dagster instance belongs to another home. The UI shows this as a location that failed
        to load.
    """
    settings = Settings.from_environment()
    keep_files_private()
    claim_configured_instance(settings)
    return build_defs(settings)
