"""The judge at work: managed server, client, verdict ledger. Knows nothing of Dagster."""
