"""Dagster wiring: assets, checks, partitions, automation, resources."""

import warnings

from dagster import BetaWarning

# Single-run backfills are marked beta and warn once an asset; the version is pinned and a test covers them.
warnings.filterwarnings("ignore", category=BetaWarning, message=r".*backfill_policy.*")
