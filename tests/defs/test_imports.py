"""What loading the definitions imports: the web UI, the daemon and every command that runs something wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pollux_dagster.settings import Settings

LATER = {
    "great_expectations": "when a contract is checked",
    "matplotlib": "when the leaderboard is drawn",
    "openai": "when something is judged",
    "pandas": "when a contract is checked",
    "scipy": "when statistics are computed",
    "statsmodels": "when statistics are computed",
    "vllm": "in a process of its own",
}
ROOT = Path(__file__).parents[2]


def test_the_definitions_load_without_what_only_a_step_needs(world: Settings) -> None:
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pollux_dagster.definitions import defs; defs().get_repository_def()\n"
            "print(*sorted({name.split('.')[0] for name in sys.modules}))",
        ],
        env={**os.environ, **world.to_environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "dagster" in loaded
    early = {name: when for name, when in LATER.items() if name in loaded}
    assert not early, f"loading the definitions imports {early}: import it in the function that uses it"
