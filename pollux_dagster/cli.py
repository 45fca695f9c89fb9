"""The `pollux` command: run an evaluation, start the UI, show the results, manage servers and files."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
import typer.core
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import duckdb

    from pollux_dagster.app.doctor import Examined
    from pollux_dagster.explain.walk import Walked
    from pollux_dagster.settings import Settings


class _Commands(typer.core.TyperGroup):
    """The commands. An error of the machine, such as a full disk, is reported in one sentence for all of them."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            from pollux_dagster.refusals import sentence

            if (said := sentence(error)) is None:
                raise
            _fail(said)


class _Query(typer.core.TyperCommand):
    """Its SQL may begin with a comment: an argument that starts with `--` and has several lines is no option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [f" {arg}" if arg.startswith("--") and "\n" in arg else arg for arg in args])


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in help texts are no mark-up
)  # fmt: skip
judges = typer.Typer(help="Judge profiles: which judges there are, how they are asked, and whether one can be read.")
app.add_typer(judges, name="judges", no_args_is_help=True)
golden = typer.Typer(help="The golden set: pinned answers that show whether the judge has drifted.")
app.add_typer(golden, name="golden", no_args_is_help=True)
console = Console(soft_wrap=False)
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


def _print_version(wanted: bool) -> None:
    if wanted:
        from pollux_dagster import __version__

        typer.echo(f"pollux_dagster {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end")
    ] = False,
) -> None:
    """From a folder of model answers to published quality tables."""


@app.command()
def demo(home: Annotated[Path, typer.Option(help="Where the demo keeps its results")] = DEMO_HOME) -> None:
    """Judge the packaged answers with the packaged demonstration judge and print the tables."""
    from pollux_dagster.settings import demo_environment

    _evaluate(_settings(**demo_environment(home.absolute())))


@app.command()
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
    _evaluate(_settings_of_judge(accept_served_model, **given, POLLUX_JUDGE_MODEL=judge_model), force=force)


@app.command()
def rebuild(
    landing: Landing = None,
    home: Home = None,
) -> None:
    """Set the warehouse aside and rebuild it from landing folder and ledger; only missing verdicts are requested."""
    _evaluate(_settings(POLLUX_LANDING=landing, POLLUX_HOME=home), force=True, rebuild=True)


@app.command()
def show(home: Home = None) -> None:
    """Print the published tables."""
    _print_published(_settings(POLLUX_HOME=home))


@app.command()
def report(
    home: Home = None,
    model: Annotated[list[str] | None, typer.Option(help="Show only this model; may be repeated")] = None,
    output: Annotated[
        Path | None, typer.Option(help="The file to write [default: report.html beside the publication]")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser")] = False,
) -> None:
    """Make the report of the publication again, one HTML file; --model narrows it to some models."""
    import webbrowser

    import duckdb

    from pollux_dagster.page.write import UnknownModelError, write_report
    from pollux_dagster.publication_access import QueryError

    settings = _settings(POLLUX_HOME=home)
    target = output or settings.published.with_name("report-narrowed.html" if model else "report.html")
    if output is not None and not output.absolute().parent.is_dir():
        _fail(f"expected a folder at {output.absolute().parent}, found none")
    if target.is_dir():
        _fail(f"expected the name of a file, got the folder {target}")
    try:
        write_report(settings.published, target, models=model or (), limits=settings.query_limits)
    except (OSError, UnknownModelError, QueryError, duckdb.Error) as error:
        _fail(str(error))
    typer.echo(f"Report: {target.absolute()}")
    if open_it and not webbrowser.open(target.absolute().as_uri()):
        _fail("no browser found; open the file by hand")


@app.command(cls=_Query)
def query(
    sql: str,
    home: Home = None,
    csv: Annotated[Path | None, typer.Option(help="Write the rows to this CSV file, safe for spreadsheets")] = None,
    allow_files: Annotated[
        Path | None, typer.Option(help="Also let the query read the files of this folder [default: no files]")
    ] = None,
) -> None:
    """Run one SELECT on the published file and print its rows, or write them to a CSV file."""
    import duckdb

    from pollux_dagster.export import write_csv
    from pollux_dagster.publication_access import QueryError
    from pollux_dagster.report import print_query

    settings = _settings(POLLUX_HOME=home)
    published, limits = settings.published, settings.query_limits
    try:
        if csv is None:
            print_query(published, sql, console, limits, files=allow_files, abandon=_end)
        else:
            rows = write_csv(published, sql, csv, limits, files=allow_files, abandon=_end)
            typer.echo(f"{rows} rows in {csv}")
    except (OSError, duckdb.Error, QueryError) as error:
        _fail(str(error))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where the files go, one a table; made where it is missing")],
    home: Home = None,
    form: Annotated[Literal["csv", "parquet"], typer.Option("--format", help="CSV is safe for spreadsheets")] = "csv",
    table: Annotated[
        list[str] | None,
        typer.Option(help="A table to write, such as staging.scores; may be repeated [default: marts]"),
    ] = None,
) -> None:
    """Write the published tables as files: the marts, or the tables that are named."""
    from pollux_dagster.export import export_tables
    from pollux_dagster.publication_access import QueryError

    settings = _settings(POLLUX_HOME=home)
    try:
        written = export_tables(settings.published, folder, table or (), form, settings.query_limits, abandon=_end)
    except (FileNotFoundError, NotADirectoryError, QueryError) as error:
        _fail(str(error))
    for file, rows in written.items():
        typer.echo(f"{rows} rows in {file}")


@app.command()
def explain(
    what: Annotated[
        str, typer.Argument(metavar="MODEL|VERDICT", help="A model, or the first digits of a verdict's key")
    ],
    home: Home = None,
    judge: JudgeName = None,
    task: Annotated[str | None, typer.Option(help="Only this task of the model")] = None,
    criterion: Annotated[str | None, typer.Option(help="Only this criterion of the model: a name, or an id")] = None,
    prompt_id: Annotated[str | None, typer.Option(help="The model's answer to this instruction")] = None,
    answers: AnswersShown = 5,
    profile: Annotated[str | None, typer.Option(help="Profile with the judge's template, if none here has it")] = None,
    as_json: AsJson = False,
) -> None:
    """Walk a number back: from a model's mean to what takes points off it, to an answer, to one verdict.

    A verdict is shown with its prompt, made again from the published texts, and with reply, file, judge and run.
    """
    from pollux_dagster.explain.walk import Wanted, walk_back

    settings = _settings(POLLUX_HOME=home, POLLUX_PROFILE=profile)
    wanted = Wanted(what, judge, task, criterion, prompt_id, answers)
    _walk(settings, lambda con: walk_back(con, wanted, settings.home, settings.profile), as_json)


@app.command("compare")
def compare_models(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    other: Annotated[str, typer.Argument(metavar="MODEL")],
    home: Home = None,
    judge: JudgeName = None,
    answers: AnswersShown = 5,
    as_json: AsJson = False,
) -> None:
    """Compare two models: the difference, where the first is better and worse, the answers that make most of it."""
    from pollux_dagster.explain.walk import compare

    _walk(_settings(POLLUX_HOME=home), lambda con: compare(con, model, other, judge, answers), as_json)


@app.command()
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

    settings = _settings(POLLUX_LANDING=landing, POLLUX_HOME=home, POLLUX_PROFILE=profile)
    _require_landing(settings.landing)
    planned = plan_landing(settings, difference=difference, power=power)
    _print_files(planned.files)
    columns = ("model", "requests", "already judged", "over-length", "to ask")
    rows = [(m.model_id, m.requests, m.judged, m.over_length, m.pending) for m in planned.pending.models]
    print_rows(console, f"Pending for {planned.judge_name}", columns, rows)
    for line in plan_lines(planned):
        typer.echo(escaped(line))


@app.command()
def doctor(
    landing: Landing = None,
    as_json: AsJson = False,
    write: Annotated[bool, typer.Option("--write", help="Write the proposed landing.toml into the folder")] = False,
) -> None:
    """Say what each landing file was taken for and why rows are refused; propose a landing.toml for unknown files."""
    import json

    from pollux_dagster.app.doctor import examine_landing, write_proposal
    from pollux_dagster.core.text import escaped

    folder = _settings(POLLUX_LANDING=landing).landing
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
            _fail(f"{error.filename}: {error.strerror}; add the entries to it yourself")


@judges.command("list")
def list_judges(home: Home = None) -> None:
    """List the judge profiles that a name can mean: those in the home's folder `judges`, and the packaged ones."""
    from pollux_dagster.app.judges import listed_profiles
    from pollux_dagster.report import print_rows

    rows = listed_profiles(_settings(POLLUX_HOME=home, POLLUX_PROFILE="demo").home)
    print_rows(console, "Judge profiles", ("profile", "model", "from", "description"), rows)


@judges.command("show")
def show_judge(profile: str, home: Home = None, judge_model: JudgeModel = None) -> None:
    """Show a profile (a name, or a TOML file): its identity, its sources, its request and prompt byte for byte."""
    from pollux_dagster.app.judges import shown_profile
    from pollux_dagster.core.text import escaped

    settings = _settings(POLLUX_HOME=home, POLLUX_PROFILE=profile, POLLUX_JUDGE_MODEL=judge_model)
    _say_which_profile(settings)
    for what, value in shown_profile(settings):
        typer.echo(f"{what}:" + ("\n" if "\n" in value else " ") + "\n".join(map(escaped, value.split("\n"))))


@judges.command("check")
def check_judge(
    profile: str,
    home: Home = None,
    judge_url: JudgeUrl = None,
    judge_model: JudgeModel = None,
    accept_served_model: AcceptServedModel = False,
) -> None:
    """Send three fixed requests to a judge, and show each prompt, the reply, and the score that was read.

    Nothing is recorded. Fails when a reply gives no score; a score that is no good judge's is only pointed out.
    """
    from pollux_dagster.app.judges import tried_lines, tried_profiles
    from pollux_dagster.core.text import escaped
    from pollux_dagster.judge.server import ServerError

    given = {"POLLUX_HOME": home, "POLLUX_PROFILE": profile, "POLLUX_JUDGE_URL": judge_url}
    settings = _settings_of_judge(accept_served_model, **given, POLLUX_JUDGE_MODEL=judge_model)
    try:
        tried = tried_profiles(settings, lambda line: typer.echo(line, err=True))
    except (ServerError, FileNotFoundError) as error:
        _fail(str(error))
    for line in (line for each in tried for line in tried_lines(each)):
        typer.echo(escaped(line))
    requests = [request for each in tried for request in each.requests]
    if unread := sum(not request.is_usable for request in requests):
        _fail(f"{unread} of {len(requests)} replies gave no score")


@app.command()
def parity(
    wide: Annotated[Path, typer.Option(help="The POLLUX wide set: a file, or a folder of its files")],
    home: Home = None,
    profile: Profile = None,
    judge_url: Annotated[
        list[str] | None,
        typer.Option(help="The URL that the judge was attached to, if it was [default: $POLLUX_JUDGE_URL]"),
    ] = None,
    judge_model: JudgeModel = None,
    card: Annotated[Path | None, typer.Option(help="Card file to compare with [default: the packaged one]")] = None,
    row: Annotated[str | None, typer.Option(help="Row of the card to compare with [default: the judge's own]")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Leave out a criterion or a group; may be repeated")] = None,
    choose: Annotated[
        list[str] | None, typer.Option(help="CHOICE=VALUE: fix a choice that is otherwise tried out; may be repeated")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the judge with people on the POLLUX wide set as its model card does, without asking the judge."""
    import json

    from pollux_dagster.app.parity import ParityError, measure_parity
    from pollux_dagster.app.parity_report import parity_json, parity_lines, parity_tables
    from pollux_dagster.core.text import escaped
    from pollux_dagster.report import print_rows

    given = {"POLLUX_HOME": home, "POLLUX_PROFILE": profile, "POLLUX_JUDGE_URL": judge_url}
    settings = _settings(**given, POLLUX_JUDGE_MODEL=judge_model)
    try:
        found = measure_parity(settings, wide, card=card, row=row, exclude=exclude or (), choose=choose or ())
    except (ParityError, FileNotFoundError, ValueError) as error:
        _fail(str(error))
    if as_json:
        typer.echo(json.dumps(parity_json(found), ensure_ascii=False, indent=1))
        return
    for title, columns, rows in parity_tables(found):
        print_rows(console, title, columns, rows)
    for line in parity_lines(found):
        typer.echo(escaped(line))


@app.command()
def exam(
    home: Home = None,
    profile: Profile = None,
    judge_url: JudgeUrl = None,
    judge_model: JudgeModel = None,
    accept_served_model: AcceptServedModel = False,
) -> None:
    """Ask the judge fixed questions in several ways that should not matter, and print how far they moved its scores."""
    from pollux_dagster.app.exam import examine_judge
    from pollux_dagster.judge.evaluate import EvaluationError
    from pollux_dagster.judge.server import ServerError
    from pollux_dagster.report import print_exam

    given = {"POLLUX_HOME": home, "POLLUX_PROFILE": profile, "POLLUX_JUDGE_URL": judge_url}
    settings = _settings_of_judge(accept_served_model, **given, POLLUX_JUDGE_MODEL=judge_model)
    try:
        taken = examine_judge(settings, lambda line: typer.echo(line, err=True))
    except KeyboardInterrupt:
        typer.echo("interrupted: the verdicts so far are kept, and the same command continues the exam", err=True)
        raise typer.Exit(130) from None
    except (ServerError, EvaluationError, FileNotFoundError) as error:
        _fail(str(error))
    print_exam(console, taken.judge_name, taken.results.rows(named=True))


@golden.command()
def pin(
    home: Home = None,
    answers: Annotated[int, typer.Option(help="How many judged answers to pin, one per instruction")] = 100,
) -> None:
    """Pin a golden set from the judge's verdicts, replacing the previous one."""
    from pollux_dagster.app.golden_set import pin_golden_set
    from pollux_dagster.warehouse.golden import GoldenSetError

    try:
        pinned = pin_golden_set(_settings(POLLUX_HOME=home), answers)
        typer.echo(f"pinned {pinned} requests; the next evaluation judges them first")
    except GoldenSetError as error:
        _fail(str(error))


@golden.command()
def accept(home: Home = None) -> None:
    """Accept the latest round of the golden set as the new baseline, when its drift was reviewed and is intended."""
    from pollux_dagster.app.golden_set import accept_round
    from pollux_dagster.core.text import escaped
    from pollux_dagster.warehouse.golden import GoldenSetError

    try:
        typer.echo(escaped(f"accepted as baseline: {accept_round(_settings(POLLUX_HOME=home))}"))
    except GoldenSetError as error:
        _fail(str(error))


@app.command()
def servers(
    home: Home = None,
    stop: Annotated[str | None, typer.Option(help="Stop and forget the server with this key, or `all`")] = None,
) -> None:
    """List the managed judge servers of a home that run or have failed, or stop them."""
    from pollux_dagster.core.text import escaped
    from pollux_dagster.judge.server import current_servers, forget_server, list_servers, stop_server

    folder = _settings(POLLUX_HOME=home).servers
    known = {server.key: server for server in list_servers(folder)}
    if stop not in (None, "all", *known):
        _fail(f"no server {stop!r} in {folder}; `pollux servers` lists the existing ones")
    for key in known if stop == "all" else [stop] if stop else []:
        was_running = stop_server(folder, key)
        forgotten = forget_server(folder, key)
        said = "stopped" if was_running else "removed from the list" if forgotten else "in use by a client"
        typer.echo(escaped(f"{key}  {said}  {known[key].engine}  {known[key].model}"))
    for server in [] if stop else current_servers(folder):
        line = (
            f"{server.key}  {server.status}  {server.engine}  {server.model}  {server.leases} in use  {server.reason}"
        )
        typer.echo(escaped(f"{line} (log: {server.log})" if server.status == "failed" else line))


@app.command()
def up(
    is_demo: Annotated[bool, typer.Option("--demo", help="Use the packaged answers and judge")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback requires a login")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on")] = 3000,
) -> None:
    """Start the Dagster UI with the schedule and sensors running."""
    from pollux_dagster.runs.instance import fail_orphaned_runs, open_instance
    from pollux_dagster.runs.instance_owner import ForeignInstanceError
    from pollux_dagster.runs.retention import prune
    from pollux_dagster.settings import demo_environment
    from pollux_dagster.ui.access import AccessError, access_for, refuse_taken_port

    settings = _settings(**(demo_environment(DEMO_HOME.absolute()) if is_demo else {}))
    if importlib.util.find_spec("dagster_webserver") is None:
        _fail("the UI needs Dagster's web server: pip install 'pollux_dagster[ui]'")
    try:
        access_for(settings, host, port)
        refuse_taken_port(host, port)
    except AccessError as error:
        _fail(str(error))
    try:
        with open_instance(settings.dagster_home) as instance:
            fail_orphaned_runs(instance)
            prune(instance, settings)
    except ForeignInstanceError as error:
        _fail(str(error))
    environment = {**os.environ, **settings.to_environment(), "DAGSTER_HOME": str(settings.dagster_home)}
    descriptor = _take_judge_key(environment, settings)
    command = [sys.executable, "-m", "pollux_dagster.ui.services", "run", "--host", host, "--port", str(port)]
    command += [] if descriptor is None else ["--key-descriptor", str(descriptor)]
    os.execve(sys.executable, command, environment)


def _require_landing(landing: Path) -> None:
    if not (landing.is_dir() or landing.is_file()):
        _fail(f"expected a landing folder at {landing}, found none; give one with --landing")


def _print_files(files: Sequence[Examined]) -> None:
    """The landing files as a table, and below it what is refused or noted."""
    from pollux_dagster.app.doctor import file_lines
    from pollux_dagster.core.text import escaped
    from pollux_dagster.report import print_rows

    columns = ("file", "read as", "rows", "used", "rejected")
    print_rows(console, "Landing files", columns, [(f.path, f.format, f.rows, f.accepted, f.rejected) for f in files])
    for line in file_lines(files):
        typer.echo(escaped(line))


def _take_judge_key(environment: dict[str, str], settings: Settings) -> int | None:
    """Move the judge's key from a variable, which every process would inherit, to a memory file's descriptor."""
    from pollux_dagster.settings import API_KEY_VARIABLE

    found = [environment.pop(name, "") for name in (settings.api_key_variable, API_KEY_VARIABLE)]
    if settings.api_key_file or not found[0]:
        return None
    if not hasattr(os, "memfd_create"):
        _fail(
            f"put the judge's key into a file, name it in POLLUX_JUDGE_API_KEY_FILE, unset {settings.api_key_variable}"
        )
    descriptor = os.memfd_create("pollux-judge-key", 0)
    os.write(descriptor, found[0].encode())
    return descriptor


def _evaluate(settings: Settings, *, force: bool = False, rebuild: bool = False) -> None:
    from pollux_dagster.app.news import published_without_news
    from pollux_dagster.report import last_check, print_blocked

    _require_landing(settings.landing)
    if not force and (published_at := published_without_news(settings)):
        typer.echo(
            f"nothing is new since the publication of {published_at}, so nothing was done; --force builds, checks and "
            "publishes everything again"
        )
        _print_published(settings)
        return
    from pollux_dagster.app.evaluation import NoAnswersError, evaluate_landing
    from pollux_dagster.definitions import build_defs
    from pollux_dagster.runs.instance_owner import ForeignInstanceError
    from pollux_dagster.warehouse.connection import WarehouseLockedError

    before = last_check(settings.warehouse)
    causes: list[str] = []
    try:
        succeeded = evaluate_landing(build_defs(settings), settings, rebuild=rebuild, failed=causes.append)
    except KeyboardInterrupt:
        typer.echo("stopped: what was judged is kept, and the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    except (NoAnswersError, ForeignInstanceError, WarehouseLockedError) as error:
        _fail(str(error))
    if settings.published.exists():
        _print_published(settings)
    if not succeeded:
        print_blocked(settings.warehouse, before, console)
        _fail("\n".join(["the run failed; the tables above, if any, are the last good publication", *causes]))


def _print_published(settings: Settings) -> None:
    from pollux_dagster.publication_access import QueryError
    from pollux_dagster.report import print_report

    try:
        print_report(settings.published, console, settings.query_limits)
    except (FileNotFoundError, QueryError) as error:
        _fail(str(error))


def _walk(settings: Settings, find: Callable[[duckdb.DuckDBPyConnection], Walked], as_json: bool) -> None:
    """Print what `find` finds in the publication."""
    import duckdb

    from pollux_dagster.explain.printed import print_walk
    from pollux_dagster.explain.selection import publication
    from pollux_dagster.explain.walk import as_json as to_json
    from pollux_dagster.publication_access import QueryError, bounded, open_publication

    limits = settings.query_limits
    try:
        with open_publication(settings.published, limits) as con, bounded(con, limits, _end):
            walked, made = find(con), publication(con)
    except (FileNotFoundError, duckdb.Error, QueryError) as error:
        _fail(str(error))
    if as_json:  # outside the limit of time, because a pager may wait
        typer.echo(to_json(walked, made))
    else:
        print_walk(console, walked, made, settings.home)


def _settings(**given: str | Path | list[str] | None) -> Settings:
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
        _fail(str(error).removeprefix("POLLUX_PROFILE: " if "POLLUX_PROFILE" in options else ""))


def _settings_of_judge(accept_served_model: bool, **given: str | Path | list[str] | None) -> Settings:
    """`_settings`; where `accept_served_model`, recording the attached server's own name of its model."""
    settings = _settings(**given)
    _say_which_profile(settings)
    if not (accept_served_model and settings.judge_url):
        return settings
    from pollux_dagster.app.resources import Resources
    from pollux_dagster.core.model_names import is_name_of
    from pollux_dagster.judge.server import ServerError

    judge = Resources.of(settings).judge
    try:
        served = judge.ask_served_model(lambda line: typer.echo(line, err=True))
    except ServerError as error:
        _fail(str(error))
    if is_name_of(served, judge.judge_profile.model):
        return settings
    typer.echo(f"verdicts are recorded as those of {served!r}", err=True)
    return _settings(**{**given, "POLLUX_JUDGE_MODEL": served})


def _say_which_profile(settings: Settings) -> None:
    if replacing := settings.replacing_profile:
        typer.echo(f"profile {settings.profile} is {replacing}, not the packaged one", err=True)


def _end(message: str) -> None:
    """End the process, from a thread beside a query that cannot be interrupted."""
    sys.stderr.write(f"error: {message}\n")
    sys.stderr.flush()
    os._exit(1)


def _fail(message: str) -> NoReturn:
    from pollux_dagster.core.text import escaped

    # DuckDB's messages quote the values they could not convert, which come from outside.
    typer.echo("error: " + "\n".join(escaped(line) for line in message.splitlines()), err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
