"""Options that several commands have, and the settings that come of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pollux_dagster.cli.terminal import fail

if TYPE_CHECKING:
    from pollux_dagster.settings import Settings

DEMO_HOME = Path(".pollux/demo")

Landing = Annotated[
    Path | None,
    typer.Option(help="Folder of answers and instructions, or one such file [default: $POLLUX_LANDING or landing]"),
]
Home = Annotated[Path | None, typer.Option(help="Where results are kept [default: $POLLUX_HOME or .pollux]")]
Profile = Annotated[str | None, typer.Option(help="Judge profile [default: $POLLUX_PROFILE or pollux-4b]")]
JudgeUrl = Annotated[
    list[str] | None,
    typer.Option(help="Attach to this OpenAI-compatible URL instead of a managed server; may be repeated"),
]
JudgeModel = Annotated[
    str | None,
    typer.Option(help="The judge's model, as it is recorded [default: $POLLUX_JUDGE_MODEL or the profile's]"),
]
JudgeName = Annotated[
    str | None, typer.Option("--judge", help="Only this judge of the publication: its name, profile, model or id")
]
AnswersShown = Annotated[int, typer.Option("--answers", min=1, help="How many answers to show")]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON")]
AcceptServedModel = Annotated[
    bool,
    typer.Option("--accept-served-model", help="Record the attached server's own name of its model, if it tells which"),
]


def settings_from(**given: str | Path | list[str] | None) -> Settings:
    """The environment's settings; options that were given override their variables."""
    from pollux_dagster.settings import Settings

    options = {
        name: " ".join(value) if isinstance(value, list) else str(value)
        for name, value in given.items()
        if value is not None and value != []
    }
    try:
        return Settings.from_environment({**os.environ, **options})
    except ValueError as error:
        # A profile is also an argument, or an option: where it was given as that, its variable is not at fault.
        fail(str(error).removeprefix("POLLUX_PROFILE: " if "POLLUX_PROFILE" in options else ""))


def settings_of_judge(accept_served_model: bool, **given: str | Path | list[str] | None) -> Settings:
    """`settings_from`; where `accept_served_model`, recording the attached server's own name of its model."""
    settings = settings_from(**given)
    say_which_profile(settings)
    if not (accept_served_model and settings.judge_url):
        return settings
    from pollux_dagster.app.resources import Resources
    from pollux_dagster.core.model_names import is_name_of
    from pollux_dagster.judge.server import ServerError

    judge = Resources.of(settings).judge
    try:
        served = judge.ask_served_model(lambda line: typer.echo(line, err=True))
    except ServerError as error:
        fail(str(error))
    if is_name_of(served, judge.judge_profile.model):
        return settings
    typer.echo(f"verdicts are recorded as those of {served!r}", err=True)
    return settings_from(**{**given, "POLLUX_JUDGE_MODEL": served})


def say_which_profile(settings: Settings) -> None:
    if replacing := settings.replacing_profile:
        typer.echo(f"profile {settings.profile} is {replacing}, not the packaged one", err=True)
