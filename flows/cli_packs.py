"""Hospitals together: `export`, `pool`, `coordinate`, `demo-multisite`, `pool-logs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_groups import HERE, AsJson, Config
from flows.reply import reply


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(export)
    app.command("export-key")(export_key)
    app.command()(pool)
    app.command()(coordinate)
    app.command("demo-multisite")(demo_multisite)
    app.command("pool-logs")(pool_logs)


def export(
    config: Config = HERE,
    out: Annotated[
        Path | None, typer.Option(help="Folder to make for the pack; nothing is overwritten.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Print all that would leave; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a pack of masked counts that may leave the site.

    Counts below [privacy] min_cell, and what would give them away, are left out;
    a figure stays until its change may be told. No patients, no keys, no date finer
    than a quarter. Signed, and recorded in the restricted log.
    """
    with reply("export", as_json=as_json) as answer:
        from flows.export import export as write

        write(config, out, answer, is_preview=preview)


def export_key(
    config: Config = HERE,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="<path>",
            help="File to write the public key to as well; a folder, or NAME/ that is made, gets "
            "SITE.pub.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the public key that the site's packs are verified with.

    Makes the pair where there is none; the private key stays in the restricted
    folder. Hand the public key over on another way than the packs.
    """
    with reply("export-key", as_json=as_json) as answer:
        from flows.export import export_key as tell

        tell(config, out, answer)


def pool(
    packs: Annotated[list[Path], typer.Argument(help="Folders of packs, one a site.")],
    out: Annotated[Path, typer.Option(help="The pooled DuckDB file to write.")],
    keys: Annotated[
        Path, typer.Option(help="Folder with each site's public key, as SITE.pub.")
    ] = Path("keys"),
    as_json: AsJson = False,
) -> None:
    """Pool the packs of several hospitals into one file.

    Refuses packs that were changed, that were pooled before and replaced, or that
    are of other studies, checks or versions, and says what differs. Masked counts
    give ranges, never zeros.
    """
    with reply("pool", as_json=as_json) as answer:
        from flows.pool import pool as pool_packs

        pool_packs(packs, out, keys, answer)


def coordinate(
    config: Annotated[
        Path,
        typer.Option("--config", "-c", help="coordinator.toml, or its folder."),
    ] = Path("coordinator.toml"),
    now: Annotated[
        bool, typer.Option("--now", help="Pool what is there; do not wait for the deadline.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Look again and again until there is something to pool.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take in the packs of a quarter and pool them.

    Verifies what lies in the inbox, says who is late, and pools when all packs of
    the quarter are there or their deadline has passed; a late one pools again. A
    pack that is refused is set apart and stops no other. The same packs twice
    change nothing. Ends with 14 where a pack was refused in this round, else with 15
    where a hospital is late.
    """
    with reply("coordinate", as_json=as_json) as answer:
        from flows.coordinate import coordinate as run

        run(config, answer, is_now=now, waits=wait)


def demo_multisite(
    out: Annotated[Path, typer.Option(help="Folder to make; an earlier demo there is replaced.")],
    seed: Annotated[str | None, typer.Option(help="Equal seeds, equal hospitals.")] = None,
    as_json: AsJson = False,
) -> None:
    """Invent eight hospitals, run their nights, and pool what they may tell.

    They differ in format, clocks, units, threshold and size; one is behind, one
    is late, one is too small to tell. Ends with forest plots, and leaves each
    hospital's site and truth, the packs and pooled.duckdb in the folder.
    """
    with reply("demo-multisite", as_json=as_json) as answer:
        from flows.multisite import run_multisite

        run_multisite(out, seed=seed, answer=answer)


def pool_logs(
    sites: Annotated[list[Path], typer.Argument(help="site.toml of each hospital, or its folder.")],
    out: Annotated[Path, typer.Option(help="The DuckDB file to write; it holds rows of patients.")],
    as_json: AsJson = False,
) -> None:
    """Put the rows of hospitals of one legal entity into one warehouse.

    Reads each hospital's log and changes nothing there; links each by its own
    settings; tells counts and signals of each, and of all together under the site
    `all`. Whoever was treated at two hospitals is two patients, one at each.
    """
    with reply("pool-logs", as_json=as_json) as answer:
        from flows.pool_logs import pool_logs as pool_rows

        pool_rows(sites, out, answer)
