"""The settings: where things are and which judge to use, read once from the environment.

`pollux` sets these variables for the processes it starts; a deployment sets them itself. Nothing else in the project
reads `POLLUX_*`, so this module is the complete list, and the table in docs/run.md is made from it. Annotations say how
a setting is read, so they are not postponed here (`from __future__ import annotations`).
"""

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args
from urllib.parse import urlsplit
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
FailingModels = Literal["hold", "leave_out"]
"""What happens when a model has too few usable verdicts: publication is held back, or made without that model."""
_OWNER = re.compile(r"team:[A-Za-z0-9_.-]+|[^@\s]+@[^@\s]+\.[^@\s]+")  # what Dagster accepts as an owner
_ADDRESS = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")
_PLACE = re.compile(r"\{([A-Za-z_]\w*)\}")


class _As(NamedTuple):
    """How a value stands in a variable. `read` raises ValueError that says what was expected and what found."""

    read: Callable[[str], Any]
    write: Callable[[Any], str] = str


def _checked(is_allowed: Callable[[str], bool], expected: str) -> _As:
    def read(text: str) -> str:
        if not is_allowed(text):
            raise ValueError(f"expected {expected}, got {text!r}")
        return text

    return _As(read)


def _one_of(*choices: str) -> _As:
    return _checked(choices.__contains__, f"one of {', '.join(choices)}" if len(choices) > 2 else " or ".join(choices))


def _number(is_allowed: Callable[[float], bool], expected: str) -> _As:
    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"expected a number, got {text!r}") from None
        if not is_allowed(number):
            raise ValueError(f"expected {expected}, got {number:g}")
        return number

    return _As(read)


def _whole(least: int, what: str = "number") -> _As:
    number = _number(lambda given: given.is_integer() and given >= least, f"a whole {what} of at least {least}")
    return _As(lambda text: int(number.read(text)))


def _arguments(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"expected words as in a shell, got {text!r}: {error}") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _owners(text: str) -> tuple[str, ...]:
    if wrong := [owner for owner in _words(text) if not _OWNER.fullmatch(owner)]:
        raise ValueError(f"expected e-mail addresses or team:<name>, got {wrong[0]!r}")
    return _words(text)


def _server_addresses(text: str) -> str:
    urls = _words(text)
    # A password, or a key after the "?", would end up in a log; one with a comma or a space is cut into several words.
    is_quotable = "@" not in text and (len(urls) == 1 or "?" not in text)
    return " ".join(dict.fromkeys(_server_address(url, is_quotable) for url in urls))


def _server_address(url: str, is_quotable: bool) -> str:
    parts = urlsplit(url)
    if not (parts.scheme in ("http", "https") and parts.hostname):
        found = repr(url.partition("?")[0]) if is_quotable else "one with a user, password or query"
        raise ValueError(f"expected an address like http://host:port/v1, got {found}")
    if url.partition("?")[0].rstrip("/").endswith("/chat/completions"):
        raise ValueError(
            "expected a server's address up to /v1, to which /chat/completions is added; got one that ends in it "
            "already: leave it out"
        )
    return url


def _webhook(text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        return str(Path(text).absolute())
    return text


def _mail_server(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("smtp", "smtp+starttls", "smtps") or not parts.hostname or parts.password:
        raise ValueError(
            "expected smtp://host:port, smtp+starttls:// or smtps://, with a user before the host where it wants one "
            "and its password in the file of POLLUX_NOTIFY_SMTP_PASSWORD_FILE"
        )
    return text


def _mail_addresses(text: str) -> tuple[str, ...]:
    if wrong := [address for address in _words(text) if not _ADDRESS.fullmatch(address)]:
        raise ValueError(f"expected e-mail addresses, got {wrong[0]!r}")
    return _words(text)


def _memory(text: str) -> str:
    bytes_of(text)
    return text


def _hours(text: str) -> timedelta | None:
    return timedelta(hours=hours) if (hours := _AT_MOST_A_YEAR.read(text)) else None


_AT_MOST_A_YEAR = _number(lambda hours: 0 <= hours <= 8_784, "hours, at most a year of them")
_AT_MOST_A_DAY = _number(lambda seconds: 0 < seconds <= 86_400, "seconds, at most a day of them")
_TRUE_OR_FALSE = _one_of("true", "false")
_Text = Annotated[str, _As(str)]
_Folder = Annotated[Path, _As(lambda text: Path(text).absolute())]
_Flag = Annotated[bool, _As(lambda text: _TRUE_OR_FALSE.read(text) == "true", lambda flag: str(flag).lower())]
_Share = Annotated[float, _number(lambda share: 0 <= share <= 1, "a share between 0 and 1")]
_Words = Annotated[tuple[str, ...], _As(_words, " ".join)]
_Arguments = Annotated[tuple[str, ...], _As(_arguments, shlex.join)]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a home keeps its past: the settings whose variables begin with POLLUX_KEEP_."""

    days: Annotated[int, _whole(1), "POLLUX_KEEP_DAYS"] = 30
    """days after which finished runs, their logs, and remains of broken or unused parts
    [are deleted](operate.md#what-is-kept-and-for-how-long)"""
    runs: Annotated[int, _whole(20), "POLLUX_KEEP_RUNS"] = 500
    """at most this many finished runs are kept, at least 20"""
    tick_hours: Annotated[int, _whole(1), "POLLUX_KEEP_TICK_HOURS"] = 6
    """hours after which ticks at which a sensor had nothing to do are deleted"""


@dataclass(frozen=True, slots=True)
class Notify:
    """Who is told of failed runs: the settings whose variables begin with POLLUX_NOTIFY_."""

    webhook: Annotated[str, _As(_webhook), "POLLUX_NOTIFY_WEBHOOK"] = ""
    """address that a failed run is [posted to](operate.md#who-is-told) as JSON, or a file that holds it, where the
    address has a token in it"""
    command: Annotated[tuple[str, ...], _As(_arguments, shlex.join), "POLLUX_NOTIFY_COMMAND"] = ()
    """command that gets it on standard input, as in a shell"""
    mail: Annotated[tuple[str, ...], _As(_mail_addresses, " ".join), "POLLUX_NOTIFY_MAIL"] = ()
    """e-mail addresses that it is sent to, separated by spaces"""
    sender: Annotated[str, _As(str), "POLLUX_NOTIFY_MAIL_FROM"] = "pollux@localhost"
    """the address that those messages come from"""
    smtp: Annotated[str, _As(_mail_server), "POLLUX_NOTIFY_SMTP"] = "smtp://localhost:25"
    """the mail server: `smtp://host:port`, `smtp+starttls://user@host`, `smtps://user@host`"""
    smtp_password_file: Annotated[str, _As(str), "POLLUX_NOTIFY_SMTP_PASSWORD_FILE"] = ""
    """a file that holds that user's password"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One evaluation: its landing folder, its home, its judge. The key of an attached judge is never among them.

    A field is read from the variable POLLUX_ and its name, or from the one that its annotation names; the text below it
    is the documentation's. A default stands for an unset variable and is read as one, which makes a path absolute.
    """

    landing: _Folder = Path("landing")
    """the landing folder, or one file instead of it"""
    home: _Folder = Path(".pollux")
    """where everything is written"""
    profile: Annotated[str, _As(lambda text: str(Path(text).absolute()) if text.endswith(".toml") else text)] = (
        "pollux-4b"
    )
    """the judge's [profile](judges.md): a name, or the path of a TOML file"""
    judge_url: Annotated[str, _As(_server_addresses)] = ""
    """attach to this URL, or to [several](#several-servers), separated by commas or spaces; empty means managed"""
    api_key_variable: Annotated[_Text, "POLLUX_JUDGE_API_KEY_VARIABLE"] = API_KEY_VARIABLE
    """the variable that holds the key of an attached server"""
    judge_proxy: _Text = ""
    """proxy for an attached server, as `http://host:port`; empty means none, whatever `HTTPS_PROXY` and similar
    variables say"""
    judge_ca_file: _Text = ""
    """PEM file of the authority that signed an attached server's https certificate"""
    api_key_file: Annotated[_Text, "POLLUX_JUDGE_API_KEY_FILE"] = ""
    """a file that holds the key instead, and takes precedence; read when the judge is needed"""
    judge_model: _Text = ""
    """another hub id, checkpoint folder or GGUF file than the profile's; it is recorded, so it makes another judge"""
    judge_served_model: _Text = ""
    """what an attached server calls the judge, where that is not the recorded name"""
    judge_context: Annotated[int, _whole(0, "number of tokens")] = 0
    """context in tokens, prompt and reply together, of a server that does not tell; 0 means the profile's"""
    judge_revision: _Text = ""
    """another revision of hub weights than the profile's `main`"""
    judge_arguments: _Arguments = ()
    """further arguments of the managed server, as in a shell; they override ours"""
    judge_engine: Annotated[str, _one_of(*MANAGED_ENGINES)] = MANAGED_ENGINES[0]
    """engine of the managed server: `vllm`, `sglang`, `transformers`, `llama-server` or `command`"""
    judge_command: _Arguments = ()
    """with the engine `command`, how a server is started, as in a shell, with `{model}`, `{host}` and `{port}` in it"""
    judge_python: Annotated[str, _As(lambda text: text or sys.executable)] = ""
    """interpreter of the environment that has the engine"""
    minimum_coverage: _Share
    """share of a model's requests that need a verdict before anything is published"""
    failing_models: Annotated[FailingModels, _one_of(*get_args(FailingModels))] = "hold"
    """what happens when a model is below that share: `hold` keeps the last good publication, `leave_out` publishes the
    others"""
    nightly_cron: Annotated[str, _checked(lambda text: len(text.split()) == 5, "five cron fields like '0 2 * * *'")] = (
        "0 2 * * *"
    )
    """when the nightly evaluation starts, five cron fields"""
    time_zone: Annotated[str, _checked(lambda text: text in available_timezones(), "a name like Europe/Moscow")] = (
        "Europe/Moscow"
    )
    """the time zone those fields are in"""
    owners: Annotated[tuple[str, ...], _As(_owners, " ".join)] = ("team:evaluation",)
    """owners of the assets in the UI: `team:<name>` or e-mail addresses, separated by spaces"""
    fresh_within: Annotated[
        timedelta | None,
        _As(_hours, lambda within: str(within / timedelta(hours=1) if within else 0)),
        "POLLUX_FRESH_WITHIN_HOURS",
    ] = None
    """where not 0, Dagster marks the publication as stale when it was not renewed for that many hours; set
    `freshness: enabled: true` in the home's `dagster/dagster.yaml` with it"""
    maximum_rejected_share: _Share = MAXIMUM_REJECTED_SHARE
    """share of a file's rows, and of a model's answers, that may be rejected before publication is stopped"""
    judge_reasoning: _Flag = False
    """`true`: [reasoning](#reasoning) before an answer is judged as part of it"""
    trust_file_times: _Flag = True
    """`false`: every landing file is read at every scan, for file systems whose times or inodes cannot be trusted"""
    repeats: Annotated[int, _whole(1)] = 1
    """times each request is judged, to measure the judge's steadiness"""
    human_aggregation: Annotated[Aggregation, _one_of(*get_args(Aggregation))] = "mean"
    """how several annotators of one answer become one score: `mean`, `median` or `mode`"""
    calibration_proxy: Annotated[Proxy, _one_of(*get_args(Proxy))] = "number"
    """what of the judge calibration uses where [probabilities](#probabilities-of-the-levels) are there: `number`,
    `expectation` or `both`"""
    query_seconds: Annotated[float, _AT_MOST_A_DAY] = 60
    """time after which a command that reads the publication stops"""
    query_memory: Annotated[str, _As(_memory)] = "2GB"
    """memory that it may use; larger intermediate results go to a temporary folder"""
    ui_hosts: _Words = ()
    """further host names, `name` or `name:port`, of the [UI](operate.md#who-may-use-the-ui)"""
    ui_user_header: _Text = ""
    """the header in which a proxy names the authenticated user; then every request needs it"""
    ui_proxies: _Words = ()
    """addresses or networks of that proxy"""
    metrics_file: _Text = ""
    """where the [metrics](operate.md#metrics) are written; empty means `metrics/pollux.prom` in the home"""
    retention: Retention = field(default_factory=Retention)
    notify: Notify = field(default_factory=Notify)

    @property
    def metrics(self) -> Path:
        return Path(self.metrics_file).absolute() if self.metrics_file else self.home / "metrics" / "pollux.prom"

    @property
    def query_limits(self) -> QueryLimits:
        return QueryLimits(self.query_seconds, self.query_memory)

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
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read `POLLUX_*`.

        Raises:
            ValueError: a value is invalid; the message names the variable, the expected value and the one found.
        """
        given = _read(cls, environment)
        try:
            coverage = find_profile(given["profile"], given["home"]).minimum_coverage
        except ProfileError as error:
            raise ValueError(f"POLLUX_PROFILE: {error}") from None
        retention, notify = Retention(**_read(Retention, environment)), Notify(**_read(Notify, environment))
        settings = cls(**{"minimum_coverage": coverage, **given}, retention=retention, notify=notify)
        _check_apart(settings.home, settings.landing)
        _check_command(settings.judge_engine, settings.judge_command)
        return settings

    def to_environment(self) -> dict[str, str]:
        """The same settings as variables, for a process that loads the definitions itself."""
        return {**_write(self), **_write(self.retention), **_write(self.notify)}


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


def _check_command(engine: str, command: tuple[str, ...]) -> None:
    """Raise ValueError for a command that does not go with the engine, that has no {port}, or that has a word in braces
    that nothing is filled in for.
    """
    named = {place for word in command for place in _PLACE.findall(word)}
    if bool(command) != (engine == "command"):
        raise ValueError(
            "POLLUX_JUDGE_COMMAND: expected a server's command, with {model}, {host} and {port} in it, together "
            f"with POLLUX_JUDGE_ENGINE=command and no other engine; got {shlex.join(command)!r} and {engine!r}"
        )
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


def _variables(settings: type[Settings | Retention | Notify]) -> Iterator[tuple[str, str, _As, str | None]]:
    """(variable, field, how its value is written, the default as text or None) of every setting."""
    for each in fields(settings):
        if written := getattr(each.type, "__metadata__", ()):  # of Annotated
            form, *named = written
            default = None if each.default is MISSING else form.write(each.default)
            yield "".join(named) or f"POLLUX_{each.name.upper()}", each.name, form, default


def _read(settings: type[Settings | Retention | Notify], environment: Mapping[str, str]) -> dict[str, Any]:
    """The values of the fields whose variable is set or that have a default."""
    values = {}
    for variable, name, form, default in _variables(settings):
        try:
            if (text := environment.get(variable, default)) is not None:
                values[name] = form.read(text)
        except ValueError as error:
            raise ValueError(f"{variable}: {error}") from None
    return values


def _write(settings: Settings | Retention | Notify) -> dict[str, str]:
    return {variable: form.write(getattr(settings, name)) for variable, name, form, _ in _variables(type(settings))}
