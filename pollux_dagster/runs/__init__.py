"""The Dagster runs of a home: instance and owner, execution one at a time, orphaned runs, retention."""
