"""Where things are and which judge to use, read once from the environment.

`pollux` writes these variables for the processes it starts; a deployment sets them itself. Nothing else in the
project reads `POLLUX_*`, so this page is the whole list.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from pollux_dagster import demo
from pollux_dagster.core.profiles import PROFILES
from pollux_dagster.core.statistics import Aggregation
from pollux_dagster.ui.access import Access, decide_access

PACKAGE = Path(__file__).resolve().parent.parent
PACKAGE_TAXONOMY = PACKAGE / "taxonomy"
SQL_MODELS = PACKAGE.parent / "dbt_like_sql"
API_KEY_VARIABLE = "POLLUX_JUDGE_API_KEY"
MANAGED_ENGINES = ("vllm", "sglang", "transformers")


@dataclass(frozen=True, slots=True)
class Settings:
    """One evaluation: its landing folder, its home, its judge.

    `home` holds everything the project writes: warehouse, ledger, publication, server state, Dagster's own storage.
    `judge_url` empty means a managed server; `api_key_variable` names the environment variable that holds the key
    of an attached one, `api_key_file` a file that does and that goes first (the key itself is never configuration).
    `ui_*` say by which names the UI is reached and which proxy logs people in (`ui.access`).
    """

    home: Path
    landing: Path
    profile: str
    judge_url: str
    api_key_variable: str
    api_key_file: str
    judge_model: str
    judge_revision: str
    judge_arguments: tuple[str, ...]
    judge_engine: str
    judge_python: str
    minimum_coverage: float
    repeats: int
    human_aggregation: Aggregation
    ui_hosts: tuple[str, ...]
    ui_user_header: str
    ui_proxies: tuple[str, ...]

    @property
    def warehouse(self) -> Path:
        return self.home / "warehouse.duckdb"

    @property
    def ledger(self) -> Path:
        return self.home / "ledger"

    @property
    def published(self) -> Path:
        return self.home / "published" / "pollux.duckdb"

    @property
    def servers(self) -> Path:
        return self.home / "servers"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    def ui_access(self, host: str, port: int) -> Access:
        """Who may use a UI that listens there; raises AccessError where that would be anybody."""
        return decide_access(host, port, names=self.ui_hosts, user_header=self.ui_user_header, proxies=self.ui_proxies)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read `POLLUX_*`.

        Raises:
            ValueError: a value is not usable; the message names the variable, what was expected and what came.
        """
        profile = environment.get("POLLUX_PROFILE", "pollux-4b")
        if profile not in PROFILES:
            raise ValueError(f"POLLUX_PROFILE: expected one of {', '.join(sorted(PROFILES))}, got {profile!r}")
        coverage = _number(environment, "POLLUX_MINIMUM_COVERAGE", str(PROFILES[profile].minimum_coverage))
        if not 0 <= coverage <= 1:
            raise ValueError(f"POLLUX_MINIMUM_COVERAGE: expected a share between 0 and 1, got {coverage}")
        repeats = int(_number(environment, "POLLUX_REPEATS", "1"))
        if repeats < 1:
            raise ValueError(f"POLLUX_REPEATS: expected a whole number of at least 1, got {repeats}")
        engine = environment.get("POLLUX_JUDGE_ENGINE", MANAGED_ENGINES[0])
        if engine not in MANAGED_ENGINES:
            raise ValueError(f"POLLUX_JUDGE_ENGINE: expected one of {', '.join(MANAGED_ENGINES)}, got {engine!r}")
        aggregation = environment.get("POLLUX_HUMAN_AGGREGATION", "mean")
        if aggregation not in get_args(Aggregation):
            allowed = ", ".join(get_args(Aggregation))
            raise ValueError(f"POLLUX_HUMAN_AGGREGATION: expected one of {allowed}, got {aggregation!r}")
        return cls(
            home=Path(environment.get("POLLUX_HOME", ".pollux")).absolute(),
            landing=Path(environment.get("POLLUX_LANDING", "landing")).absolute(),
            profile=profile,
            judge_url=environment.get("POLLUX_JUDGE_URL", ""),
            api_key_variable=environment.get("POLLUX_JUDGE_API_KEY_VARIABLE", API_KEY_VARIABLE),
            api_key_file=environment.get("POLLUX_JUDGE_API_KEY_FILE", ""),
            judge_model=environment.get("POLLUX_JUDGE_MODEL", ""),
            judge_revision=environment.get("POLLUX_JUDGE_REVISION", ""),
            judge_arguments=tuple(shlex.split(environment.get("POLLUX_JUDGE_ARGUMENTS", ""))),
            judge_engine=engine,
            judge_python=environment.get("POLLUX_JUDGE_PYTHON") or sys.executable,
            minimum_coverage=coverage,
            repeats=repeats,
            human_aggregation=cast(Aggregation, aggregation),
            ui_hosts=tuple(environment.get("POLLUX_UI_HOSTS", "").replace(",", " ").split()),
            ui_user_header=environment.get("POLLUX_UI_USER_HEADER", ""),
            ui_proxies=tuple(environment.get("POLLUX_UI_PROXIES", "").replace(",", " ").split()),
        )

    def to_environment(self) -> dict[str, str]:
        """The same settings as variables, for a process that loads the definitions itself."""
        return {
            "POLLUX_HOME": str(self.home),
            "POLLUX_LANDING": str(self.landing),
            "POLLUX_PROFILE": self.profile,
            "POLLUX_JUDGE_URL": self.judge_url,
            "POLLUX_JUDGE_API_KEY_VARIABLE": self.api_key_variable,
            "POLLUX_JUDGE_API_KEY_FILE": self.api_key_file,
            "POLLUX_JUDGE_MODEL": self.judge_model,
            "POLLUX_JUDGE_REVISION": self.judge_revision,
            "POLLUX_JUDGE_ARGUMENTS": shlex.join(self.judge_arguments),
            "POLLUX_JUDGE_ENGINE": self.judge_engine,
            "POLLUX_JUDGE_PYTHON": self.judge_python,
            "POLLUX_MINIMUM_COVERAGE": str(self.minimum_coverage),
            "POLLUX_REPEATS": str(self.repeats),
            "POLLUX_HUMAN_AGGREGATION": self.human_aggregation,
            "POLLUX_UI_HOSTS": " ".join(self.ui_hosts),
            "POLLUX_UI_USER_HEADER": self.ui_user_header,
            "POLLUX_UI_PROXIES": " ".join(self.ui_proxies),
        }


def demo_environment(home: Path) -> dict[str, str]:
    """The packaged answers and the packaged demonstration judge."""
    return {"POLLUX_HOME": str(home), "POLLUX_LANDING": str(demo.LANDING), "POLLUX_PROFILE": "demo"}


def _number(environment: Mapping[str, str], variable: str, default: str) -> float:
    text = environment.get(variable, default)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{variable}: expected a number, got {text!r}") from None
