"""A batch of the log as the site store reads it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pipelines.ingest.log import EventLog
from pipelines.ingest.manifest import Manifest
from warehouse.batch import Batch, Fates

if TYPE_CHECKING:
    import pyarrow as pa


def batch_of(log: EventLog, manifest: Manifest) -> Batch:
    """Return a committed batch for the store; its files are read when the store asks for them."""
    return Batch(
        batch_id=manifest.batch_id,
        site_id=manifest.site_id,
        source=manifest.source,
        kind=manifest.kind,
        exported_at=manifest.exported_at,
        mapping_hash=manifest.mapping_hash,
        scope_hash=manifest.scope_hash,
        checks_hash=manifest.checks_hash,
        parser_version=manifest.parser_version,
        n_files=len(manifest.files),
        fates={
            event_type: Fates(
                n_read=sum(counts.values()),
                n_accepted=counts["accepted"],
                n_duplicate=counts["duplicate"],
                n_superseded=counts["superseded"],
                n_quarantined=counts["quarantined"],
                n_out_of_scope=counts["out_of_scope"],
            )
            for event_type, counts in manifest.fates_by_type.items()
        },
        checks=manifest.checks,
        event_types=tuple(manifest.types),
        read_events=partial(log.read_parts, manifest),
        read_quarantined=partial(_quarantined, log, manifest),
    )


def _quarantined(log: EventLog, manifest: Manifest) -> pa.Table:
    names = ["event_type", "record_key", "source_file_sha", "source_row", "check_ids"]
    return log.read_quarantine(manifest).select(names)
