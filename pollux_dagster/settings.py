"""The settings: where things are and which judge to use, read once from the environment.

`pollux` sets these variables for the processes it starts; a deployment sets them itself. Nothing else in the project
reads `POLLUX_*`, so this module is the complete list.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, cast, get_args
from zoneinfo import available_timezones

from pollux_dagster import demo
from pollux_dagster.core.profile_files import ProfileError, find_profile, own_profiles, packaged_profiles
from pollux_dagster.core.profiles import JudgeProfile
from pollux_dagster.core.statistics import Aggregation, Proxy
from pollux_dagster.publication_access import QueryLimits, bytes_of
from pollux_dagster.warehouse.contracts import MAXIMUM_REJECTED_SHARE

PACKAGE_TAXONOMY = Path(__file__).resolve().parent / "taxonomy"
API_KEY_VARIABLE = "POLLUX_JUDGE_API_KEY"
MANAGED_ENGINES = ("vllm", "sglang", "transformers", "llama-server", "command")
_OWNER = re.compile(r"team:[A-Za-z0-9_.-]+|[^@\s]+@[^@\s]+\.[^@\s]+")  # what Dagster accepts as an owner
_PLACE = re.compile(r"\{([A-Za-z_]\w*)\}")
FailingModels = Literal["hold", "leave_out"]
"""What happens when a model has too few usable verdicts: publication is held back, or made without that model."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a home keeps its past: finished runs for `days` and at most the newest `runs` of them, and for
    `tick_hours` the ticks at which a sensor had nothing to do.
    """

    days: int = 30
    runs: int = 500
    tick_hours: int = 6

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Retention:
        """Read `POLLUX_KEEP_*`; raises ValueError as `Settings.from_environment` does."""
        least = {"POLLUX_KEEP_DAYS": 1, "POLLUX_KEEP_RUNS": 20, "POLLUX_KEEP_TICK_HOURS": 1}
        given = [_number(environment, name, str(default)) for name, default in zip(least, astuple(cls()), strict=True)]
        for (name, minimum), number in zip(least.items(), given, strict=True):
            if number < minimum or not number.is_integer():
                raise ValueError(f"{name}: expected a whole number of at least {minimum}, got {number:g}")
        return cls(*map(int, given))

    def to_environment(self) -> dict[str, str]:
        return {
            "POLLUX_KEEP_DAYS": str(self.days),
            "POLLUX_KEEP_RUNS": str(self.runs),
            "POLLUX_KEEP_TICK_HOURS": str(self.tick_hours),
        }


@dataclass(frozen=True, slots=True)
class Settings:
    """One evaluation: its landing folder, its home, its judge.

    `home` holds everything the project writes: warehouse, ledger, publication, server state, Dagster's own storage.
    `judge_url` empty means a managed server; `api_key_variable` names the environment variable with the key of an
    attached one, `api_key_file` a file with it, which takes precedence (the key itself is never configuration).
    `judge_model` names the judge in tables, `judge_served_model` is what an attached server calls it; `judge_context`
    is that server's context in tokens where it does not tell (0: the profile's). `profile` is a name or a file's path.
    `ui_*` are the names under which the UI is reached and the proxy that authenticates its users (`ui.access`).
    """

    home: Path
    landing: Path
    profile: str
    judge_url: str
    api_key_variable: str
    judge_proxy: str
    judge_ca_file: str
    api_key_file: str
    judge_model: str
    judge_served_model: str
    judge_context: int
    judge_revision: str
    judge_arguments: tuple[str, ...]
    judge_engine: str
    judge_command: tuple[str, ...]
    judge_python: str
    minimum_coverage: float
    maximum_rejected_share: float
    trust_file_times: bool
    judge_reasoning: bool
    repeats: int
    human_aggregation: Aggregation
    calibration_proxy: Proxy
    query_limits: QueryLimits
    retention: Retention
    ui_hosts: tuple[str, ...]
    ui_user_header: str
    ui_proxies: tuple[str, ...]
    failing_models: FailingModels
    nightly_cron: str
    time_zone: str
    owners: tuple[str, ...]
    fresh_within: timedelta | None

    @property
    def judge_weights(self) -> str:
        """The judge's weights, possibly a local folder: the configured model, else the profile's own; '' if none."""
        return self.judge_model or str(self.judge_profile.weights or "")

    @property
    def judge_profile(self) -> JudgeProfile:
        """The profile, as its file states it."""
        return find_profile(self.profile, self.home)

    @property
    def replacing_profile(self) -> Path | None:
        """The home's file that is used instead of the packaged profile of the same name; None where there is none."""
        named = (path for path in own_profiles(self.home) if path.stem == self.profile)
        return next(named, None) if self.profile in packaged_profiles() else None

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

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read `POLLUX_*`.

        Raises:
            ValueError: a value is invalid; the message names the variable, the expected value and the one found.
        """
        home = Path(environment.get("POLLUX_HOME", ".pollux")).absolute()
        profile = environment.get("POLLUX_PROFILE", "pollux-4b")
        if profile.endswith(".toml"):
            profile = str(Path(profile).absolute())
        try:
            coverage = find_profile(profile, home).minimum_coverage
        except ProfileError as error:
            raise ValueError(f"POLLUX_PROFILE: {error}") from None
        coverage = _share(environment, "POLLUX_MINIMUM_COVERAGE", coverage)
        context = _number(environment, "POLLUX_JUDGE_CONTEXT", "0")
        if context < 0 or not context.is_integer():
            raise ValueError(f"POLLUX_JUDGE_CONTEXT: expected tokens, a whole number, got {context:g}")
        repeats = int(_number(environment, "POLLUX_REPEATS", "1"))
        if repeats < 1:
            raise ValueError(f"POLLUX_REPEATS: expected a whole number of at least 1, got {repeats}")
        engine = environment.get("POLLUX_JUDGE_ENGINE", MANAGED_ENGINES[0])
        if engine not in MANAGED_ENGINES:
            raise ValueError(f"POLLUX_JUDGE_ENGINE: expected one of {', '.join(MANAGED_ENGINES)}, got {engine!r}")
        command = tuple(shlex.split(environment.get("POLLUX_JUDGE_COMMAND", "")))
        if bool(command) != (engine == "command"):
            raise ValueError(
                "POLLUX_JUDGE_COMMAND: expected a server's command, with {model}, {host} and {port} in it, together "
                f"with POLLUX_JUDGE_ENGINE=command and no other engine; got {shlex.join(command)!r} and {engine!r}"
            )
        _check_places(command)
        aggregation = environment.get("POLLUX_HUMAN_AGGREGATION", "mean")
        if aggregation not in get_args(Aggregation):
            allowed = ", ".join(get_args(Aggregation))
            raise ValueError(f"POLLUX_HUMAN_AGGREGATION: expected one of {allowed}, got {aggregation!r}")
        proxy = environment.get("POLLUX_CALIBRATION_PROXY", "number")
        if proxy not in get_args(Proxy):
            raise ValueError(f"POLLUX_CALIBRATION_PROXY: expected one of {', '.join(get_args(Proxy))}, got {proxy!r}")
        failing_models = environment.get("POLLUX_FAILING_MODELS", "hold")
        if failing_models not in get_args(FailingModels):
            raise ValueError(
                f"POLLUX_FAILING_MODELS: expected {' or '.join(get_args(FailingModels))}, got {failing_models!r}"
            )
        nightly_cron = environment.get("POLLUX_NIGHTLY_CRON", "0 2 * * *")
        if len(nightly_cron.split()) != 5:
            raise ValueError(f"POLLUX_NIGHTLY_CRON: expected five cron fields like '0 2 * * *', got {nightly_cron!r}")
        time_zone = environment.get("POLLUX_TIME_ZONE", "Europe/Moscow")
        if time_zone not in available_timezones():
            raise ValueError(f"POLLUX_TIME_ZONE: expected a name like Europe/Moscow, got {time_zone!r}")
        owners = tuple(environment.get("POLLUX_OWNERS", "team:evaluation").replace(",", " ").split())
        if wrong := [owner for owner in owners if not _OWNER.fullmatch(owner)]:
            raise ValueError(f"POLLUX_OWNERS: expected e-mail addresses or team:<name>, got {wrong[0]!r}")
        hours = _number(environment, "POLLUX_FRESH_WITHIN_HOURS", "0")
        if not 0 <= hours <= 8_784:
            raise ValueError(f"POLLUX_FRESH_WITHIN_HOURS: expected hours, at most a year of them, got {hours:g}")
        seconds = _number(environment, "POLLUX_QUERY_SECONDS", "60")
        if not 0 < seconds <= 86_400:
            raise ValueError(f"POLLUX_QUERY_SECONDS: expected seconds, at most a day of them, got {seconds:g}")
        memory = environment.get("POLLUX_QUERY_MEMORY", "2GB")
        try:
            bytes_of(memory)
        except ValueError as error:
            raise ValueError(f"POLLUX_QUERY_MEMORY: {error}") from None
        landing = Path(environment.get("POLLUX_LANDING", "landing")).absolute()
        _check_apart(home, landing)
        url = environment.get("POLLUX_JUDGE_URL", "")
        if url.partition("?")[0].rstrip("/").endswith("/chat/completions"):
            raise ValueError(
                "POLLUX_JUDGE_URL: expected a server's address up to /v1, to which /chat/completions is added; got one "
                "that ends in it already: leave it out"
            )
        return cls(
            failing_models=cast(FailingModels, failing_models),
            nightly_cron=nightly_cron,
            time_zone=time_zone,
            owners=owners,
            fresh_within=timedelta(hours=hours) if hours else None,
            home=home,
            landing=landing,
            profile=profile,
            judge_url=url,
            api_key_variable=environment.get("POLLUX_JUDGE_API_KEY_VARIABLE", API_KEY_VARIABLE),
            judge_proxy=environment.get("POLLUX_JUDGE_PROXY", ""),
            judge_ca_file=environment.get("POLLUX_JUDGE_CA_FILE", ""),
            api_key_file=environment.get("POLLUX_JUDGE_API_KEY_FILE", ""),
            judge_model=environment.get("POLLUX_JUDGE_MODEL", ""),
            judge_served_model=environment.get("POLLUX_JUDGE_SERVED_MODEL", ""),
            judge_context=int(context),
            judge_revision=environment.get("POLLUX_JUDGE_REVISION", ""),
            judge_arguments=tuple(shlex.split(environment.get("POLLUX_JUDGE_ARGUMENTS", ""))),
            judge_engine=engine,
            judge_command=command,
            judge_python=environment.get("POLLUX_JUDGE_PYTHON") or sys.executable,
            minimum_coverage=coverage,
            maximum_rejected_share=_share(environment, "POLLUX_MAXIMUM_REJECTED_SHARE", MAXIMUM_REJECTED_SHARE),
            trust_file_times=_is_true(environment, "POLLUX_TRUST_FILE_TIMES", "true"),
            judge_reasoning=_is_true(environment, "POLLUX_JUDGE_REASONING", "false"),
            repeats=repeats,
            human_aggregation=cast(Aggregation, aggregation),
            calibration_proxy=cast(Proxy, proxy),
            query_limits=QueryLimits(seconds, memory),
            retention=Retention.from_environment(environment),
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
            "POLLUX_JUDGE_PROXY": self.judge_proxy,
            "POLLUX_JUDGE_CA_FILE": self.judge_ca_file,
            "POLLUX_JUDGE_API_KEY_FILE": self.api_key_file,
            "POLLUX_JUDGE_MODEL": self.judge_model,
            "POLLUX_JUDGE_SERVED_MODEL": self.judge_served_model,
            "POLLUX_JUDGE_CONTEXT": str(self.judge_context),
            "POLLUX_JUDGE_REVISION": self.judge_revision,
            "POLLUX_JUDGE_ARGUMENTS": shlex.join(self.judge_arguments),
            "POLLUX_JUDGE_ENGINE": self.judge_engine,
            "POLLUX_JUDGE_COMMAND": shlex.join(self.judge_command),
            "POLLUX_JUDGE_PYTHON": self.judge_python,
            "POLLUX_MINIMUM_COVERAGE": str(self.minimum_coverage),
            "POLLUX_MAXIMUM_REJECTED_SHARE": str(self.maximum_rejected_share),
            "POLLUX_TRUST_FILE_TIMES": str(self.trust_file_times).lower(),
            "POLLUX_JUDGE_REASONING": str(self.judge_reasoning).lower(),
            "POLLUX_REPEATS": str(self.repeats),
            "POLLUX_HUMAN_AGGREGATION": self.human_aggregation,
            "POLLUX_CALIBRATION_PROXY": self.calibration_proxy,
            "POLLUX_FAILING_MODELS": self.failing_models,
            "POLLUX_NIGHTLY_CRON": self.nightly_cron,
            "POLLUX_TIME_ZONE": self.time_zone,
            "POLLUX_OWNERS": " ".join(self.owners),
            "POLLUX_FRESH_WITHIN_HOURS": str(self.fresh_within / timedelta(hours=1) if self.fresh_within else 0),
            "POLLUX_QUERY_SECONDS": str(self.query_limits.seconds),
            "POLLUX_QUERY_MEMORY": self.query_limits.memory,
            **self.retention.to_environment(),
            "POLLUX_UI_HOSTS": " ".join(self.ui_hosts),
            "POLLUX_UI_USER_HEADER": self.ui_user_header,
            "POLLUX_UI_PROXIES": " ".join(self.ui_proxies),
        }


def demo_environment(home: Path) -> dict[str, str]:
    """The variables of the demonstration: its judge and, as the landing folder, a copy of the packaged answers beside
    `home`.
    """
    landing = home.with_name(f"{home.name}-landing")
    earlier = home / "landing"
    if earlier.is_dir() and not landing.exists():
        earlier.rename(landing)
    return {"POLLUX_HOME": str(home), "POLLUX_LANDING": str(demo.unpack(landing)), "POLLUX_PROFILE": "demo"}


def _check_apart(home: Path, landing: Path) -> None:
    """Raise ValueError where one of the two folders would be read, or written, as part of the other.

    Reading the warehouse as a landing file would also drop DuckDB's lock on it: POSIX gives up all of a process's locks
    on a file when any descriptor of it is closed. Hidden folders are not read, so a home may be one.
    """
    real_home, real_landing = home.resolve(), landing.resolve()
    if real_home.is_relative_to(real_landing):
        if any(part.startswith(".") for part in real_home.relative_to(real_landing).parts):
            return
        where = "the home lies inside the landing folder, whose files are read as answers"
    elif real_landing.is_relative_to(real_home):
        where = "the landing folder lies inside the home, whose files are the project's own"
    else:
        return
    raise ValueError(
        f"POLLUX_HOME: expected a folder apart from POLLUX_LANDING, got {home} and {landing}: {where}; "
        "set --home or --landing to another folder"
    )


def _check_places(command: tuple[str, ...]) -> None:
    """Raise ValueError for a command without {port}, or with a word in braces that nothing is filled in for."""
    named = {place for word in command for place in _PLACE.findall(word)}
    if command and "port" not in named:
        raise ValueError(
            "POLLUX_JUDGE_COMMAND: expected {port} in it, the port that is chosen for each start and on which the "
            f"server must listen; got {shlex.join(command)!r}"
        )
    if unknown := sorted(named - {"model", "host", "port"}):
        raise ValueError(
            "POLLUX_JUDGE_COMMAND: expected no words in braces but {model}, {host} and {port}; got "
            + ", ".join(f"{{{name}}}" for name in unknown)
        )


def _is_true(environment: Mapping[str, str], variable: str, default: str) -> bool:
    text = environment.get(variable, default)
    if text not in ("true", "false"):
        raise ValueError(f"{variable}: expected true or false, got {text!r}")
    return text == "true"


def _share(environment: Mapping[str, str], variable: str, default: float) -> float:
    share = _number(environment, variable, str(default))
    if not 0 <= share <= 1:
        raise ValueError(f"{variable}: expected a share between 0 and 1, got {share}")
    return share


def _number(environment: Mapping[str, str], variable: str, default: str) -> float:
    text = environment.get(variable, default)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{variable}: expected a number, got {text!r}") from None
