"""The doors of the Dagster UI: who may ask its web server for what, and the processes behind it. No Dagster here."""
