"""Which columns of events are made with the site's key, and how they are renewed.

After `SiteKey.install_renewal` a connection has the macro `renewed`. The content hash goes through
it, too: it is a hash over columns of which one is the patient's key, so that whoever had the old
key could try whose row it is.
"""

from __future__ import annotations

import json
import re
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.base.duck import quote
from pipelines.ingest.accounting import delivered_types
from pipelines.ingest.withdrawn import WITHDRAWN
from schemas import CLINICAL_TYPES, fields
from schemas.columns import arrow_schema

#: Columns that hold one key, or a hash that hangs on one.
KEYED = frozenset(
    {
        "record_key",
        "patient_key",
        "resource_key",
        "replaced_by_key",
        "order_key",
        "encounter_key",
        "content_hash",
    }
)
#: Columns that hold several keys, sorted.
KEYED_LISTS = frozenset({"replaces_keys"})

#: A quote inside a JSON text is escaped, so what a source wrote cannot look like a name of ours.
_IN_JSON = re.compile(rf'"({"|".join(sorted(KEYED))})":"([0-9a-f]{{64}})"')
_LISTS_IN_JSON = re.compile(rf'"({"|".join(sorted(KEYED_LISTS))})":(\[[^\]]*\])')


def holds_keys(event_type: str) -> bool:
    """Return whether events of a type were made with the site's key."""
    return event_type in CLINICAL_TYPES or event_type == WITHDRAWN


def _renewed(name: str) -> str:
    """Return the SQL of a keyed column's new value."""
    column = quote(name)
    if name in KEYED_LISTS:
        return f"list_sort(list_transform({column}, lambda k: renewed(k)))"
    return f"renewed({column})"


def _keyed_columns(event_type: str) -> list[str]:
    return [f.name for f in fields(event_type) if f.name in KEYED | KEYED_LISTS]


def renew_staging(con: duckdb.DuckDBPyConnection) -> None:
    """Renew every key of a settled delivery; `SiteKey.install` was called on the connection."""
    for event_type in delivered_types(con):
        sets = ", ".join(f"{quote(n)} = {_renewed(n)}" for n in _keyed_columns(event_type))
        con.execute(f"UPDATE event.{quote(event_type)} SET {sets}")
    con.execute("UPDATE fate.row SET record_key = renewed(record_key) WHERE record_key IS NOT NULL")
    con.execute("UPDATE fate.withdrawn SET resource_key = renewed(resource_key)")


def renewed_events(con: duckdb.DuckDBPyConnection, event_type: str, events: pa.Table) -> pa.Table:
    """Return events of the log with their keys renewed, in canonical columns and order."""
    told = {name: _renewed(name) for name in _keyed_columns(event_type)}
    if event_type == WITHDRAWN:
        # Its key and hash are made of the resource's, as `withdrawn_sql` makes them.
        whose = _renewed("resource_key")
        told["record_key"] = f"{whose} || ':' || reason"
        told["content_hash"] = f"sha256(concat_ws(' ', {whose}, reason, epoch_us(recorded_at)))"
    columns = ", ".join(
        f"{told[f.name]} AS {quote(f.name)}" if f.name in told else quote(f.name)
        for f in fields(event_type)
    )
    con.register("old_events", events)
    con.execute("SET preserve_insertion_order = true")
    return con.execute(f"SELECT {columns} FROM old_events").to_arrow_table()


def renewed_quarantine(con: duckdb.DuckDBPyConnection, rows: pa.Table) -> pa.Table:
    """Return quarantined rows with their keys renewed, also those inside their JSON."""
    told = rows.to_pylist()
    old = {key for row in told for key in _keys_of(row)}
    new = _looked_up(con, old)

    def one(match: re.Match[str]) -> str:
        return f'"{match[1]}":"{new[match[2]]}"'

    def several(match: re.Match[str]) -> str:
        keys = sorted(new[key] for key in json.loads(match[2]))
        return f'"{match[1]}":{json.dumps(keys, separators=(",", ":"))}'

    for row in told:
        row["record_key"] = new.get(row["record_key"] or "")
        if row["event_json"] is not None:
            row["event_json"] = _LISTS_IN_JSON.sub(several, _IN_JSON.sub(one, row["event_json"]))
    return pa.Table.from_pylist(told, schema=arrow_schema("Quarantined"))


def _keys_of(row: dict[str, Any]) -> list[str]:
    text = row["event_json"] or ""
    found = [match[2] for match in _IN_JSON.finditer(text)]
    for match in _LISTS_IN_JSON.finditer(text):
        found += json.loads(match[2])
    return found + ([row["record_key"]] if row["record_key"] else [])


def _looked_up(con: duckdb.DuckDBPyConnection, keys: set[str]) -> dict[str, str]:
    con.register("old_keys", pa.table({"k": pa.array(sorted(keys), pa.string())}))
    found = con.execute("SELECT k, renewed(k) FROM old_keys").fetchall()
    con.unregister("old_keys")
    return {str(old): str(new) for old, new in found}
