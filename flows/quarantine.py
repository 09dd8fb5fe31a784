"""`dripwatch quarantine`: what is held and what was rejected, and letting a batch go."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flows.console import plural
from flows.lock import site_lock
from flows.reply import Reply
from pipelines.base.site import load_site

if TYPE_CHECKING:
    from pipelines.ingest.log import EventLog


def list_held(config: Path, answer: Reply, *, with_rows: bool = False) -> None:
    """Say which batches are held and why, and which checks quarantined how many rows.

    Args:
        config: the site's site.toml.
        answer: gets the lists.
        with_rows: name each row too, by its file's hash and its number; never what it says.
    """
    from expectations.quarantine import held_batches, quarantine_counts
    from pipelines.ingest.log import EventLog

    log = EventLog(load_site(config).log_root)
    held, counts = held_batches(log), quarantine_counts(log)
    answer.result = {
        "held": [asdict(one) for one in held],
        "quarantined": [asdict(one) for one in counts],
    }
    if with_rows:
        _list_rows(log, answer)
    is_held = plural(len(held), "batch is", "batches are")
    answer.message = f"{is_held} held." if held else "No batch is held."
    rows = [
        [one.batch_id[:12], one.state, one.event_type or "?", one.check_id, f"{one.n_rows:,}"]
        for one in counts
    ]
    if rows:
        answer.console.table("", ["batch", "state", "event type", "check", ">rows"], rows)
    for one in held:
        answer.console.say(
            f"{one.batch_id}\n  {one.source}, exported {one.exported_at:%Y-%m-%d %H:%M} UTC, "
            f"{one.n_quarantined:,} of {one.n_rows:,} rows quarantined"
        )
        for reason in one.reasons:
            answer.console.say(f"  - {reason}")
    answer.console.say(answer.message)


def _list_rows(log: EventLog, answer: Reply) -> None:
    from expectations.quarantine import quarantined_rows

    found = [
        (one, row) for one in (*log.held(), *log.in_force()) for row in quarantined_rows(log, one)
    ]
    assert answer.result is not None  # noqa: S101 - set by the caller
    answer.result["rows"] = [{"batch_id": one.batch_id, **asdict(row)} for one, row in found]
    answer.console.table(
        "",
        ["batch", "file sha256", ">row", "event type", "checks"],
        [
            [
                one.batch_id[:8],
                row.source_file_sha,
                row.place,
                row.event_type or "?",
                ", ".join(row.check_ids),
            ]
            for one, row in found
        ],
    )


def release_held(config: Path, start: str, note: str, answer: Reply) -> None:
    """Commit a held batch; the next refresh applies it.

    Errors:
        UnknownBatchError: no held batch, or several, begin like this.
        LockedError: a run is at work.
    """
    from expectations.quarantine import release
    from pipelines.ingest.log import EventLog

    site = load_site(config)
    with site_lock(site):
        manifest = release(EventLog(site.log_root), start, released_at=datetime.now(UTC), note=note)
    answer.result = {"batch_id": manifest.batch_id}
    answer.message = f"Released {manifest.batch_id}. The next refresh applies it."
    answer.console.say(answer.message)
