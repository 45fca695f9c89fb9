"""Where verdicts are kept for good: journals of the writers, sealed into Parquet segments. Knows no judge."""
