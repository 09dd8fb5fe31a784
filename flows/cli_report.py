"""`dripwatch report`: the page of a published warehouse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_groups import AsJson
from flows.reply import reply


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(report)


def report(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The site's site.toml, or its folder; default: here."),
    ] = None,
    warehouse: Annotated[
        Path | None, typer.Option(help="A published file; without --config, min_cell is 11.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page; default: index.html in the site's report folder.")
    ] = None,
    begin_anew: Annotated[
        bool,
        typer.Option(
            help="Forget what pages have told. Only if nobody kept one: beside an old page, "
            "the new one tells of single children."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the report of a warehouse: one page for a browser, no network.

    Each refresh that publishes writes it; this writes it again. Counts below the
    site's min_cell are not shown, nor what would tell them.
    """
    with reply("report", as_json=as_json) as answer:
        from flows.report import report_command

        report_command(config, warehouse, out, answer, begin_anew=begin_anew)
