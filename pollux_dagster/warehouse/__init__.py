"""The DuckDB side: schema, SQL models, lineage, publication. Knows nothing of Dagster (its resource aside)."""
