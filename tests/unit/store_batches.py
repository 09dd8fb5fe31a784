"""Small committed batches, made by hand, and a site to put them in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

import schemas
from pipelines.base.site import Site
from warehouse.batch import Batch, Fates

DAY_0 = datetime(2026, 1, 6, 2, tzinfo=UTC)

_ARROW: dict[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us"),
    "DATE": pa.date32(),
    "VARCHAR[]": pa.list_(pa.string()),
}

_QUARANTINED: dict[str, pa.DataType] = {
    "event_type": pa.string(),
    "record_key": pa.string(),
    "source_file_sha": pa.string(),
    "source_row": pa.int64(),
    "source_part": pa.int32(),
    "check_ids": pa.list_(pa.string()),
    "event_json": pa.string(),
}

Row = dict[str, Any]


def night(number: int) -> datetime:
    """Two o'clock UTC of a night, counted from 0."""
    return DAY_0 + timedelta(days=number)


def make_site(root: Path, row_level: str = "internal") -> Site:
    site = Site.model_validate(
        {
            "site": {
                "id": "north",
                "zone": "Asia/Kolkata",
                "studies": ["s1"],
                "row_level": row_level,
            },
            "source": [{"name": "ehr", "mapping": "m.toml", "path": "inbox"}],
        }
    )
    return site.model_copy(update={"config_path": root / "site.toml"})


def events_table(event_type: str, rows: Sequence[Row]) -> pa.Table:
    columns = [(f.name, _ARROW[f.duckdb_type]) for f in schemas.fields(event_type)]
    unknown = {name for row in rows for name in row} - {name for name, _ in columns}
    assert not unknown, unknown
    return pa.Table.from_pylist(list(rows), schema=pa.schema(columns))


def event(event_type: str, key: str, *, version: int = 1, **columns: Any) -> Row:
    """An accepted event; what is not told is filled in, the same for the same arguments."""
    clinical = {"patient_key": "0" * 64, "operation": "upsert"} | columns
    content = hashlib.sha256(repr(sorted(clinical.items(), key=str)).encode()).hexdigest()
    return {
        "site_id": "north",
        "source": "ehr",
        "event_type": event_type,
        "record_key": key,
        "version": version,
        "content_hash": content,
        **clinical,
    }


def make_batch(
    name: str,
    events: Mapping[str, Sequence[Row]],
    *,
    source: str = "ehr",
    kind: str = "delta",
    exported_at: datetime = DAY_0,
    data_through: datetime | None = None,
    quarantined: Sequence[Row] = (),
    fates: Mapping[str, Fates] | None = None,
) -> Batch:
    """A batch of these events, with its ExtractDelivered records and the counts that fit."""
    stamped = {
        event_type: [
            row
            | {
                "site_id": "north",
                "event_type": event_type,
                "batch_id": name,
                "source": source,
                "source_file_sha": f"sha-{name}",
                "source_row": number,
            }
            for number, row in enumerate(rows, start=1)
        ]
        for event_type, rows in events.items()
    }
    bad = [
        {"source_file_sha": f"sha-{name}", "source_row": 1000 + number, "check_ids": ["x"]} | row
        for number, row in enumerate(quarantined)
    ]
    told = fates if fates is not None else _fitting_fates(stamped, bad)
    delivered = [
        {
            "site_id": "north",
            "source": source,
            "event_type": "ExtractDelivered",
            "record_key": f"{name}:{event_type}",
            "version": 1,
            "operation": "upsert",
            "content_hash": "c",
            "batch_id": name,
            "delivery_kind": kind,
            "exported_at": exported_at.replace(tzinfo=None),
            "reported_event_type": event_type,
            "data_through_at": (data_through or exported_at).replace(tzinfo=None),
            "n_rows": len(rows),
        }
        for event_type, rows in stamped.items()
        if event_type != "RecordWithdrawn"
    ]
    tables = {t: events_table(t, rows) for t, rows in stamped.items()}
    tables["ExtractDelivered"] = events_table("ExtractDelivered", delivered)
    return Batch(
        batch_id=name,
        site_id="north",
        source=source,
        kind=kind,
        exported_at=exported_at,
        mapping_hash="m",
        scope_hash="s",
        checks_hash="c",
        parser_version="1",
        n_files=1,
        rows=_all(told),
        fates=told,
        checks=(),
        event_types=tuple(tables),
        read_events=lambda event_type: [tables[event_type]],
        read_quarantined=lambda: pa.Table.from_pylist(
            bad, schema=pa.schema(list(_QUARANTINED.items()))
        ),
    )


def _all(fates: Mapping[str, Fates]) -> Fates:
    """Counts of rows, where none is several events."""
    return Fates(
        **{f.name: sum(getattr(one, f.name) for one in fates.values()) for f in fields(Fates)}
    )


def _fitting_fates(events: Mapping[str, Sequence[Row]], bad: Sequence[Row]) -> dict[str, Fates]:
    types = {*events, *(row.get("event_type") or "unknown" for row in bad)} - {"RecordWithdrawn"}
    return {
        event_type: Fates(
            n_read=len(events.get(event_type, ()))
            + sum((row.get("event_type") or "unknown") == event_type for row in bad),
            n_accepted=len(events.get(event_type, ())),
            n_quarantined=sum((row.get("event_type") or "unknown") == event_type for row in bad),
        )
        for event_type in types
    }
