"""Managed server, client and evaluation loop of a judge. Independent of Dagster."""
