"""`dripwatch signals` and `dripwatch quality`: the warehouse as tables of a terminal."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from flows.cli_groups import HERE, AsCsv, AsJson, Config
from flows.reply import reply


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(signals)
    app.command()(quality)


def signals(
    config: Config = HERE,
    outcome: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this; may be repeated.")
    ] = None,
    window: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this; may be repeated.")
    ] = None,
    stratum: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Divide by drug, age_band, setting, 'drug x ordinal' ..."
        ),
    ] = "all",
    alerts: Annotated[bool, typer.Option("--alerts", help="Only the alerts that stand.")] = False,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Show the risks with counts and intervals, and alerts.

    Headline denominators of the published warehouse. It is the site's own file and
    not masked: small counts are shown, so what is printed stays at the site; the
    report leaves them out. Other denominators: dripwatch sql, signals.risk.
    """
    with reply("signals", as_json=as_json) as answer:
        from flows.signals import Filters, show_signals

        filters = Filters(tuple(outcome or ()), tuple(window or ()), stratum)
        show_signals(config, filters, answer, alerts_only=alerts, as_csv=as_csv)


def quality(
    config: Config = HERE,
    only: Annotated[
        Literal["rows", "feeds", "checks", "drift", "silences"] | None,
        typer.Option(help="One table; with --csv, rows unless named."),
    ] = None,
    event_type: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="NAME", help="Only this event type; may be repeated."),
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this; may be repeated.")
    ] = None,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Show what was rejected, what is late and what looks unusual.

    Over all batches of the published warehouse, which is not masked: small counts
    are shown, so what is printed stays at the site. Batches that are held are in
    no warehouse: dripwatch quarantine list.
    """
    with reply("quality", as_json=as_json) as answer:
        from flows.quality import show_quality

        show_quality(
            config,
            answer,
            part=only,
            types=event_type or (),
            sources=source or (),
            as_csv=as_csv,
        )
