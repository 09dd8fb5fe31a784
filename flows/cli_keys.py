"""`dripwatch key` and `dripwatch forget`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_groups import HERE, AsJson, Config
from flows.reply import reply

key_app = typer.Typer(help="Renew the site's key.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(key_app, name="key")


@key_app.callback()
def _key() -> None:
    """Keep `rotate` a command of its own: a group of one would be no group."""


@key_app.command("rotate")
def key_rotate(
    config: Config = HERE,
    accept_ties: Annotated[
        bool,
        typer.Option(
            "--accept-ties", help="Also where results change because ties are settled otherwise."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Renew the key and every key in the log.

    A new generation of the log is written beside the old one, both are linked,
    and only where the results agree does the new one count. The key keeps its
    older secrets: later deliveries go through all of them.
    """
    with reply("key rotate", as_json=as_json) as answer:
        from flows.rotate import rotate_command

        rotate_command(config, answer, accept_ties=accept_ties)
