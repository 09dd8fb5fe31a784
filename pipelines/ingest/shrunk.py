"""Snapshots that have lost records: what they no longer tell would be withdrawn from the store."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.ingest.manifest import Manifest


def shrunk(
    manifest: Manifest, in_force: Sequence[Manifest], *, drop: float, min_rows: int
) -> tuple[str, ...]:
    """Return why a snapshot must be held: types of which it tells far less than the one before.

    Args:
        manifest: the batch to judge; a delta never shrinks.
        in_force: the batches that count, in any order.
        drop: share of a type's rows that may go missing from one snapshot to the next.
        min_rows: types with fewer rows than this in the earlier snapshot are not judged.
    """
    if manifest.kind != "snapshot":
        return ()
    reasons = []
    for event_type in sorted(manifest.data_through):
        earlier = _latest_before(manifest, in_force, event_type)
        if earlier is None:
            continue
        before, now = _rows(earlier, event_type), _rows(manifest, event_type)
        if before and before >= min_rows and (now == 0 or now < (1 - drop) * before):
            reasons.append(
                f"snapshot_shrunk: {event_type} has {now:,} accepted rows, the snapshot before "
                f"had {before:,}; what a snapshot no longer tells is withdrawn."
            )
    return tuple(reasons)


def _latest_before(
    manifest: Manifest, in_force: Sequence[Manifest], event_type: str
) -> Manifest | None:
    earlier = [
        one
        for one in in_force
        if one.source == manifest.source
        and one.kind == "snapshot"
        and event_type in one.data_through
        and one.exported_at < manifest.exported_at
    ]
    return max(earlier, key=lambda one: (one.exported_at, one.batch_id), default=None)


def _rows(manifest: Manifest, event_type: str) -> int:
    return manifest.types[event_type].rows if event_type in manifest.types else 0
