"""The SQL models of pollux_dagster as package data: `<schema>/<table>.sql`. There is no code here."""
