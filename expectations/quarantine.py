"""What was not accepted and why: held batches, counts of quarantined rows, and their release.

Everything here names batches, checks, files by their hash, row numbers and keys: never a value.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pipelines.ingest.log import EventLog
    from pipelines.ingest.manifest import Manifest

State = Literal["held", "committed"]

#: Digits of a file's hash that are enough to find it among a site's deliveries.
PREFIX = 12


@dataclass(frozen=True)
class HeldBatch:
    """A batch that waits for somebody.

    Attributes:
        batch_id: its id; the beginning is enough for `release`.
        source: the source that delivered it.
        exported_at: when the source wrote the extract, aware, UTC.
        n_rows: records of the delivery.
        n_quarantined: of these, not acceptable.
        reasons: why it is held, one sentence each.
    """

    batch_id: str
    source: str
    exported_at: datetime
    n_rows: int
    n_quarantined: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class QuarantineCount:
    """Quarantined rows of one batch, event type and check; a row can fail several checks.

    Attributes:
        batch_id: the batch.
        state: whether the batch is held or committed.
        event_type: as which the rows were read; empty where it could not be told.
        check_id: the check, or why the row could not be read.
        n_rows: rows that failed it.
    """

    batch_id: str
    state: State
    event_type: str
    check_id: str
    n_rows: int


@dataclass(frozen=True)
class QuarantinedRow:
    """Which row it is, for whoever may open the delivered file.

    Attributes:
        event_type: as which it was read; empty where it could not be told.
        source_file_sha: first digits of the file's hash.
        source_row: ordinal of the record in the decompressed file, from 1, header not counted.
        source_part: ordinal of the part of a nested record, from 1; None for the whole record.
        record_key: keyed hash of the record's id, None where it has none.
        check_ids: what it failed.
    """

    event_type: str
    source_file_sha: str
    source_row: int
    source_part: int | None
    record_key: str | None
    check_ids: tuple[str, ...]

    @property
    def place(self) -> str:
        """Row, and part where it is one, as people are shown it: `12` or `12/2`."""
        part = "" if self.source_part is None else f"/{self.source_part}"
        return f"{self.source_row}{part}"


def held_batches(log: EventLog) -> list[HeldBatch]:
    """Return the held batches with their reasons, oldest export first.

    Errors:
        LogError: a batch is damaged.
    """
    return [
        HeldBatch(
            batch_id=one.batch_id,
            source=one.source,
            exported_at=one.exported_at,
            n_rows=one.n_rows,
            n_quarantined=one.fates.get("quarantined", 0),
            reasons=one.hold_reasons,
        )
        for one in log.held()
    ]


def quarantine_counts(log: EventLog) -> list[QuarantineCount]:
    """Return quarantined rows per batch, event type and check: held batches first.

    Errors:
        LogError: a batch is damaged.
    """
    found: list[QuarantineCount] = []
    for state, manifests in _states(log):
        for manifest in manifests:
            counted = Counter(
                (row.event_type, check_id)
                for row in quarantined_rows(log, manifest)
                for check_id in row.check_ids
            )
            found += [
                QuarantineCount(manifest.batch_id, state, event_type, check_id, n_rows)
                for (event_type, check_id), n_rows in sorted(counted.items())
            ]
    return found


def _states(log: EventLog) -> tuple[tuple[State, list[Manifest]], ...]:
    return (("held", log.held()), ("committed", log.committed()))


def quarantined_rows(log: EventLog, manifest: Manifest) -> list[QuarantinedRow]:
    """Return the identity of each quarantined row of a batch, by type, file and row.

    Errors:
        LogError: the batch is damaged.
    """
    if not manifest.quarantine.rows:
        return []
    # The columns with patient data are left behind here.
    names = [
        "event_type",
        "source_file_sha",
        "source_row",
        "source_part",
        "record_key",
        "check_ids",
    ]
    table = log.read_quarantine(manifest).select(names)
    rows = [
        QuarantinedRow(
            event_type=row["event_type"] or "",
            source_file_sha=row["source_file_sha"][:PREFIX],
            source_row=row["source_row"],
            source_part=row["source_part"],
            record_key=row["record_key"],
            check_ids=tuple(row["check_ids"] or ()),
        )
        for row in table.to_pylist()
    ]
    return sorted(
        rows,
        key=lambda r: (r.event_type, r.source_file_sha, r.source_row, r.source_part or 0),
    )


def release(log: EventLog, batch_id: str, *, released_at: datetime, note: str) -> Manifest:
    """Commit a held batch as it is: its rejected rows stay in quarantine.

    Errors:
        UnknownBatchError: no held batch, or several, begin like this.
        LogError: the held batch is damaged.
    """
    return log.release(batch_id, released_at=released_at, note=note)
