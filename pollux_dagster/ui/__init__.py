"""Access control for the Dagster UI, and the processes behind it. Only `webserver` imports Dagster."""
