"""The event log as it was: the batches that had been exported before an instant. For reading."""

from __future__ import annotations

from datetime import datetime

from pipelines.ingest.log import EventLog
from pipelines.ingest.manifest import Manifest
from pipelines.ingest.recorded import Recorded


class PastLog(EventLog):
    """A log that ends where its last export does; what is committed later stays outside.

    The list of batches is fixed when this is made, so that a refresh that commits meanwhile
    changes nothing for who reads here. Nothing may be written through it.

    Args:
        log: the site's log.
        before: aware; batches exported at or after it are left out. None: none is.
    """

    def __init__(self, log: EventLog, before: datetime | None = None) -> None:
        super().__init__(log.root)
        self.recorded = Recorded(log.root, before, is_past=True)
        self._committed = [one for one in log.committed() if _is_before(one, before)]
        self._held = [one for one in log.held() if _is_before(one, before)]

    def committed(self) -> list[Manifest]:
        """Return the batches that were committed, oldest export first."""
        return list(self._committed)

    def held(self) -> list[Manifest]:
        """Return the batches that are held, oldest export first."""
        return list(self._held)


def _is_before(batch: Manifest, before: datetime | None) -> bool:
    return before is None or batch.exported_at < before
