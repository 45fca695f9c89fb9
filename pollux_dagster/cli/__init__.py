"""The `pollux` command: run an evaluation, start the UI, show the results, manage servers and files."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import typer.core

from pollux_dagster.cli import evaluation, judges, label, results, services
from pollux_dagster.cli.terminal import fail


class _Commands(typer.core.TyperGroup):
    """The commands. An error of the machine, such as a full disk, is reported in one sentence for all of them."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            from pollux_dagster.refusals import sentence

            if (said := sentence(error)) is None:
                raise
            fail(said)


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in help texts are no mark-up
)  # fmt: skip
_judges = typer.Typer(help="Judge profiles: which judges there are, how they are asked, and whether one can be read.")
_golden = typer.Typer(help="The golden set: pinned answers that show whether the judge has drifted.")


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
app.add_typer(_judges, name="judges", no_args_is_help=True)
_judges.command("list")(judges.list_judges)
_judges.command("show")(judges.show_judge)
_judges.command("check")(judges.check_judge)
app.command()(judges.parity)
app.command()(judges.exam)
app.add_typer(_golden, name="golden", no_args_is_help=True)
_golden.command()(judges.pin)
_golden.command()(judges.accept)
app.command()(services.servers)
app.command()(services.up)
