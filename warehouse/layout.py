"""The site store's tables: current events, what linkage found, and what is known about batches.

Schemas: `event` (one table per event type, current version per record, retractions kept),
`current` (views of `event` without what is retracted or left behind), `ledger` (what snapshots
say, what is known of nested records, the names of delivered files), and the published schemas,
whose tables have the columns that `warehouse/models` describe.
"""

from __future__ import annotations

import hashlib

import duckdb

import schemas
from pipelines.base.duck import literal, quote
from warehouse import memory, merges, resources, touched
from warehouse.batch import FILES
from warehouse.models import in_schemas

#: Raise when the same columns come to mean something else; changed columns are noticed anyway.
STORE_VERSION = 3

#: The type whose events say who is who.
REGISTERED = "PatientRegistered"

#: Columns that the store adds to each event, so that the order of arrival cannot matter.
STORE_COLUMNS = {
    "last_seen_at": "TIMESTAMP",
    "delivered_at": "TIMESTAMP",
    "is_outdated": "BOOLEAN",
}

#: Schemas of the store whose tables are laid out as their models say.
MODELLED = ("linkage", "signals", "quality", "ops", "reference")

#: The fact of `ops.state` that names the batches that linkage was made from, as JSON.
LINKED_BATCHES = "linked_batches"

#: Computed when the store is asked, or made while publishing: no table of the store.
_NOT_STORED = frozenset({"reference.dictionary", "ops.state", "quality.published_rows"})


def layout_hash() -> str:
    """Return a hash of everything that the store's tables depend on."""
    parts = [str(STORE_VERSION)]
    for event_type in schemas.EVENT_TYPES:
        columns = [(field.name, field.duckdb_type) for field in schemas.fields(event_type)]
        parts.append(f"{event_type} {columns}")
    parts.extend(_modelled_sql())
    parts += [resources.TABLES, merges.ALIAS, FILES, memory.TABLES, touched.TABLES]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def create_layout(con: duckdb.DuckDBPyConnection) -> None:
    """Create every schema, table and view in the database in use."""
    for schema in ("event", "current", "ledger", *MODELLED):
        con.execute(f"CREATE SCHEMA {schema}")
    for event_type in schemas.EVENT_TYPES:
        table = f"event.{quote(event_type)}"
        con.execute(schemas.create_table_sql(event_type, table))
        for name, kind in STORE_COLUMNS.items():
            con.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
    for statement in _modelled_sql():
        con.execute(statement)
    con.execute("CREATE TABLE ops.state (name VARCHAR PRIMARY KEY, value VARCHAR)")
    con.execute(resources.TABLES)
    con.execute(merges.ALIAS)
    con.execute(FILES)
    con.execute(memory.TABLES)
    con.execute(touched.TABLES)
    con.execute(_LATEST_SNAPSHOT)
    con.execute(_QUARANTINED_SEEN)
    con.execute(_DATA_THROUGH)
    con.execute(f"CREATE VIEW ledger.registered AS {_standing(REGISTERED, 'e.*')}")
    for event_type in schemas.EVENT_TYPES:
        con.execute(_current_sql(event_type))


def batch_ids(con: duckdb.DuckDBPyConnection, table: str = "ops.batch") -> list[str]:
    """Return the batches that a store holds, sorted."""
    rows = con.execute(f"SELECT batch_id FROM {table} ORDER BY batch_id").fetchall()
    return [row[0] for row in rows]


def columns_of(event_type: str) -> str:
    """Return the canonical columns of an event type, quoted, separated by commas."""
    return ", ".join(quote(field.name) for field in schemas.fields(event_type))


def _modelled_sql() -> list[str]:
    models = (m for m in in_schemas(*MODELLED) if m.full_name not in _NOT_STORED)
    return [model.create_sql("store") for model in models]


_LATEST_SNAPSHOT = """
CREATE VIEW ledger.latest_snapshot AS
SELECT d.source, d.reported_event_type AS event_type, max(d.exported_at) AS exported_at
FROM event."ExtractDelivered" AS d
WHERE d.delivery_kind = 'snapshot'
GROUP BY ALL
"""

# A record whose new version was rejected is still in the snapshot: its last good version stands.
_QUARANTINED_SEEN = """
CREATE VIEW ledger.quarantined_seen AS
SELECT q.record_key, max(b.exported_at) AS last_seen_at
FROM quality.quarantine AS q
JOIN ops.batch AS b ON b.batch_id = q.batch_id
WHERE q.record_key IS NOT NULL
GROUP BY ALL
"""

_DATA_THROUGH = """
CREATE VIEW ledger.data_through AS
SELECT site_id, source, reported_event_type AS event_type,
       max(data_through_at) AS data_through_at
FROM event."ExtractDelivered"
GROUP BY ALL
"""


def _current_sql(event_type: str) -> str:
    """Return the view of what stands, each event under the patient who counts (see `merges`)."""
    whose = "coalesce(a.survivor_key, e.patient_key) AS patient_key"
    names = [field.name for field in schemas.fields(event_type)]
    columns = ", ".join(whose if n == "patient_key" else f"e.{quote(n)}" for n in names)
    alias = "LEFT JOIN ledger.patient_alias AS a ON a.patient_key = e.patient_key"
    spoken = "\n    AND coalesce(a.is_spokesman, true)" if event_type == REGISTERED else ""
    return f"CREATE VIEW current.{quote(event_type)} AS" + _standing(
        event_type, columns, alias, spoken
    )


def _standing(event_type: str, columns: str, join: str = "", test: str = "") -> str:
    return f"""
SELECT {columns}
FROM event.{quote(event_type)} AS e
{join}
LEFT JOIN ledger.latest_snapshot AS s
    ON s.source = e.source AND s.event_type = {literal(event_type)}
LEFT JOIN ledger.quarantined_seen AS q ON q.record_key = e.record_key
WHERE e.operation IS DISTINCT FROM 'retract' AND NOT e.is_outdated
    AND (s.exported_at IS NULL OR greatest(e.last_seen_at, q.last_seen_at) >= s.exported_at)
    {test}
"""
