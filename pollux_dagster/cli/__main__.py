"""`python -m pollux_dagster.cli` is `pollux`."""

from pollux_dagster.cli import app

if __name__ == "__main__":
    app()
