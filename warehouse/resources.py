"""Nested records in the store: which of their events a newer version of the record has left behind.

A resource can be several events, of several types. Its versions replace one another as a whole: an
event that a newer version no longer has (a component gone, a laboratory result that became a vital
sign) has no row that says so, and is found by comparing it with what is known of its resource.
Everything here is a maximum over batches, so that the order of arrival cannot matter.
"""

from __future__ import annotations

from datetime import datetime

import duckdb

import schemas
from pipelines.base.duck import quote

WITHDRAWN = "RecordWithdrawn"

#: What is known of each resource, over all batches, and in which versions its records were wrong.
#: A flat row stands under its record's key, once a newer version of it was withdrawn.
TABLES = """
CREATE TABLE ledger.resource (
    resource_key VARCHAR, event_version BIGINT, left_version BIGINT, deleted_at TIMESTAMP,
    quarantined_at TIMESTAMP);
CREATE TABLE ledger.told_wrongly (resource_key VARCHAR, record_key VARCHAR, version BIGINT);
"""

_TOUCHED = """
CREATE OR REPLACE TEMP TABLE touched (
    resource_key VARCHAR, version BIGINT, left_version BIGINT, deleted_at TIMESTAMP,
    quarantined_at TIMESTAMP)
"""

_TOLD = """
    SELECT resource_key, min(version) AS least_version, max(version) AS event_version,
           max(left_version) AS left_version, max(deleted_at) AS deleted_at,
           max(quarantined_at) AS quarantined_at
    FROM temp.touched GROUP BY resource_key
"""

# A resource that is told for the first time, or again as it was, in one version and with nothing
# withdrawn or wrong, leaves no event behind: that is nearly every one, and costs no update.
_MOVED = f"""
CREATE OR REPLACE TEMP TABLE moved AS
SELECT t.resource_key,
       greatest(t.event_version, r.event_version) AS event_version,
       greatest(t.left_version, r.left_version) AS left_version,
       greatest(t.deleted_at, r.deleted_at) AS deleted_at,
       greatest(t.quarantined_at, r.quarantined_at) AS quarantined_at
FROM ({_TOLD}) AS t LEFT JOIN ledger.resource AS r ON r.resource_key = t.resource_key
WHERE t.least_version IS DISTINCT FROM t.event_version
   OR (r.resource_key IS NOT NULL AND r.event_version IS DISTINCT FROM t.event_version)
   OR coalesce(t.left_version, r.left_version) IS NOT NULL
   OR coalesce(t.deleted_at, r.deleted_at) IS NOT NULL
   OR coalesce(t.quarantined_at, r.quarantined_at) IS NOT NULL
"""

_KEEP = f"""
INSERT INTO ledger.resource FROM temp.moved;
INSERT INTO ledger.resource BY NAME
SELECT resource_key, event_version FROM ({_TOLD}) AS t
ANTI JOIN ledger.resource AS r ON r.resource_key = t.resource_key
"""

# A deletion carries no version, only its time; where versions are times, the two are one scale.
_STAMP = """
UPDATE event.{table} AS e
SET is_outdated = s.is_outdated, last_seen_at = s.last_seen_at
FROM (
    SELECT e.rowid AS place,
           coalesce(greatest(e.version, w.version) < m.event_version, false)
               OR coalesce(e.version < m.left_version, false)
               OR coalesce(e.recorded_at <= m.deleted_at, m.deleted_at IS NOT NULL) AS is_outdated,
           greatest(e.last_seen_at, m.quarantined_at) AS last_seen_at
    FROM event.{table} AS e
    JOIN temp.moved AS m ON {same}
    LEFT JOIN ledger.told_wrongly AS w
        ON w.resource_key = e.resource_key AND w.record_key = e.record_key
) AS s
WHERE e.rowid = s.place
  AND (e.is_outdated, e.last_seen_at) IS DISTINCT FROM (s.is_outdated, s.last_seen_at)
"""

# Apart: a flat source tells no resource and FHIR always one, so that one of the two reads nothing.
_SAME = (
    "m.resource_key = e.resource_key",
    "m.resource_key = e.record_key AND e.resource_key IS NULL",
)


def begin(con: duckdb.DuckDBPyConnection) -> None:
    """Prepare for a batch: temp table `touched` collects what it says of resources."""
    con.execute(_TOUCHED)


def touch_events(con: duckdb.DuckDBPyConnection, event_type: str) -> None:
    """Note the resources of a batch's events, or withdrawals, that stand in `temp.incoming`.

    A flat row that is an event of its own is known by its record's key, and only where a newer
    version of it was withdrawn: nearly none is, so that flat sources pay a look-up and no more.
    """
    told = "version, NULL, NULL"
    if event_type == WITHDRAWN:
        deleted = "reason = 'deleted'"
        told = (
            f"NULL, CASE WHEN NOT {deleted} THEN version END, CASE WHEN {deleted} "
            "THEN recorded_at END"
        )
    con.execute(
        f"INSERT INTO temp.touched SELECT resource_key, {told}, NULL FROM temp.incoming "
        "WHERE resource_key IS NOT NULL"
    )
    if event_type in schemas.CLINICAL_TYPES:
        con.execute(
            f"INSERT INTO temp.touched SELECT record_key, {told}, NULL FROM temp.incoming WHERE "
            "resource_key IS NULL AND record_key IN (SELECT resource_key FROM ledger.resource)"
        )


def touch_quarantined(con: duckdb.DuckDBPyConnection, exported_at: datetime) -> None:
    """Note the resources of a batch's rejected rows, registered as `quarantined`.

    A rejected event names its resource; a resource that made no event stands in the quarantine
    under its own key, where it has one.

    Args:
        con: the store in use.
        exported_at: when the batch was exported, naive UTC.
    """
    con.execute(
        """CREATE OR REPLACE TEMP TABLE wrong AS
        SELECT coalesce(json_extract_string(event_json, '$.resource_key'),
                   CASE WHEN event_json IS NULL THEN record_key END) AS resource_key,
               record_key,
               TRY_CAST(json_extract_string(event_json, '$.version') AS BIGINT) AS version
        FROM quarantined"""
    )
    con.execute("DELETE FROM temp.wrong WHERE resource_key IS NULL")
    con.execute(
        "INSERT INTO temp.touched SELECT DISTINCT resource_key, NULL::BIGINT, NULL::BIGINT, "
        "NULL::TIMESTAMP, $at::TIMESTAMP FROM temp.wrong",
        {"at": exported_at},
    )
    con.execute(
        """CREATE OR REPLACE TEMP TABLE known_wrong AS
        SELECT resource_key, record_key, max(version) AS version
        FROM (FROM temp.wrong UNION ALL
              FROM ledger.told_wrongly SEMI JOIN temp.wrong USING (resource_key, record_key))
        WHERE record_key IS NOT NULL GROUP BY ALL;
        DELETE FROM ledger.told_wrongly WHERE (resource_key, record_key) IN
            (SELECT (resource_key, record_key) FROM temp.known_wrong);
        INSERT INTO ledger.told_wrongly FROM temp.known_wrong;
        DROP TABLE temp.known_wrong;
        DROP TABLE temp.wrong"""
    )


def settle(con: duckdb.DuckDBPyConnection) -> None:
    """Say of every event of a touched resource whether its resource has left it behind."""
    con.execute(_MOVED)
    con.execute(
        "DELETE FROM ledger.resource WHERE resource_key IN (SELECT resource_key FROM temp.moved)"
    )
    con.execute(_KEEP)
    found = con.execute("SELECT count(*) FROM temp.moved").fetchone()
    if found and found[0]:
        for event_type in schemas.CLINICAL_TYPES:
            for same in _SAME:
                con.execute(_STAMP.format(table=quote(event_type), same=same))
    con.execute("DROP TABLE temp.moved; DROP TABLE temp.touched")
