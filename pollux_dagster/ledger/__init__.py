"""Permanent storage of verdicts: the writers' journals, sealed into Parquet segments. Independent of any judge."""
