"""`dripwatch key`, `encrypt`, `forget` and `idmap`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_groups import HERE, AsJson, Config
from flows.reply import reply

key_app = typer.Typer(
    help="Renew the site's key; the key of its warehouse.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(key_app, name="key")
    app.command()(encrypt)
    app.command()(forget)
    app.command()(idmap)


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


@key_app.command("warehouse")
def key_warehouse(config: Config = HERE, as_json: AsJson = False) -> None:
    """Print the key that the published warehouse opens with, and nothing else.

    For readers of a site with [privacy] encrypt_published. Hand it over on
    another way than the file; a renewed key of the site makes another one.
    """
    with reply("key warehouse", as_json=as_json) as answer:
        from flows.encrypt import warehouse_key_command

        warehouse_key_command(config, answer)


def encrypt(config: Config = HERE, as_json: AsJson = False) -> None:
    """Write everything in the restricted folder anew, as `[privacy] encrypt` says.

    What was there before the setting stays as it was written until then. A new
    generation of the log is written beside the old one and counts once it is
    whole; store and warehouse are made again from it, and say the same.
    """
    with reply("encrypt", as_json=as_json) as answer:
        from flows.encrypt import encrypt_command

        encrypt_command(config, answer)


def forget(
    config: Config = HERE,
    patient: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The patient's id in the source; `-` or nothing: asked for, or read from standard "
            "input, which leaves no trace in the shell's history.",
        ),
    ] = None,
    namespace: Annotated[
        str, typer.Option(help="Kind of identifier, as in the mapping; default: all of the log.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Take a patient out of everything that the site holds.

    Log, quarantine, store, warehouse and report are written anew without the
    patient, every file is searched for a rest, and later deliveries of the
    patient stay out. The deliveries in the inbox and backups are not touched.
    """
    with reply("forget", as_json=as_json) as answer:
        from flows.forget import forget_command

        forget_command(config, answer, patient=patient, namespace=namespace)


def idmap(
    config: Config = HERE,
    reason: Annotated[
        str, typer.Option(help="Why it is asked; written down with account and time.")
    ] = "",
    asked: Annotated[
        bool, typer.Option("--asked", help="Print who asked, when and why; ask nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Lead from a patient's key to the identifier in the source.

    For a site that keeps a map ([privacy] idmap), to look into a child's chart.
    The key is asked for, or read from standard input. That it was asked is noted
    in restricted/idmap/asked.jsonl, sealed, and not about whom.
    """
    with reply("idmap", as_json=as_json) as answer:
        from flows.idmap import asked_command, idmap_command

        if asked:
            asked_command(config, answer)
        else:
            idmap_command(config, answer, reason=reason)
