"""`dripwatch watch` and `dripwatch deploy`: runs that begin when an extract arrives."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_groups import HERE, AsJson, Config
from flows.reply import reply


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(watch)
    app.command()(deploy)


def watch(
    config: Config = HERE,
    once: Annotated[
        bool, typer.Option("--once", help="End when what lies there now has been dealt with.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Wait for extracts and start a refresh for each that has arrived whole.

    With a Prefect server it sends dripwatch.extract.arrived, which triggers the
    deployment; without, it runs the refresh itself. Ends on SIGTERM with 130.
    """
    with reply("watch", as_json=as_json) as answer:
        from flows.watch import watch_command

        watch_command(config, answer, once=once)


def deploy(config: Config = HERE, as_json: AsJson = False) -> None:
    """Put the site, or a coordinator's rounds, on a self-hosted Prefect server.

    Writes prefect.yaml beside site.toml and registers the deployment, its nightly
    schedule, its trigger on arrival, and webhook and e-mail for changed alerts;
    of coordinator.toml the rounds and their schedule. Doing it again brings all
    of them up to date.
    """
    with reply("deploy", as_json=as_json) as answer:
        from flows.deploy import deploy_command

        deploy_command(config, answer)
