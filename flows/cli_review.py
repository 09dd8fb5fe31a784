"""`dripwatch review`: the judgement of a person on an alert."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_groups import HERE, AsJson, Config
from flows.reply import reply


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(review)


def review(
    alert: Annotated[str, typer.Option(metavar="KEY", help="alert_key in signals.alert.")],
    state: Annotated[str, typer.Option(help="under_review, confirmed or refuted.")],
    by: Annotated[str, typer.Option(metavar="NAME", help="Who judges: a person or a role.")],
    config: Config = HERE,
    note: Annotated[
        str, typer.Option(metavar="TEXT", help="Why; no patient data. It stays in the log.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Judge an alert: under review, confirmed or refuted.

    Recorded for good in the restricted log; the next refresh publishes state,
    name and time, never the note. Stands until the evidence is more than what was
    judged: another serious event, or a signal, opens the alert again.
    """
    with reply("review", as_json=as_json) as answer:
        from flows.review import review as judge

        judge(config, answer, alert=alert, state=state, reviewer=by, note=note)
