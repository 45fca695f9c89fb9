"""Dagster definitions: assets, checks, partitions, automation, resources."""

import warnings

from dagster import BetaWarning

# Single-run backfills are marked beta and warn once per asset; the version is pinned and a test covers them.
warnings.filterwarnings("ignore", category=BetaWarning, message=r".*backfill_policy.*")
