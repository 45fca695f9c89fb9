"""The notebook of `pollux explore`: a marimo file that answers the questions of docs/query.md on a publication."""
