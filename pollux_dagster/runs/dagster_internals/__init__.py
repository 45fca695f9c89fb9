"""All Dagster internals that this project uses, and what would make each unnecessary. No other module imports any.

Dagster's version is pinned because of these. `tests/runs/test_dagster_internals.py` fails when a public name appears
that can replace one. Issue numbers are those of github.com/dagster-io/dagster. One module for each kind of process,
because loading the definitions needs neither storage (SQLAlchemy, Alembic) nor gRPC.
"""
