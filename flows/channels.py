"""The channels that messages of the outbox go out by, as site.toml configures them.

Where a Prefect server is configured it is told, and its automations tell webhook and e-mail
(`dripwatch deploy`); without one they are told from here.
"""

from __future__ import annotations

import json
import urllib.request
import warnings
from collections.abc import Mapping
from functools import partial
from uuid import UUID

from flows.addresses import address
from flows.announce import Channel
from flows.events import send_event
from flows.server import configured_url
from pipelines.base.site import Site
from warehouse.outbox import Message

PREFECT, WEBHOOK, MAIL = "prefect", "webhook", "mail"
TIMEOUT_SECONDS = 15.0


class NotTakenError(Exception):
    """A receiver did not take a message."""


def channels_of(site: Site) -> Mapping[str, Channel]:
    """Return the site's channels by name; none where nobody is to be told."""
    if api_url := configured_url(site):
        return {PREFECT: partial(_to_server, site, api_url)}
    direct = {WEBHOOK: _to_webhook, MAIL: _to_mail}
    return {
        name: partial(send, site) for name, send in direct.items() if getattr(site.announce, name)
    }


def _to_server(site: Site, api_url: str, message: Message) -> None:
    """Send a message as an event; its id follows from the key, so the server takes it once."""
    told = json.loads(message.body)
    name = str(told["alert_key"]).replace("/", ".")
    resource = {
        "prefect.resource.id": f"dripwatch.signal.{site.site.id}.{name}",
        "prefect.resource.name": f"{site.site.id}: {told['alert_key']}",
        "dripwatch.state": str(told["state"]),
    }
    send_event(site, api_url, UUID(message.key), told["event"], resource, told, wait=True)


def _to_webhook(site: Site, message: Message) -> None:
    request = urllib.request.Request(  # noqa: S310 - the address is the site's own setting
        address(site, "webhook"),
        data=message.body.encode(),
        headers={"Content-Type": "application/json", "Idempotency-Key": message.key},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310 - as above
        pass


def _to_mail(site: Site, message: Message) -> None:
    """Send an e-mail.

    Errors:
        NotTakenError: Apprise could not send it; it does not say why.
    """
    told = json.loads(message.body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tries modules that Python is about to drop
        import apprise

        asset = apprise.AppriseAsset(app_id="Dripwatch", app_desc="Dripwatch")
        sender = apprise.Apprise(asset=asset)
        is_known = sender.add(address(site, "mail"))
    text = f"{told['text']}\n\nMessage {message.key}, run {message.run_id}."
    if not (is_known and sender.notify(title=message.subject, body=text, body_format="text")):
        raise NotTakenError
