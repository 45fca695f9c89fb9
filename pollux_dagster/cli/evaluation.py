"""The commands that evaluate a landing folder, or say beforehand what would come of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pollux_dagster.cli.options import (
    DEMO_HOME,
    AcceptServedModel,
    AsJson,
    Home,
    JudgeModel,
    JudgeUrl,
    Landing,
    Profile,
    settings_from,
    settings_of_judge,
)
from pollux_dagster.cli.terminal import console, fail, print_published

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_dagster.app.doctor import Examined
    from pollux_dagster.settings import Settings


def demo(home: Annotated[Path, typer.Option(help="Where the demo keeps its results")] = DEMO_HOME) -> None:
    """Judge the packaged answers with the packaged demonstration judge and print the tables."""
    from pollux_dagster.settings import demo_environment

    _evaluate(settings_from(**demo_environment(home.absolute())))


def run(
    landing: Landing = None,
    home: Home = None,
    profile: Profile = None,
    judge_url: JudgeUrl = None,
    judge_model: JudgeModel = None,
    accept_served_model: AcceptServedModel = False,
    force: Annotated[
        bool, typer.Option("--force", help="Build, check and publish everything even if nothing is new")
    ] = False,
) -> None:
    """Judge what is new in a landing folder, rebuild the tables, check and publish them."""
    given = {"POLLUX_LANDING": landing, "POLLUX_HOME": home, "POLLUX_PROFILE": profile, "POLLUX_JUDGE_URL": judge_url}
    if accept_served_model and not force and _is_without_news_as_served(settings_from(**given)):
        return
    _evaluate(settings_of_judge(accept_served_model, **given, POLLUX_JUDGE_MODEL=judge_model), force=force)


def rebuild(
    landing: Landing = None,
    home: Home = None,
) -> None:
    """Set the warehouse aside and rebuild it from landing folder and ledger; only missing verdicts are requested."""
    _evaluate(settings_from(POLLUX_LANDING=landing, POLLUX_HOME=home), rebuild=True)


def plan(
    landing: Landing = None,
    home: Home = None,
    profile: Profile = None,
    difference: Annotated[float, typer.Option(help="Difference of two mean scores to detect, in [0, 1]")] = 0.05,
    power: Annotated[float, typer.Option(help="Probability of detecting it")] = 0.8,
) -> None:
    """Estimate the cost of judging the landing folder and of telling two models apart, without asking the judge."""
    from pollux_dagster.app.plan import plan_landing, plan_lines
    from pollux_dagster.core.text import escaped
    from pollux_dagster.report import print_rows

    settings = settings_from(POLLUX_LANDING=landing, POLLUX_HOME=home, POLLUX_PROFILE=profile)
    _require_landing(settings.landing)
    planned = plan_landing(settings, difference=difference, power=power)
    _print_files(planned.files)
    columns = ("model", "requests", "already judged", "given up", "over-length", "to ask")
    rows = [(m.model_id, m.requests, m.judged, m.settled, m.over_length, m.pending) for m in planned.pending.models]
    print_rows(console, f"Pending for {planned.judge_name}", columns, rows)
    for line in plan_lines(planned):
        typer.echo(escaped(line))


def doctor(
    landing: Landing = None,
    as_json: AsJson = False,
    write: Annotated[bool, typer.Option("--write", help="Write the proposed landing.toml into the folder")] = False,
) -> None:
    """Say what each landing file was taken for and why rows are refused; propose a landing.toml for unknown files."""
    import json

    from pollux_dagster.app.doctor import examine_landing, write_proposal
    from pollux_dagster.core.text import escaped

    folder = settings_from(POLLUX_LANDING=landing).landing
    _require_landing(folder)
    found = examine_landing(folder)
    if as_json:
        typer.echo(json.dumps(found.as_json(), ensure_ascii=False, indent=1))
    else:
        _print_files(found.files)
        for path, why in found.ignored:
            typer.echo(escaped(f"not read: {path}: {why}"))
        for line in found.proposal.splitlines():
            typer.echo(escaped(line))
    if write and found.proposal:
        try:
            typer.echo(escaped(f"written: {write_proposal(folder, found.proposal)}"), err=True)
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}; add the entries to it yourself")


def _evaluate(settings: Settings, *, force: bool = False, rebuild: bool = False) -> None:
    from pollux_dagster.runs.interruption import no_interruption_lost

    _require_landing(settings.landing)
    try:
        with no_interruption_lost():
            _evaluate_what_is_new(settings, force=force, rebuild=rebuild)
    except KeyboardInterrupt:
        typer.echo("stopped: what was judged is kept, and the same command goes on from there", err=True)
        raise typer.Exit(130) from None


def _is_without_news_as_served(settings: Settings) -> bool:
    """Say that nothing is new where that is so if the server still serves what it served last; it is not asked."""
    from pollux_dagster.app.news import as_served_last

    _require_landing(settings.landing)
    served = as_served_last(settings)
    return served is not None and _is_without_news(served)


def _is_without_news(settings: Settings) -> bool:
    """Whether nothing is new; then the publication is printed."""
    from pollux_dagster.app.news import published_without_news, settled_sentences

    published_at = published_without_news(settings)
    if published_at is None:
        return False
    typer.echo(
        f"nothing is new since the publication of {published_at}, so nothing was done; --force builds, checks and "
        "publishes everything again"
    )
    for sentence in settled_sentences(settings):
        typer.echo(sentence)
    print_published(settings)
    return True


def _evaluate_what_is_new(settings: Settings, *, force: bool, rebuild: bool) -> None:
    from pollux_dagster.report import last_check, print_blocked

    if not (force or rebuild) and _is_without_news(settings):
        return
    from pollux_dagster.app.evaluation import NoAnswersError, evaluate_landing
    from pollux_dagster.definitions import build_defs
    from pollux_dagster.runs.instance_owner import ForeignInstanceError
    from pollux_dagster.warehouse.connection import WarehouseLockedError

    before = last_check(settings.warehouse)
    causes: list[str] = []
    try:
        succeeded = evaluate_landing(
            build_defs(settings), settings, rebuild=rebuild, forced=force, failed=causes.append
        )
    except (NoAnswersError, ForeignInstanceError, WarehouseLockedError) as error:
        fail(str(error))
    if settings.published.exists():
        print_published(settings)
    if not succeeded:
        print_blocked(settings.warehouse, before, console)
        fail("\n".join(["the run failed; the tables above, if any, are the last good publication", *causes]))


def _require_landing(landing: Path) -> None:
    if not (landing.is_dir() or landing.is_file()):
        fail(f"expected a landing folder at {landing}, found none; give one with --landing")


def _print_files(files: Sequence[Examined]) -> None:
    """The landing files as a table, and below it what is refused or noted."""
    from pollux_dagster.app.doctor import file_lines
    from pollux_dagster.core.text import escaped
    from pollux_dagster.report import print_rows

    columns = ("file", "read as", "rows", "used", "rejected")
    print_rows(console, "Landing files", columns, [(f.path, f.format, f.rows, f.accepted, f.rejected) for f in files])
    for line in file_lines(files):
        typer.echo(escaped(line))
