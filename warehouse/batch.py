"""A committed batch as the store sees it, and what the store keeps about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime
from functools import partial

import duckdb
import pyarrow as pa

from pipelines.base.duck import insert
from pipelines.base.errors import LogError, ReconciliationError
from pipelines.ingest.accounting import FATES, UNKNOWN
from pipelines.ingest.facts import CheckResult, Drift
from pipelines.ingest.log import EventLog
from pipelines.ingest.manifest import InputFile, Manifest
from warehouse import resources
from warehouse.guard import one_row


@dataclass(frozen=True)
class Fates:
    """What became of rows inside a batch, before the store saw it."""

    n_read: int = 0
    n_accepted: int = 0
    n_duplicate: int = 0
    n_superseded: int = 0
    n_quarantined: int = 0
    n_out_of_scope: int = 0
    n_reference: int = 0


@dataclass(frozen=True)
class Batch:
    """A committed batch as the store reads it.

    Attributes:
        rows: counts of input rows, a nested record under the best fate of its events.
        fates: per event type of the delivery, counts of events and of rows that made none.
        event_types: event types that the batch has a file of.
        read_events: yields the accepted events of a type in canonical columns, in parts.
        read_quarantined: returns event_type, record_key, source_file_sha, source_row, source_part,
            check_ids of the rows that were not accepted, and event_json, of which only
            resource_key and version are looked at.
        files: what was read, under the names that the hospital gave them.
        drift: what it told differently from the days before.
    """

    batch_id: str
    site_id: str
    source: str
    kind: str
    exported_at: datetime
    mapping_hash: str
    scope_hash: str
    checks_hash: str
    parser_version: str
    n_files: int
    rows: Fates
    fates: Mapping[str, Fates]
    checks: tuple[CheckResult, ...]
    event_types: tuple[str, ...]
    read_events: Callable[[str], Iterable[pa.Table]]
    read_quarantined: Callable[[], pa.Table]
    files: tuple[InputFile, ...] = ()
    drift: tuple[Drift, ...] = ()


def committed_batch(log: EventLog, manifest: Manifest) -> Batch:
    """Return a committed batch of the event log; its files are read when they are asked for."""
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
        rows=_fates(manifest.fates),
        fates={name: _fates(counts) for name, counts in manifest.fates_by_type.items()},
        checks=manifest.checks,
        event_types=tuple(manifest.types),
        read_events=partial(log.read_parts, manifest),
        read_quarantined=partial(log.read_quarantine, manifest),
        files=manifest.files,
        drift=manifest.drift,
    )


def _fates(counts: Mapping[str, int]) -> Fates:
    # Manifests of earlier versions lack the fates that these did not know.
    told = {f"n_{fate}": counts.get(fate, 0) for fate in FATES}
    return Fates(n_read=sum(counts.values()), **told)


@dataclass(frozen=True)
class Reconciled:
    """Every row of one event type of a batch, accounted for after the store has judged it."""

    event_type: str
    n_read: int
    n_accepted: int
    n_duplicate: int
    n_superseded: int
    n_quarantined: int
    n_out_of_scope: int
    n_reference: int = 0
    n_tied: int = 0

    def check(self, batch_id: str) -> None:
        """Raise ReconciliationError unless the fates add up to the rows read."""
        told = (
            self.n_accepted
            + self.n_duplicate
            + self.n_superseded
            + self.n_quarantined
            + self.n_out_of_scope
            + self.n_reference
        )
        if told != self.n_read:
            raise ReconciliationError(
                f"{self.event_type}: {self.n_read} rows were read, {told} are accounted for.",
                where=f"batch {batch_id}",
                remedy="Keep the log folder and report it.",
                next_run="The next run tries the batch again.",
            )


def changed_by_hand(what: str, batch_id: str) -> LogError:
    """Return the error of rows whose file is as its manifest says, and which nobody has written."""
    return LogError(
        what,
        where=f"batch {batch_id}",
        remedy="Restore the batch from backup; if it is as it was written, report it.",
        next_run="The next run stops at the same batch.",
    )


@dataclass(frozen=True)
class AppliedBatch:
    """What a batch brought into the store, per event type."""

    batch_id: str
    source: str
    rows: tuple[Reconciled, ...] = field(default=())

    @property
    def n_accepted(self) -> int:
        """Rows that became the current version of a record."""
        return sum(row.n_accepted for row in self.rows)


def naive(instant: datetime) -> datetime:
    """Return an aware instant as the naive UTC that DuckDB columns hold."""
    return instant.astimezone(UTC).replace(tzinfo=None)


def keep_quarantined(
    con: duckdb.DuckDBPyConnection, batch: Batch, run_id: str | None
) -> dict[str, int]:
    """List the rows that were not accepted (keys and check names only); return counts per type."""
    con.register("quarantined", batch.read_quarantined())
    try:
        odd = one_row(
            con.execute("SELECT count(*) FROM quarantined WHERE NOT json_valid(event_json)")
        )
        if odd[0]:
            raise changed_by_hand(f"{odd[0]} rows of the quarantine are no JSON.", batch.batch_id)
        con.execute(
            """INSERT INTO quality.quarantine BY NAME
            SELECT $site AS site_id, $source AS source, $batch AS batch_id, event_type, record_key,
                   source_file_sha, source_row, source_part, list_sort(check_ids) AS check_ids,
                   $run AS run_id
            FROM quarantined""",
            {
                "site": batch.site_id,
                "source": batch.source,
                "batch": batch.batch_id,
                "run": run_id,
            },
        )
        resources.touch_quarantined(con, naive(batch.exported_at))
        counts = con.execute(
            "SELECT coalesce(event_type, ?), count(*) FROM quarantined GROUP BY ALL",
            [UNKNOWN],
        ).fetchall()
    finally:
        con.unregister("quarantined")
    return dict(counts)


#: Names that the hospital gave its files may hold anything: they stay in the restricted store.
FILES = """
CREATE TABLE ledger.file (
    batch_id VARCHAR, source VARCHAR, source_file_sha VARCHAR, file_name VARCHAR, n_rows BIGINT);
"""


def keep_files(con: duckdb.DuckDBPyConnection, batch: Batch) -> None:
    """Keep the name and the hash of each file of a batch, so that a row can be found again."""
    insert(
        con,
        "ledger.file",
        ((batch.batch_id, batch.source, f.sha256, f.name, f.n_rows) for f in batch.files),
    )


def keep_facts(
    con: duckdb.DuckDBPyConnection,
    batch: Batch,
    rows: tuple[Reconciled, ...],
    run_id: str | None,
) -> None:
    """Write the batch's rows of `ops.batch` and of `quality`: reconciliation, checks, drift."""
    con.execute(
        "INSERT INTO ops.batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            batch.site_id,
            batch.batch_id,
            batch.source,
            batch.kind,
            naive(batch.exported_at),
            batch.mapping_hash,
            batch.scope_hash,
            batch.checks_hash,
            batch.parser_version,
            batch.n_files,
            batch.rows.n_read,
            batch.rows.n_accepted,
            batch.rows.n_quarantined,
            batch.rows.n_superseded,
            batch.rows.n_duplicate,
            batch.rows.n_out_of_scope,
            batch.rows.n_reference,
            run_id,
        ],
    )
    head = [batch.site_id, batch.source, batch.batch_id]
    insert(
        con,
        "quality.reconciliation",
        (
            (
                *head,
                row.event_type,
                row.n_read,
                row.n_accepted,
                row.n_duplicate,
                row.n_superseded,
                row.n_quarantined,
                row.n_out_of_scope,
                row.n_reference,
                row.n_tied,
                run_id,
            )
            for row in rows
        ),
    )
    insert(
        con,
        "quality.check_result",
        (
            (
                *head,
                check.event_type,
                check.check_id,
                check.column,
                check.severity,
                check.kahn_category,
                check.n_rows,
                check.n_failed_sql,
                check.n_failed_gx,
                check.agrees,
                run_id,
            )
            for check in batch.checks
        ),
    )
    insert(
        con,
        "quality.drift",
        ((*head, *astuple(drift), run_id) for drift in batch.drift),
    )
