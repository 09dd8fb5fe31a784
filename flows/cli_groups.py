"""The commands that have commands of their own, and the options that all commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.reply import reply

quarantine_app = typer.Typer(
    help="See batches that are held, and let them go.", no_args_is_help=True, rich_markup_mode=None
)
study_app = typer.Typer(
    help="Work on study definitions.", no_args_is_help=True, rich_markup_mode=None
)

Config = Annotated[
    Path, typer.Option("--config", "-c", help="The site's site.toml, or its folder.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
]
AsCsv = Annotated[
    bool,
    typer.Option(
        "--csv", help="Print CSV with a header; what Excel takes for a formula is quoted."
    ),
]
HERE = Path("site.toml")


@quarantine_app.command("list")
def quarantine_list(
    config: Config = HERE,
    rows: Annotated[
        bool, typer.Option("--rows", help="Name each row: file's hash, row number, checks.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List held batches with reasons, and rejected rows by check."""
    with reply("quarantine list", as_json=as_json) as answer:
        from flows.quarantine import list_held

        list_held(config, answer, with_rows=rows)


@quarantine_app.command("release")
def quarantine_release(
    batch: Annotated[str, typer.Argument(help="The batch's id, or its first 8 or more digits.")],
    config: Config = HERE,
    note: Annotated[str, typer.Option(help="Why, for the record; no patient data.")] = "",
    as_json: AsJson = False,
) -> None:
    """Commit a held batch as it stands.

    Its good rows count, its rejected rows stay out. The next refresh applies it.
    """
    with reply("quarantine release", as_json=as_json) as answer:
        from flows.quarantine import release_held

        release_held(config, batch, note, answer)


@study_app.command("check")
def study_check(
    path: Annotated[str, typer.Argument(help="A folder with a study.toml, or a shipped name.")],
    as_json: AsJson = False,
) -> None:
    """Explain every mistake of a study definition; ends with 12 if there is one."""
    with reply("study check", as_json=as_json) as answer:
        from flows.study import check

        check(path, answer)


@study_app.command("explain")
def study_explain(
    path: Annotated[str, typer.Argument(help="A folder with a study.toml, or a shipped name.")],
    svg: Annotated[
        Path | None, typer.Option(help="File to write the timeline to, as an SVG picture.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say a study in sentences, with a timeline of its windows.

    Who counts, what a unit is, and for each outcome what makes an event, where
    it counts, who owns it, and among whom it is counted.
    """
    with reply("study explain", as_json=as_json) as answer:
        from flows.study import explain

        explain(path, svg, answer)
