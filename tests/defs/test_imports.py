"""What loading the definitions imports: the web UI, the daemon and every command that runs something wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pollux_dagster.settings import Settings
from pollux_dagster.warehouse.sql_models import packaged_sql_models, sql_models_of

ALLOWED = {
    *("pollux_dagster", "dbt_like_sql"),
    *("duckdb", "_duckdb", "dagster_duckdb"),
    *("jinja2", "markupsafe", "orjson", "prometheus_client", "regex", "tzdata"),
}
"""What loading the definitions may import beyond `import dagster`. All else is imported by the step that needs it."""
ROOT = Path(__file__).parents[2]


def test_the_definitions_load_without_what_only_a_step_needs(
    world: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A cache of this test's own: the user's is that of the checkout that wrote it last.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sql_models_of.cache_clear()
    packaged_sql_models()  # they are in the cache from here on
    more = subprocess.run(
        [
            sys.executable,
            "-c",
            "import dagster, sys; loaded = lambda: {name.split('.')[0] for name in sys.modules}; before = loaded()\n"
            "from pollux_dagster.definitions import defs; defs().get_repository_def()\n"
            "print(*sorted(loaded() - before - sys.stdlib_module_names))",
        ],
        env={**os.environ, **world.to_environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "duckdb" in more
    early = set(more) - ALLOWED
    assert not early, f"loading the definitions imports {early}: import it in the function that uses it"
