"""Loading the Avro contracts and telling their columns, tables and fingerprints."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import fastavro.schema

Schema = dict[str, Any]

#: What happens to patients; sources deliver these.
CLINICAL_TYPES: tuple[str, ...] = (
    "PatientRegistered",
    "InfusionRecorded",
    "MedicationGiven",
    "AdverseEventReported",
    "DiagnosisRecorded",
    "LabResulted",
    "VitalSignMeasured",
    "BoneDensityMeasured",
    "EncounterOccurred",
)

#: Every event type; the last five are written by Dripwatch about its own work.
EVENT_TYPES: tuple[str, ...] = (
    *CLINICAL_TYPES,
    "ExtractDelivered",
    "RecordWithdrawn",
    "LookTaken",
    "AlertReviewed",
    "PackExported",
)

#: Name of the record for rows that were not accepted; it is no event type.
QUARANTINED = "Quarantined"

#: Fields that every event type starts with, in this order.
ENVELOPE: tuple[str, ...] = (
    "site_id",
    "source",
    "event_type",
    "record_key",
    "version",
    "recorded_at",
    "operation",
    "patient_key",
    "occurred_at",
    "time_precision",
    "zone",
    "flags",
    "batch_id",
    "source_file_sha",
    "source_row",
    "content_hash",
    "source_part",
    "resource_key",
)

_DUCKDB_TYPES: dict[str, str] = {
    "string": "VARCHAR",
    "long": "BIGINT",
    "int": "INTEGER",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamp-micros": "TIMESTAMP",
    "date": "DATE",
}


@dataclass(frozen=True)
class Field:
    """One field of a record: its Avro type (without the null branch), DuckDB type and meaning."""

    name: str
    avro: str | Schema
    duckdb_type: str
    doc: str


@cache
def _texts(record: str) -> dict[int, str]:
    if not re.fullmatch(r"[A-Z][A-Za-z]+", record):
        raise KeyError(record)
    folder = resources.files("schemas").joinpath("avro", record)
    if not folder.is_dir():
        raise KeyError(record)
    named = {re.fullmatch(r"v([1-9]\d*)\.avsc", entry.name): entry for entry in folder.iterdir()}
    found = {int(m.group(1)): e.read_text(encoding="utf-8") for m, e in named.items() if m}
    return dict(sorted(found.items()))


def versions(record: str) -> dict[int, Schema]:
    """Return every version of a record's schema by number, oldest first (fresh copies).

    Errors:
        KeyError: there is no such event type.
    """
    return {number: json.loads(text) for number, text in _texts(record).items()}


def canonical(event_type: str, version: int | None = None) -> Schema:
    """Return the Avro schema that events of this type are written under; by default the newest.

    Errors:
        KeyError: there is no such event type or version.
    """
    known = _texts(event_type)
    return json.loads(known[max(known) if version is None else version])  # type: ignore[no-any-return] # a record's JSON is an object


def value_type(avro: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return the T of `["null", T]`, the only shape that fields have.

    Errors:
        ValueError: the type has another shape.
    """
    if not (isinstance(avro, list) and len(avro) == 2 and avro[0] == "null"):
        msg = f'a field must be ["null", T], not {json.dumps(avro)}'
        raise ValueError(msg)
    return avro[1]


def duckdb_type(avro: Any) -> str:  # noqa: ANN401 - a JSON value
    """Return the DuckDB type that holds an Avro type (given without its null branch).

    Errors:
        ValueError: events do not use this Avro type.
    """
    if isinstance(avro, dict) and avro.get("type") == "array":
        return duckdb_type(value_type(avro["items"])) + "[]"
    name = avro.get("logicalType", avro.get("type")) if isinstance(avro, dict) else avro
    if name not in _DUCKDB_TYPES:
        msg = f"events do not use the Avro type {json.dumps(avro)}"
        raise ValueError(msg)
    return _DUCKDB_TYPES[name]


def fields(event_type: str) -> list[Field]:
    """Return the fields of the newest version, in column order.

    Errors:
        KeyError: there is no such event type.
    """
    return fields_of(canonical(event_type))


def fields_of(schema: Schema) -> list[Field]:
    """Return the fields of a schema, in column order.

    Errors:
        ValueError: a field has a type that events do not use.
    """
    inner = [(field, value_type(field["type"])) for field in schema["fields"]]
    return [Field(f["name"], t, duckdb_type(t), f["doc"]) for f, t in inner]


def fingerprint(schema: Schema) -> str:
    """Return the SHA-256 of a schema's parsing canonical form, 64 hex digits.

    Documentation, defaults, aliases and logical types do not change it.
    Source: Avro specification 1.12, "Parsing Canonical Form for Schemas".
    """
    form = fastavro.schema.to_parsing_canonical_form(schema)
    return str(fastavro.schema.fingerprint(form, "SHA-256"))


def create_table_sql(event_type: str, table: str) -> str:
    """Return the statement that creates an empty table for a type's events.

    Args:
        event_type: event type, or `QUARANTINED`.
        table: the table's name as it goes into the statement, already quoted and qualified.
    """
    columns = ",\n".join(f'    "{field.name}" {field.duckdb_type}' for field in fields(event_type))
    return f"CREATE TABLE {table} (\n{columns}\n)"
