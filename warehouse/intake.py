"""Applying one committed batch to the site store, so that the order of batches never matters.

The store keeps, per record, the greatest (version, content hash); where several batches tell the
same version with the same content, the provenance of the earliest export stands. Both are maxima
of a total order, hence the same whatever came first. What a nested record's newer version has left
behind follows from maxima too (`warehouse.resources`), and who counts as whom from what then stands
(`warehouse.merges`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa

import schemas
from pipelines.base.duck import quote
from warehouse import merges, resources
from warehouse.batch import (
    AppliedBatch,
    Batch,
    Fates,
    Reconciled,
    changed_by_hand,
    keep_facts,
    keep_files,
    keep_quarantined,
    naive,
)
from warehouse.guard import one_row
from warehouse.layout import STORE_COLUMNS, columns_of


@dataclass(frozen=True)
class _Verdict:
    n_accepted: int
    n_duplicate: int
    n_superseded: int
    n_tied: int


def apply_batch(con: duckdb.DuckDBPyConnection, batch: Batch, run_id: str | None) -> AppliedBatch:
    """Merge a batch into the store in use; the caller holds the transaction.

    Errors:
        LogError: the batch holds a record twice, or one without a key.
        ReconciliationError: rows read are not rows accounted for.
    """
    resources.begin(con)
    verdicts = {
        event_type: _merge(con, batch, event_type, batch.read_events(event_type))
        for event_type in batch.event_types
        if event_type != resources.WITHDRAWN
    }
    if resources.WITHDRAWN in batch.event_types:
        _withdraw(con, batch)
    quarantined = keep_quarantined(con, batch, run_id)
    resources.settle(con)
    merges.settle(con)
    rows = _reconcile(batch, verdicts, quarantined)
    keep_facts(con, batch, rows, run_id)
    keep_files(con, batch)
    return AppliedBatch(batch.batch_id, batch.source, rows)


# Null never wins: a row without version or content hash is older than any other.
_NEWER = """
    coalesce(i.version, -9223372036854775808) > coalesce(e.version, -9223372036854775808)
    OR (i.version IS NOT DISTINCT FROM e.version
        AND coalesce(i.content_hash, '') > coalesce(e.content_hash, ''))
"""

_VERDICT = """
CREATE OR REPLACE TEMP TABLE verdict AS
WITH judged AS (
    SELECT
        i.record_key,
        e.rowid AS known_row,
        e.last_seen_at,
        CASE
            WHEN e.record_key IS NULL THEN 'accepted'
            WHEN i.version IS NOT DISTINCT FROM e.version
                AND i.content_hash IS NOT DISTINCT FROM e.content_hash THEN 'duplicate'
            WHEN {newer} THEN 'accepted'
            ELSE 'superseded'
        END AS fate,
        e.record_key IS NOT NULL
            AND i.version IS NOT DISTINCT FROM e.version
            AND i.content_hash IS DISTINCT FROM e.content_hash AS is_tied,
        ($exported_at::TIMESTAMP, i.batch_id, i.source_file_sha, i.source_row)
            < (e.delivered_at, e.batch_id, e.source_file_sha, e.source_row) AS is_earlier
    FROM temp.incoming AS i
    LEFT JOIN event.{table} AS e ON e.record_key = i.record_key
)
SELECT *, fate = 'accepted' OR (fate = 'duplicate' AND is_earlier) AS replaces FROM judged
"""


def _merge(
    con: duckdb.DuckDBPyConnection,
    batch: Batch,
    event_type: str,
    parts: Iterable[pa.Table],
) -> _Verdict:
    try:
        _stage(con, event_type, parts)
        _check_rows(con, batch, event_type)
        resources.touch_events(con, event_type)
        table, columns = quote(event_type), columns_of(event_type)
        at = {"exported_at": naive(batch.exported_at)}
        con.execute(_VERDICT.format(newer=_NEWER, table=table), at)
        con.execute(
            f"DELETE FROM event.{table} WHERE rowid IN"
            " (SELECT known_row FROM verdict WHERE replaces AND known_row IS NOT NULL)"
        )
        con.execute(
            f"""UPDATE event.{table} AS e SET last_seen_at = $exported_at FROM verdict AS v
            WHERE e.rowid = v.known_row AND NOT v.replaces AND e.last_seen_at < $exported_at""",
            at,
        )
        con.execute(
            f"""INSERT INTO event.{table} BY NAME
            SELECT {columns}, greatest(v.last_seen_at, $exported_at::TIMESTAMP) AS last_seen_at,
                   $exported_at::TIMESTAMP AS delivered_at, false AS is_outdated
            FROM temp.incoming AS i
            JOIN (SELECT record_key AS key, last_seen_at FROM verdict WHERE replaces) AS v
                ON v.key = i.record_key""",
            at,
        )
        counts = one_row(
            con.execute(
                """SELECT count(*) FILTER (fate = 'accepted'),
                          count(*) FILTER (fate = 'duplicate'),
                          count(*) FILTER (fate = 'superseded'),
                          count(*) FILTER (is_tied)
                   FROM verdict"""
            )
        )
        con.execute("DROP TABLE temp.verdict")
    finally:
        con.execute("DROP TABLE IF EXISTS temp.incoming")
    return _Verdict(*counts)


def _withdraw(con: duckdb.DuckDBPyConnection, batch: Batch) -> None:
    """Note what a batch withdraws; `ledger.resource` keeps all that matters of it."""
    try:
        _stage(con, resources.WITHDRAWN, batch.read_events(resources.WITHDRAWN))
        _check_rows(con, batch, resources.WITHDRAWN)
        resources.touch_events(con, resources.WITHDRAWN)
    finally:
        con.execute("DROP TABLE IF EXISTS temp.incoming")


def _stage(con: duckdb.DuckDBPyConnection, event_type: str, parts: Iterable[pa.Table]) -> None:
    """Fill temp table `incoming`; unlike an Arrow table of the whole, it can spill to disk."""
    con.execute(f"CREATE OR REPLACE TEMP TABLE incoming AS FROM event.{quote(event_type)} LIMIT 0")
    for name in STORE_COLUMNS:
        con.execute(f"ALTER TABLE temp.incoming DROP COLUMN {name}")
    for part in parts:
        con.register("part", part)
        con.execute("INSERT INTO temp.incoming BY NAME FROM part")
        con.unregister("part")


_OF_BATCH = """
    site_id = $site AND source = $source AND event_type = $event_type AND batch_id = $batch
"""


def _check_rows(con: duckdb.DuckDBPyConnection, batch: Batch, event_type: str) -> None:
    """Refuse a file that is as the manifest says and holds what a batch's file never does."""
    *counts, n_other = one_row(
        con.execute(
            "SELECT count(*), count(record_key), count(DISTINCT record_key), "
            f"count(*) FILTER (coalesce(NOT ({_OF_BATCH}), true)) FROM temp.incoming",
            {
                "site": batch.site_id,
                "source": batch.source,
                "event_type": event_type,
                "batch": batch.batch_id,
            },
        )
    )
    if len(set(counts)) > 1:
        told = f"{event_type}: {counts[0]} events have {counts[2]} different record keys."
        raise changed_by_hand(told, batch.batch_id)
    if n_other:
        told = f"{event_type}: {n_other} of {counts[0]} events are not of this batch."
        raise changed_by_hand(told, batch.batch_id)


def _reconcile(
    batch: Batch, verdicts: Mapping[str, _Verdict], quarantined: Mapping[str, int]
) -> tuple[Reconciled, ...]:
    clinical = set(verdicts) & set(schemas.CLINICAL_TYPES)
    rows = []
    for event_type in sorted(clinical | set(batch.fates) | set(quarantined)):
        fates = batch.fates.get(event_type, Fates())
        verdict = verdicts.get(event_type, _Verdict(0, 0, 0, 0))
        # The counts come from three places (manifest, Avro files, quarantine file): a sum that
        # holds says that all three tell the same story.
        row = Reconciled(
            event_type,
            n_read=fates.n_read,
            n_accepted=verdict.n_accepted,
            n_duplicate=fates.n_duplicate + verdict.n_duplicate,
            n_superseded=fates.n_superseded + verdict.n_superseded,
            n_quarantined=quarantined.get(event_type, 0),
            n_out_of_scope=fates.n_out_of_scope,
            n_reference=fates.n_reference,
            n_tied=verdict.n_tied,
        )
        row.check(batch.batch_id)
        rows.append(row)
    return tuple(rows)
