"""One test per rule of evolution; fastavro, resolving for real, says what the change would do."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Mapping
from typing import Any

import fastavro
import pytest

from schemas.compatibility import problems

Schema = dict[str, Any]
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}


def a_field(name: str, avro: Any = "string", **more: Any) -> Schema:
    return {"name": name, "doc": "Something.", "type": ["null", avro], "default": None, **more}


def a_record(*fields: Schema, name: str = "Event") -> Schema:
    return {
        "type": "record",
        "name": name,
        "namespace": "x",
        "doc": "Something happened.",
        "fields": list(fields),
    }


def resolved(writer: Schema, reader: Schema, value: Mapping[str, Any]) -> Any:
    stream = io.BytesIO()
    fastavro.writer(stream, writer, [value])
    stream.seek(0)
    return next(iter(fastavro.reader(stream, reader)))


def refused(*history: Schema) -> str:
    return "\n".join(problems(dict(enumerate(history, start=1))))


OLD = a_record(a_field("code"), a_field("value", "long"))
ROW = {"code": "x", "value": 7}


def test_adding_a_nullable_field_with_default_null_is_allowed() -> None:
    new = a_record(*OLD["fields"], a_field("unit"))
    assert refused(OLD, new) == ""
    assert resolved(OLD, new, ROW) == {**ROW, "unit": None}
    assert resolved(new, OLD, {**ROW, "unit": "mg"}) == ROW


def test_adding_a_field_without_default_is_refused() -> None:
    bare = {"name": "unit", "doc": "Unit.", "type": ["null", "string"]}
    new = a_record(*OLD["fields"], bare)
    assert "unit: no default" in refused(OLD, new)
    assert "default" in str(_failure(OLD, new))


def _failure(writer: Schema, reader: Schema, row: Mapping[str, Any] = ROW) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - fastavro's choice
        resolved(writer, reader, row)
    return caught.value


def test_adding_a_field_that_cannot_be_null_is_refused() -> None:
    new = a_record(*OLD["fields"], {**a_field("unit"), "type": "string", "default": ""})
    assert 'unit: a field must be ["null", T]' in refused(OLD, new)


def test_removing_a_field_with_a_default_is_allowed() -> None:
    new = a_record(a_field("code"))
    assert refused(OLD, new) == ""
    assert resolved(OLD, new, ROW) == {"code": "x"}
    assert resolved(new, OLD, {"code": "x"}) == {"code": "x", "value": None}


def test_renaming_with_an_alias_is_allowed() -> None:
    new = a_record(a_field("term", aliases=["code"]), a_field("value", "long"))
    assert refused(OLD, new) == ""
    assert resolved(OLD, new, ROW) == {"term": "x", "value": 7}


def test_renaming_without_an_alias_is_refused_because_avro_loses_the_value_silently() -> None:
    new = a_record(a_field("term"), a_field("value", "long"))
    assert "a rename needs an alias" in refused(OLD, new)
    assert resolved(OLD, new, ROW)["term"] is None


def test_removing_one_field_and_adding_another_is_allowed_in_two_versions() -> None:
    between = a_record(a_field("value", "long"))
    assert refused(OLD, between, a_record(a_field("value", "long"), a_field("term"))) == ""


def test_an_alias_must_be_kept_in_later_versions_or_the_oldest_files_lose_the_field() -> None:
    second = a_record(a_field("term", aliases=["code"]))
    third = a_record(a_field("word", aliases=["term"]))
    assert "aliases ['code'] of term must be kept" in refused(OLD, second, third)
    assert resolved(OLD, third, ROW)["word"] is None
    kept = a_record(a_field("word", aliases=["term", "code"]))
    assert refused(OLD, second, kept) == ""
    assert resolved(OLD, kept, ROW)["word"] == "x"


def test_dropping_the_alias_of_a_field_is_refused() -> None:
    second = a_record(a_field("term", aliases=["code"]), a_field("value", "long"))
    third = a_record(a_field("term"), a_field("value", "long"))
    assert "aliases ['code'] are gone" in refused(OLD, second, third)


def test_merging_two_fields_by_aliases_is_refused() -> None:
    old = a_record(a_field("one"), a_field("two"))
    assert "cannot become one" in refused(old, a_record(a_field("both", aliases=["one", "two"])))


def test_an_alias_that_is_also_a_field_is_refused() -> None:
    new = a_record(*OLD["fields"], a_field("term", aliases=["code"]))
    assert "share a name or an alias" in refused(OLD, new)


def test_narrowing_a_type_is_refused() -> None:
    new = a_record(a_field("code"), a_field("value", "int"))
    assert 'value: type changed from "long" to "int"' in refused(OLD, new)
    assert "mismatch" in str(_failure(OLD, new))


def test_widening_a_type_is_refused_because_old_software_could_not_read_new_files() -> None:
    new = a_record(a_field("code"), a_field("value", "double"))
    assert "type changed" in refused(OLD, new)
    assert resolved(OLD, new, ROW)["value"] == 7
    assert "mismatch" in str(_failure(new, OLD, {"code": "x", "value": 7.5}))


def test_changing_only_the_unit_of_a_time_is_refused_because_libraries_differ_on_it() -> None:
    old, new = a_record(a_field("at", MICROS)), a_record(a_field("at", MILLIS))
    assert "timestamp-millis" in refused(old, new)
    moment = dt.datetime(2026, 1, 6, tzinfo=dt.UTC)
    # fastavro keeps the writer's unit; the specification lets a reader use its own schema's.
    assert resolved(old, new, {"at": moment}) == {"at": moment}


def test_reordering_a_union_is_refused_because_the_columnar_writer_writes_null_as_branch_0() -> (
    None
):
    swapped = {**a_field("code"), "type": ["string", "null"]}
    new = a_record(swapped, a_field("value", "long"))
    assert 'must be ["null", T]' in refused(OLD, new)
    # The same bytes say something else under the swapped union.
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, OLD, ROW)
    stream.seek(0)
    with pytest.raises((EOFError, IndexError, UnicodeDecodeError, AssertionError)):
        assert fastavro.schemaless_reader(stream, new, None) == ROW


def test_a_third_branch_in_a_union_is_refused() -> None:
    new = a_record(a_field("code"), {**a_field("value"), "type": ["null", "long", "string"]})
    assert 'must be ["null", T]' in refused(OLD, new)
    assert "mismatch" in str(_failure(new, OLD, {"code": "x", "value": "seven"}))


def test_changing_a_default_is_refused() -> None:
    new = a_record({**a_field("code"), "type": ["null", "string"], "default": "none"})
    assert "the default must be null" in refused(OLD, new)


def test_an_enum_is_refused_because_a_new_symbol_stops_old_readers() -> None:
    old, new = (
        a_record(a_field("sex", {"type": "enum", "name": "Sex", "symbols": symbols}))
        for symbols in (["female", "male"], ["female", "male", "other"])
    )
    assert "do not use the Avro type" in refused(old)
    assert "symbol" in str(_failure(new, old, {"sex": "other"}))


def test_renaming_the_record_is_refused() -> None:
    new = a_record(*OLD["fields"], name="Other")
    assert "record's name changed" in refused(OLD, new)
    assert "ismatch" in str(_failure(OLD, new))


def test_reordering_fields_is_allowed_because_they_are_resolved_by_name() -> None:
    new = a_record(*reversed(OLD["fields"]))
    assert refused(OLD, new) == ""
    assert resolved(OLD, new, ROW) == ROW


def test_rewording_documentation_is_allowed() -> None:
    assert refused(OLD, {**OLD, "doc": "Something else happened."}) == ""


def test_leaving_out_documentation_is_refused() -> None:
    bare = a_field("code")
    del bare["doc"]
    assert refused(a_record(bare)) == "v1: code: no doc"
    assert refused({**OLD, "doc": ""}) == "v1: the record has no doc"


def test_a_field_that_comes_back_with_another_type_is_refused() -> None:
    back = a_record(a_field("code", "long"), a_field("value", "long"))
    gone = a_record(a_field("value", "long"))
    assert "v1 and v3: code: type changed" in refused(OLD, gone, back)


def test_a_gap_between_versions_is_refused() -> None:
    assert problems({1: OLD, 3: OLD}) == [
        "versions must be numbered 1, 2, ... without gaps, not [1, 3]"
    ]
