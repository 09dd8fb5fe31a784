"""`dripwatch runs` and `runs show`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_groups import HERE, AsCsv, AsJson, Config
from flows.reply import reply

runs_app = typer.Typer(
    help="See which runs there were, and what one of them did.", rich_markup_mode=None
)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(runs_app, name="runs")


@runs_app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    config: Config = HERE,
    limit: Annotated[int, typer.Option(min=1, help="Runs to list, the latest.")] = 20,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """See which runs there were, the newest first.

    Tells when each began, how long it took, how it ended and what it did.
    """
    context.obj = config
    if context.invoked_subcommand is not None:
        return
    with reply("runs", as_json=as_json) as answer:
        from flows.runs import list_runs

        list_runs(config, limit, answer, as_csv=as_csv)


@runs_app.command("show")
def runs_show(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="The run's id, enough of its beginning, or `last`.")],
    config: Config = HERE,
    as_json: AsJson = False,
) -> None:
    """Tell what a run did.

    Its stages, the deliveries that it read, what it changed in the signals and
    why, how fresh each feed was, and its remarks. No patient data.
    """
    with reply("runs show", as_json=as_json) as answer:
        from flows.runs import show_run

        # `runs -c SITE show RUN` is what some people type
        show_run(context.obj if config == HERE else config, run, answer)
