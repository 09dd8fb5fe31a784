"""The event types: Avro contracts, their versions, and reading and writing them."""

from schemas.registry import (
    CLINICAL_TYPES,
    ENVELOPE,
    EVENT_TYPES,
    QUARANTINED,
    Field,
    Schema,
    canonical,
    create_table_sql,
    fields,
    fingerprint,
    versions,
)

__all__ = [
    "CLINICAL_TYPES",
    "ENVELOPE",
    "EVENT_TYPES",
    "QUARANTINED",
    "Field",
    "Schema",
    "canonical",
    "create_table_sql",
    "fields",
    "fingerprint",
    "versions",
]
