"""Any history that the rules allow reads as one: by fastavro, and by columns, to equal rows."""

from __future__ import annotations

import datetime as dt
import io
import json
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import fastavro
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import schemas
from schemas.codec import read_events, write_events
from schemas.columns import arrow_schema
from schemas.compatibility import problems
from tests.examples import examples

Schema = dict[str, Any]

MICROS: Schema = {"type": "long", "logicalType": "timestamp-micros"}
AVRO: dict[str, Any] = {
    "string": "string",
    "long": "long",
    "int": "int",
    "double": "double",
    "boolean": "boolean",
    "time": MICROS,
    "date": {"type": "int", "logicalType": "date"},
    "list": {"type": "array", "items": ["null", "string"]},
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "long": st.integers(-(2**63), 2**63 - 1),
    "int": st.integers(-(2**31), 2**31 - 1),
    "double": st.floats(allow_nan=False),
    "boolean": st.booleans(),
    "time": st.datetimes(timezones=st.just(dt.UTC)),
    "date": st.dates(),
    "list": st.lists(st.none() | TEXT, max_size=3),
}
KINDS = st.sampled_from(sorted(AVRO))


def record(fields: list[Schema]) -> Schema:
    return {
        "type": "record",
        "name": "LabResulted",
        "namespace": "org.dripwatch.events",
        "doc": "Something happened.",
        "fields": fields,
    }


def named(name: str, kind: str) -> Schema:
    return {"name": name, "doc": "Something.", "type": ["null", AVRO[kind]], "default": None}


@st.composite
def histories(draw: st.DrawFn) -> dict[int, Schema]:
    """Versions made from one another by adding, removing, renaming (with alias) and reordering."""
    count = draw(st.integers(2, 5))
    fields = [named(f"f{number}", draw(KINDS)) for number in range(count)]
    versions = {1: record(fields)}
    for version in range(2, draw(st.integers(2, 5)) + 1):
        fields = [dict(field) for field in fields]
        change = draw(st.sampled_from(["add", "remove", "rename", "reorder"]))
        place = draw(st.integers(0, len(fields) - 1))
        if change == "add":
            fields.insert(place, named(f"v{version}", draw(KINDS)))
        elif change == "remove" and len(fields) > 1:
            del fields[place]
        elif change == "rename":
            old = fields[place]
            aliases = [old["name"], *old.get("aliases", [])]
            fields[place] = {**old, "name": f"v{version}", "aliases": aliases}
        else:
            fields = draw(st.permutations(fields))
        versions[version] = record(list(fields))
    return versions


def kind_of(field: Schema) -> str:
    return next(kind for kind, avro in AVRO.items() if avro == field["type"][1])


def rows_of(schema: Schema) -> st.SearchStrategy[list[dict[str, Any]]]:
    row = st.fixed_dictionaries(
        {field["name"]: st.none() | VALUES[kind_of(field)] for field in schema["fields"]}
    )
    return st.lists(row, max_size=4)


def pretend(history: dict[int, Schema]) -> Any:
    """Make these the versions of LabResulted, for the registry and all that stands on it."""
    texts = {number: json.dumps(schema) for number, schema in history.items()}
    return patch("schemas.registry._texts", lambda _: texts)


def aware(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            name: value.replace(tzinfo=dt.UTC) if isinstance(value, dt.datetime) else value
            for name, value in row.items()
        }
        for row in rows
    ]


@given(history=histories(), data=st.data())
@settings(deadline=None, max_examples=examples(30), suppress_health_check=[HealthCheck.too_slow])
def test_a_log_of_mixed_versions_reads_as_one(
    history: dict[int, Schema], data: st.DataObject
) -> None:
    assert problems(history) == []
    newest = history[max(history)]
    with tempfile.TemporaryDirectory() as folder, pretend(history):
        for number, writer in history.items():
            rows = data.draw(rows_of(writer), label=f"rows of v{number}")
            path = Path(folder) / f"v{number}.avro"
            with path.open("wb") as stream:
                fastavro.writer(stream, writer, rows)
            with path.open("rb") as stream:
                judged = list(fastavro.reader(stream, newest))
            assert aware(read_events(path, "LabResulted").to_pylist()) == judged
            for other in history.values():  # full: old software reads new files, too
                with path.open("rb") as stream:
                    assert len(list(fastavro.reader(stream, other))) == len(rows)


@given(history=histories(), data=st.data())
@settings(deadline=None, max_examples=examples(30), suppress_health_check=[HealthCheck.too_slow])
def test_what_columns_write_fastavro_reads_equal(
    history: dict[int, Schema], data: st.DataObject
) -> None:
    newest = history[max(history)]
    rows = data.draw(rows_of(newest))
    with tempfile.TemporaryDirectory() as folder, pretend(history):
        path = Path(folder) / "e.avro"
        naive = [
            {n: v.replace(tzinfo=None) if isinstance(v, dt.datetime) else v for n, v in r.items()}
            for r in rows
        ]
        table = pa.Table.from_pylist(naive, schema=arrow_schema("LabResulted"))
        written = write_events(table, "LabResulted", path)
        with path.open("rb") as stream:
            assert list(fastavro.reader(stream, schemas.canonical("LabResulted"))) == rows
        assert read_events(path, "LabResulted", written).equals(table)


@given(history=histories(), data=st.data())
@settings(deadline=None, max_examples=examples(30))
def test_a_changed_type_anywhere_in_a_history_is_refused(
    history: dict[int, Schema], data: st.DataObject
) -> None:
    newest = history[max(history)]
    place = data.draw(st.integers(0, len(newest["fields"]) - 1))
    field = newest["fields"][place]
    other = data.draw(KINDS.filter(lambda kind: kind != kind_of(field)))
    changed = {**field, "type": ["null", AVRO[other]]}
    fields = [*newest["fields"][:place], changed, *newest["fields"][place + 1 :]]
    broken = {**history, max(history) + 1: record(fields)}
    assert any(f"{field['name']}: type changed" in why for why in problems(broken))


def test_the_judge_does_refuse_what_the_rules_refuse() -> None:
    stream = io.BytesIO()
    fastavro.writer(stream, record([named("a", "long")]), [{"a": 1}])
    stream.seek(0)
    try:
        list(fastavro.reader(stream, record([named("a", "string")])))
    except fastavro.read.SchemaResolutionError:
        return
    raise AssertionError


def test_where_every_written_field_is_gone_every_row_is_still_there(tmp_path: Path) -> None:
    old, new = named("f0", "boolean"), named("v2", "boolean")
    path = tmp_path / "old.avro"
    with pretend({1: record([old]), 2: record([new, old]), 3: record([new])}):
        with path.open("wb") as stream:
            fastavro.writer(stream, record([old]), [{"f0": True}] * 3)
        assert read_events(path, "LabResulted").to_pylist() == [{"v2": None}] * 3
