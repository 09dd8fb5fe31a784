"""`dripwatch deploy` of a coordinator: its rounds by a schedule on a Prefect server."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from flows.deploy import (
    filled,
    make_pool,
    next_run_of,
    register,
    server_of,
    write_yaml,
)
from flows.events import client_of
from flows.reply import Reply
from flows.server import quiet_settings, require
from pipelines.pooling.coordinator import Coordinator, load_coordinator


def pool_name(coordinator: Coordinator) -> str:
    """Return the name of the work pool whose workers run the rounds."""
    return f"dripwatch-coordinator-{coordinator.coordinator.id}"


def coordinator_yaml(coordinator: Coordinator) -> str:
    """Return the coordinator's prefect.yaml."""
    cron = {"cron": coordinator.watch.cron, "timezone": "UTC", "slug": "rounds", "active": True}
    name = coordinator.coordinator.id
    values = {
        "project": pool_name(coordinator),
        "prefect_version": metadata.version("prefect"),
        "name": name,
        "config": str(coordinator.config_path),
        "pool": pool_name(coordinator),
        "environment": {"PYTHONSAFEPATH": "1", **quiet_settings(coordinator.prefect_home)},
        "schedules": [cron] if coordinator.watch.cron else [],
    }
    return filled("coordinator.yaml", name, values)


def deploy_coordinator(config: Path, answer: Reply) -> None:
    """Write prefect.yaml and register the deployment and its schedule on the server.

    Errors:
        ConfigError: no server is configured, or prefect.yaml is not ours.
        ServerError: the server does not answer or refuses.
    """
    coordinator = load_coordinator(config)
    api_url = server_of(coordinator)
    require(api_url)
    path = write_yaml(coordinator, coordinator_yaml(coordinator))
    pool, name = pool_name(coordinator), f"coordinate/{coordinator.coordinator.id}"
    with client_of(coordinator, api_url) as client:
        make_pool(client, pool)
        register(coordinator, api_url, path)
        found = client.read_deployment_by_name(name)
        next_run = next_run_of(client, found.id) if coordinator.watch.cron else None
    answer.result = {
        "prefect_yaml": str(path),
        "deployment": name,
        "deployment_id": str(found.id),
        "work_pool": pool,
        "cron": coordinator.watch.cron or None,
        "next_run_at": next_run,
    }
    answer.message = f"{name} is deployed on {api_url}."
    say = answer.console.say
    say(f"wrote {path}")
    if next_run:
        say(f"looks for packs at `{coordinator.watch.cron}` (UTC; next {next_run})")
    say(answer.message)
    say(
        "A process must run beside the server, as the account that owns this folder:\n"
        f"  prefect worker start --pool {pool}"
    )
