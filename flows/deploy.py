"""`dripwatch deploy`: the site's deployment on a Prefect server, and who is told of alerts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.addresses import address
from flows.events import ARRIVED, client_of, site_resource
from flows.reply import Reply, may_name
from flows.server import Served, configured_url, quiet_settings, require
from pipelines.base.errors import ConfigError, ServerError
from pipelines.base.files import write_durably
from pipelines.base.site import Site, load_site
from pipelines.pooling.coordinator import is_coordinator
from warehouse.alerts import SIGNAL_CHANGED
from warehouse.feeds import FEED_QUIET

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

NAME = "prefect.yaml"
_OURS = "# Written by `dripwatch deploy`"
_DEPLOY_SECONDS = 180
#: The scheduler of a server looks for new deployments every five seconds.
_PLANNED_WITHIN_SECONDS = 60.0


def pool_name(site: Site) -> str:
    """Return the name of the work pool whose workers run this site."""
    return f"dripwatch-{site.site.id}"


def prefect_yaml(site: Site) -> str:
    """Return the site's prefect.yaml; JSON texts are YAML texts."""
    cron = {"cron": site.watch.cron, "timezone": site.site.zone, "slug": "nightly", "active": True}
    values = {
        "project": pool_name(site),
        "prefect_version": metadata.version("prefect"),
        "site": site.site.id,
        "config": str(site.config_path),
        "pool": pool_name(site),
        "environment": {"PYTHONSAFEPATH": "1", **quiet_settings(site.prefect_home)},
        "schedules": [cron] if site.watch.cron else [],
        "trigger": f"dripwatch {site.site.id}: refresh on arrival",
        "resource": site_resource(site),
        "arrived": ARRIVED,
    }
    return filled(NAME, site.site.id, values)


def filled(template: str, name: str, values: Mapping[str, object]) -> str:
    """Return a template of this package with its places filled.

    Places are written @name@: YAML and Prefect have uses of their own for braces and $.
    """
    text = (resources.files("flows") / "templates" / template).read_text(encoding="utf-8")
    text = text.replace("@site_id@", name)
    return re.sub(r"@([a-z_]+)@", lambda place: json.dumps(values[place[1]]), text)


def deploy_command(config: Path, answer: Reply) -> None:
    """Write prefect.yaml; register deployment, schedule, trigger and alerts on the server.

    Errors:
        ConfigError: no server is configured, an address is wrong, or prefect.yaml is not ours.
        ServerError: the server does not answer or refuses.
    """
    if is_coordinator(config):
        from flows.deploy_coordinator import deploy_coordinator

        deploy_coordinator(config, answer)
        return
    site = load_site(config)
    may_name(site)
    api_url = server_of(site)
    receivers = {name: address(site, name) for name in ("webhook", "mail")}
    require(api_url)
    path = write_yaml(site, prefect_yaml(site))
    with client_of(site, api_url) as client:
        make_pool(client, pool_name(site))
        register(site, api_url, path)
        found = client.read_deployment_by_name(f"refresh/{site.site.id}")
        told = _announce(client, site, receivers)
        next_run = next_run_of(client, found.id) if site.watch.cron else None
    answer.result = {
        "prefect_yaml": str(path),
        "deployment": f"refresh/{site.site.id}",
        "deployment_id": str(found.id),
        "work_pool": pool_name(site),
        "cron": site.watch.cron or None,
        "next_run_at": next_run,
        "told": told,
    }
    answer.message = f"refresh/{site.site.id} is deployed on {api_url}."
    _say(answer, site)


def _say(answer: Reply, site: Site) -> None:
    assert answer.result is not None  # noqa: S101 - set by the caller
    say = answer.console.say
    say(f"wrote {answer.result['prefect_yaml']}")
    next_run = answer.result["next_run_at"]
    at = f"at `{site.watch.cron}` ({site.site.zone}; next {next_run}) and " if next_run else ""
    say(
        f"runs {at}on every {ARRIVED}; changes of alerts go to: "
        f"{', '.join(answer.result['told']) or 'nobody ([announce] is empty)'}"
    )
    say(answer.message)
    say(
        "Two processes must run beside the server, as the account that owns the site:\n"
        f"  prefect worker start --pool {pool_name(site)}\n"
        f"  dripwatch watch --config {site.config_path}"
    )


def server_of(site: Served) -> str:
    """Return the address of the configured server's API.

    Errors:
        ConfigError: there is none.
    """
    if api_url := configured_url(site):
        return api_url
    raise ConfigError(
        "No Prefect server is configured.",
        where=str(site.config_path),
        remedy="Name one in [prefect] api_url or PREFECT_API_URL; docs/deploy.md tells how to "
        "run one, and how to do without.",
    )


def write_yaml(site: Served, text: str) -> Path:
    """Write prefect.yaml beside a configuration and return its path.

    Errors:
        ConfigError: there is one that is not ours.
    """
    path = site.config_path.parent / NAME
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(_OURS):
        raise ConfigError(
            "There is a prefect.yaml that `dripwatch deploy` did not write.",
            where=str(path),
            remedy="Move it away, or keep the configuration in a folder of its own.",
        )
    write_durably(path, text.encode())
    return path


def make_pool(client: SyncPrefectClient, name: str) -> None:
    """Make a work pool of processes where there is none of this name."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=name, type="process", base_job_template=template)
        )


def register(site: Served, api_url: str, path: Path) -> None:
    """Let Prefect read the file that stays: what it says and what is deployed cannot differ."""
    done = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-P", "-m", "prefect", "--no-prompt", "deploy", "--all",
         "--prefect-file", str(path)],
        env={**os.environ, **quiet_settings(site.prefect_home), "PREFECT_API_URL": api_url},
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=_DEPLOY_SECONDS,
    )  # fmt: skip
    if done.returncode:
        raise ServerError(
            "Prefect did not take the deployment.",
            where=api_url,
            remedy=f"`prefect deploy --all` in {path.parent} says why.",
        )


def next_run_of(client: SyncPrefectClient, deployment_id: UUID) -> str:
    """Return when the server has planned the next nightly run; the proof that it plans any.

    Errors:
        ServerError: it plans none. Prefect 3.8 fails at that, in its log alone, where SQLAlchemy
            is 2.1 or newer.
    """
    wanted = {
        "deployments": {"id": {"any_": [str(deployment_id)]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": 200,
    }
    ends_at = time.monotonic() + _PLANNED_WITHIN_SECONDS
    while time.monotonic() < ends_at:
        found = client.request("POST", "/flow_runs/filter", json=wanted)
        planned = [run for run in found.raise_for_status().json() if run["auto_scheduled"]]
        if planned:
            return str(planned[0]["expected_start_time"])
        time.sleep(0.5)
    raise ServerError(
        "The server has the deployment, and plans no nightly run of it.",
        where=str(client.api_url),
        remedy="See the server's log. Run it from an environment of this version's "
        "requirements.lock: Prefect 3.8 cannot plan runs with SQLAlchemy 2.1.",
        next_run="Arrivals start runs all the same; nothing starts one by night.",
    )


def _announce(client: SyncPrefectClient, site: Site, receivers: dict[str, str]) -> list[str]:
    """Make the automations that tell of alerts equal to site.toml; return who is told."""
    for name in receivers:
        for found in client.read_automations_by_name(_automation(site, name)):
            client.delete_automation(found.id)
    told = {name: given for name, given in receivers.items() if given}
    for name, given in told.items():
        _tell(client, site, name, given)
    return list(told)


def _automation(site: Site, name: str) -> str:
    return f"dripwatch {site.site.id}: {name} on a changed alert"


def _tell(client: SyncPrefectClient, site: Site, name: str, given: str) -> None:
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    trigger = EventTrigger(
        expect={SIGNAL_CHANGED, FEED_QUIET},
        match={"prefect.resource.id": f"dripwatch.signal.{site.site.id}.*"},
        posture=Posture.Reactive,
        threshold=1,
        within=0,
    )
    action: Any = _action(f"dripwatch-{site.site.id}-{name}".replace("_", "-"), name, given)
    client.create_automation(
        AutomationCore(name=_automation(site, name), trigger=trigger, actions=[action])
    )


def _action(block_name: str, name: str, given: str) -> object:
    from prefect.blocks.notifications import SlackWebhook
    from prefect.blocks.webhook import Webhook
    from prefect.events.actions import CallWebhook, SendNotification

    if name == "webhook":
        hook = Webhook(url=given, headers={"Content-Type": "application/json"})
        return CallWebhook(
            block_document_id=_saved(hook, block_name), payload="{{ event.payload | tojson }}"
        )
    # Prefect's own block for e-mail is of one company; this one takes any address of Apprise's,
    # and every server has it (docs/decisions/106).
    return SendNotification(
        block_document_id=_saved(SlackWebhook(url=given), block_name),
        subject="{{ event.payload['subject'] }}",
        body="{{ event.payload['text'] }}",
    )


def _saved(block: Any, name: str) -> UUID:  # noqa: ANN401 - any of Prefect's blocks
    return UUID(str(block.save(name, overwrite=True)))
