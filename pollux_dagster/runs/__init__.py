"""Dagster's runs in a home: its instance, who owns it, one run at a time, which runs live, what is kept of them."""
