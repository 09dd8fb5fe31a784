"""The contracts themselves: complete, documented, and what Avro says they are."""

from __future__ import annotations

import hashlib

import fastavro
import pytest

import schemas
from pipelines.base import duck
from schemas.compatibility import problems, shape_problems

RECORDS = (*schemas.EVENT_TYPES, schemas.QUARANTINED)


@pytest.mark.parametrize("record", RECORDS)
def test_fastavro_accepts_every_version(record: str) -> None:
    for schema in schemas.versions(record).values():
        assert fastavro.parse_schema(schema)["name"] == f"org.dripwatch.events.{record}"


@pytest.mark.parametrize("record", RECORDS)
def test_every_version_of_every_record_stands_together(record: str) -> None:
    assert problems(schemas.versions(record)) == []


@pytest.mark.parametrize("event_type", schemas.EVENT_TYPES)
def test_every_event_starts_with_the_envelope_and_documents_every_field(event_type: str) -> None:
    assert shape_problems(schemas.canonical(event_type), has_envelope=True) == []
    assert all(len(field.doc) > 15 for field in schemas.fields(event_type))


@pytest.mark.parametrize("event_type", schemas.EVENT_TYPES)
def test_the_envelope_means_the_same_in_every_type(event_type: str) -> None:
    size = len(schemas.ENVELOPE)
    assert schemas.fields(event_type)[:size] == schemas.fields("LabResulted")[:size]


@pytest.mark.parametrize("record", RECORDS)
def test_the_table_that_is_created_has_the_documented_columns_and_types(record: str) -> None:
    con = duck.connect()
    con.execute(schemas.create_table_sql(record, '"t"'))
    found = con.execute("SELECT column_name, column_type FROM (DESCRIBE t)").fetchall()
    assert found == [(field.name, field.duckdb_type) for field in schemas.fields(record)]


def test_quantities_name_their_unit() -> None:
    for record in RECORDS:
        for field in schemas.fields(record):
            if field.duckdb_type in ("DOUBLE", "INTEGER"):
                words = ("in `", "in g/cm2", "without unit", "Ordinal", "Number", "Value", "Share")
                assert any(word in field.doc for word in (*words, "Critical value")), field
            if field.duckdb_type == "TIMESTAMP":
                assert "(UTC)" in field.doc, field


def test_the_fingerprint_is_that_of_the_avro_specification() -> None:
    # Canonical form and SHA-256 of a record, worked by hand from the rules of the specification.
    form = '{"name":"a.b.X","type":"record","fields":[{"name":"n","type":["null","long"]}]}'
    schema = {
        "type": "record",
        "namespace": "a.b",
        "name": "X",
        "doc": "Anything.",
        "fields": [
            {"name": "n", "doc": "N.", "default": None, "type": ["null", {"type": "long"}]},
        ],
    }
    assert schemas.fingerprint(schema) == hashlib.sha256(form.encode()).hexdigest()


def test_fingerprints_tell_the_event_types_apart() -> None:
    assert len({schemas.fingerprint(schemas.canonical(record)) for record in RECORDS}) == 15


@pytest.mark.parametrize("name", ["Nothing", "../avro/LabResulted", "", "labresulted"])
def test_an_unknown_event_type_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError):
        schemas.canonical(name)


def test_a_caller_cannot_change_the_contract() -> None:
    schemas.canonical("LabResulted")["fields"].clear()
    assert schemas.canonical("LabResulted")["fields"]
