"""`dripwatch quarantine`: batches that are held, and letting one go."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from flows.lock import site_lock
from flows.reply import Reply
from pipelines.base.site import load_site


def list_held(config: Path, answer: Reply) -> None:
    """Say which batches are held, each with its reasons; no row is shown."""
    from pipelines.ingest.log import EventLog

    held = EventLog(load_site(config).log_root).held()
    answer.result = {
        "held": [
            {
                "batch_id": one.batch_id,
                "source": one.source,
                "exported_at": one.exported_at.isoformat(),
                "n_rows": one.n_rows,
                "n_quarantined": one.fates.get("quarantined", 0),
                "reasons": list(one.hold_reasons),
            }
            for one in held
        ]
    }
    answer.message = f"{len(held)} batches are held." if held else "No batch is held."
    for one in held:
        answer.console.say(
            f"{one.batch_id}\n  {one.source}, exported {one.exported_at:%Y-%m-%d %H:%M} UTC, "
            f"{one.fates.get('quarantined', 0):,} of {one.n_rows:,} rows quarantined"
        )
        for reason in one.hold_reasons:
            answer.console.say(f"  - {reason}")
    answer.console.say(answer.message)


def release_held(config: Path, start: str, answer: Reply) -> None:
    """Commit a held batch; the next refresh applies it.

    Errors:
        UnknownBatchError: no held batch, or several, begin like this.
        LockedError: a run is at work.
    """
    from pipelines.ingest.log import EventLog

    site = load_site(config)
    with site_lock(site):
        manifest = EventLog(site.log_root).release(start, released_at=datetime.now(UTC))
    answer.result = {"batch_id": manifest.batch_id}
    answer.message = f"Released {manifest.batch_id}. The next refresh applies it."
    answer.console.say(answer.message)
