"""The DuckDB side: schema, SQL models, lineage, publication. Independent of Dagster, except for its resource."""
