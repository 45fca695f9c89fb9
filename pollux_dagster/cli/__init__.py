"""The `pollux` command: run an evaluation, start the UI, show the results, manage servers and files."""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated, Any

import typer
import typer.core

from pollux_dagster.cli import evaluation, judges, label, results, services, setup, worker
from pollux_dagster.cli.options import with_config
from pollux_dagster.cli.terminal import fail


class _Commands(typer.core.TyperGroup):
    """The commands. An error of the machine, such as a full disk, is reported in one sentence for all of them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        with_config(self.commands.values())

    def main(self, args: Any = None, *arguments: Any, **options: Any) -> Any:
        """Refuse arguments that are no text before any command meets them."""
        given = sys.argv[1:] if args is None else args
        if unreadable := [each for each in given if not _is_text(each)]:
            typer.echo(f"error: expected arguments in UTF-8, got {os.fsencode(unreadable[0])!r}", err=True)
            sys.exit(2)
        gc.set_threshold(_ALLOCATIONS)
        return super().main(args, *arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            from pollux_dagster.refusals import sentence

            if (said := sentence(error)) is None:
                raise
            fail(said)


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:  # bytes that Python could not decode
        return False
    return True


_ALLOCATIONS = 50_000
"""Between two looks for garbage. By default they are 700, and a tenth of a command's start is such looks at modules."""

app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in help texts are no mark-up
)  # fmt: skip
_judges = typer.Typer(help="Judge profiles: list them, show one, try one.")
_golden = typer.Typer(help="The golden set: pinned answers that show a judge's drift.")


def _print_version(wanted: bool) -> None:
    if wanted:
        from pollux_dagster import __version__

        typer.echo(f"pollux_dagster {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end")
    ] = False,
) -> None:
    """From a folder of model answers to published quality tables."""


app.command()(setup.init)
app.command()(evaluation.demo)
app.command()(evaluation.run)
app.command()(evaluation.rebuild)
app.command()(results.show)
app.command()(results.report)
app.command(cls=results.Query)(results.query)
app.command()(results.export)
app.command()(services.explore)
app.command()(results.explain)
app.command("compare")(results.compare_models)
app.command()(label.label)
app.command()(evaluation.plan)
app.command()(evaluation.doctor)
app.command("settings")(setup.print_settings)
app.add_typer(_judges, name="judges", no_args_is_help=True)
_judges.command("list")(judges.list_judges)
_judges.command("show")(judges.show_judge)
_judges.command("check")(judges.check_judge)
app.command()(judges.parity)
app.command()(judges.exam)
app.add_typer(_golden, name="golden", no_args_is_help=True)
_golden.command()(judges.pin)
_golden.command()(judges.accept)
app.command()(worker.worker)
app.command()(services.servers)
app.command()(services.up)
