"""What a new generation of the log can have differently: renewed keys, or nothing but its seal."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace

import pyarrow as pa

from pipelines.base import duck
from pipelines.base.sitekey import SiteKey
from pipelines.ingest.manifest import Manifest
from pipelines.ingest.renewal import holds_keys, renewed_events, renewed_quarantine


class Nothing:
    """The log as it is: its files alone are written anew, as the site now says."""

    def events(self, _event_type: str, events: pa.Table) -> pa.Table:
        """Return the events."""
        return events

    def quarantine(self, rows: pa.Table) -> pa.Table:
        """Return the rows."""
        return rows

    def manifest(self, _old: Manifest, new: Manifest) -> Manifest:
        """Return the manifest."""
        return new

    def marks(self, old: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Return the marks."""
        return list(old)


class Renewal:
    """Every key of the log goes through the secrets that it has not been through.

    Args:
        key: the site's whole key.
        site_id: part of the value that tells keys apart.
        since: how often the key had been renewed when the log was written.
    """

    def __init__(self, key: SiteKey, site_id: str, since: int) -> None:
        self._key, self._since = key, since
        self._check = key.check_value(site_id)

    def events(self, event_type: str, events: pa.Table) -> pa.Table:
        """Return events with their keys renewed."""
        if not holds_keys(event_type):
            return events
        with closing(duck.connect()) as con:
            self._key.install_renewal(con, self._since)
            return renewed_events(con, event_type, events)

    def quarantine(self, rows: pa.Table) -> pa.Table:
        """Return rows that were not accepted, with their keys renewed."""
        with closing(duck.connect()) as con:
            self._key.install_renewal(con, self._since)
            return renewed_quarantine(con, rows)

    def manifest(self, old: Manifest, new: Manifest) -> Manifest:
        """Return the manifest with the value that tells the new key."""
        return replace(new, key_check=self._check if old.key_check else "")

    def marks(self, old: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Return the marks of forgotten patients, renewed as keys are."""
        return [(self._key.renew(mark, self._since), number) for mark, number in old]
