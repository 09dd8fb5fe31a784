"""`dripwatch replay`, `digest`, and the options of `refresh` that work beside the site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_groups import HERE, AsJson, Config
from flows.reply import Reply, reply

AsOf = Annotated[
    str | None,
    typer.Option(
        metavar="DATE", help="The warehouse of what was exported up to the end of this date."
    ),
]
Shadow = Annotated[
    str | None,
    typer.Option(
        metavar="STUDY", help="Try a study (folder or name) beside the one that runs; compare."
    ),
]
Out = Annotated[Path | None, typer.Option(help="With --as-of or --study: file for that warehouse.")]


def beside(
    config: Path,
    answer: Reply,
    as_of: str | None,
    study: str | None,
    out: Path | None,
    *,
    dry_run: bool,
) -> bool:
    """Do what `refresh` was asked to do beside the site; return whether it was asked to."""
    if as_of is None and study is None and out is None:
        return False
    from flows.beside import beside_command

    beside_command(config, answer, as_of=as_of, study=study, out=out, dry_run=dry_run)
    return True


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(digest)
    app.command()(replay)


def digest(
    file: Annotated[Path, typer.Argument(help="A published warehouse.duckdb.")],
    level: Annotated[
        str,
        typer.Option(
            help="state: linkage and signals, whatever the order of nights. history: looks and "
            "alerts, for the same nights."
        ),
    ] = "state",
    as_json: AsJson = False,
) -> None:
    """Print a hash of each table's content and one of them all.

    Rows count in any order; which run wrote them does not count.
    """
    with reply("digest", as_json=as_json) as answer:
        from flows.replay import digest_command

        digest_command(file, level, answer)


def replay(
    config: Config = HERE,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="NIGHT", help="First night to show, by date of export."),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="NIGHT", help="Last night, by date of export.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild everything from the event log.

    Checks every file of the log, fills the site's store anew, publishes, and
    says whether the results are the ones that were there; ends with 12 if not.
    With --from or --to: night by night beside the site, a digest a night.
    """
    with reply("replay", as_json=as_json) as answer:
        from flows.replay import replay_command

        replay_command(config, answer, first=first, last=last)
