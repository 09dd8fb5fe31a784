"""Events of a Prefect server: their names, and sending one so that it is known to have arrived."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.server import Served, enter_quiet
from pipelines.base.site import Site

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

#: An extract lies whole in a folder of the site; it triggers the deployment.
ARRIVED = "dripwatch.extract.arrived"

#: A server writes events to its database in bundles, every five seconds where there are few.
STORED_WITHIN_SECONDS = 20.0


class EventLostError(Exception):
    """The server took an event and does not know it; sending it again is safe."""


def site_resource(site: Site) -> str:
    """Return the id of a site among the resources of a server."""
    return f"dripwatch.site.{site.site.id}"


@contextmanager
def client_of(site: Served, api_url: str) -> Iterator[SyncPrefectClient]:
    """Lend a client of a server, which keeps to itself and needs no profile."""
    enter_quiet(site)
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
        yield client


def send_event(
    site: Site,
    api_url: str,
    event_id: UUID,
    event: str,
    resource: Mapping[str, str],
    payload: Mapping[str, Any],
    *,
    wait: bool,
) -> None:
    """Send an event.

    Args:
        site: whose server.
        api_url: address of its API.
        event_id: the same in every attempt: the server takes an event once.
        event: its name.
        resource: what it is about; has `prefect.resource.id`.
        payload: what there is to tell, JSON-ready, without patient data.
        wait: until the server has written it down; before that a crash of the server loses it.

    Errors:
        EventLostError: it was taken, and is not there.
        Exception: whatever Prefect's client raises where the server does not answer.
    """
    told = {
        "id": str(event_id),
        "occurred": datetime.now(UTC).isoformat(),
        "event": event,
        "resource": dict(resource),
        "payload": dict(payload),
    }
    with client_of(site, api_url) as client:
        client.request("POST", "/events", json=[told]).raise_for_status()
        if wait:
            _wait_until_stored(client, event_id)


def _wait_until_stored(client: SyncPrefectClient, event_id: UUID) -> None:
    wanted = {"filter": {"id": {"id": [str(event_id)]}}, "limit": 1}
    ends_at = time.monotonic() + STORED_WITHIN_SECONDS
    while True:
        found = client.request("POST", "/events/filter", json=wanted)
        found.raise_for_status()
        if found.json()["events"]:
            return
        if time.monotonic() >= ends_at:
            raise EventLostError
        time.sleep(0.25)
