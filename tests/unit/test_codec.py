"""Files of events: what columns say, plain fastavro reads back, and the other way round."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import stat
from pathlib import Path
from typing import Any
from unittest.mock import patch

import fastavro
import pyarrow as pa
import pytest

import schemas
from pipelines.base import duck
from pipelines.base.errors import LogError, StorageError
from schemas.codec import read_batches, read_events, write_events
from schemas.columns import arrow_schema

RECORDS = (*schemas.EVENT_TYPES, schemas.QUARANTINED)
UNICODE = 'Käse, 注射 \U0001f489 \x00 "quoted"\n\tΩ'


def naive(*parts: int) -> dt.datetime:
    """Return a time as columns hold it: UTC, without saying so."""
    return dt.datetime(*parts, tzinfo=dt.UTC).replace(tzinfo=None)  # type: ignore[arg-type, misc] # parts are fewer than 8


#: Per DuckDB type: values that have gone wrong in some Avro library at some time.
EDGES: dict[str, list[Any]] = {
    "VARCHAR": [None, "", UNICODE, "x" * 70_000, "plain"],
    "BIGINT": [None, 0, -1, 2**63 - 1, -(2**63)],
    "INTEGER": [None, 0, -1, 2**31 - 1, -(2**31)],
    "DOUBLE": [None, 0.1, -0.0, float("inf"), 5e-324],
    "BOOLEAN": [None, True, False, True, None],
    "TIMESTAMP": [
        None,
        naive(1904, 2, 29, 23, 59, 59, 999_999),
        naive(2150, 7, 1, 12),
        naive(1, 1, 1),
        naive(9999, 12, 31, 23, 59, 59, 999_999),
    ],
    "DATE": [
        None,
        dt.date(1931, 5, 6),
        dt.date(2150, 12, 31),
        dt.date(1, 1, 1),
        dt.date(9999, 12, 31),
    ],
    "VARCHAR[]": [None, [], ["bad_time"], [None, UNICODE, ""], ["a"] * 300],
}


def edge_rows(record: str) -> list[dict[str, Any]]:
    """Five rows: each with another edge in each column, so that every row mixes them."""
    return [
        {
            field.name: EDGES[field.duckdb_type][(row + place) % 5]
            for place, field in enumerate(schemas.fields(record))
        }
        for row in range(5)
    ]


def as_table(record: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=arrow_schema(record))


def in_utc(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.replace(tzinfo=dt.UTC) if isinstance(value, dt.datetime) else value
        for name, value in row.items()
    }


def by_fastavro(path: Path, record: str) -> list[Any]:
    with path.open("rb") as stream:
        return list(fastavro.reader(stream, schemas.canonical(record)))


@pytest.mark.parametrize("record", RECORDS)
def test_plain_fastavro_reads_every_type_under_its_canonical_schema(
    record: str, tmp_path: Path
) -> None:
    rows = edge_rows(record)
    written = write_events(as_table(record, rows), record, tmp_path / "e.avro")
    assert by_fastavro(tmp_path / "e.avro", record) == [in_utc(row) for row in rows]
    assert written.rows == 5


@pytest.mark.parametrize("record", RECORDS)
def test_columns_come_back_as_they_were_written(record: str, tmp_path: Path) -> None:
    table = as_table(record, edge_rows(record))
    written = write_events(table, record, tmp_path / "e.avro")
    found = read_events(tmp_path / "e.avro", record, written)
    assert found.equals(table)
    assert found.schema.equals(arrow_schema(record))


@pytest.mark.parametrize("record", ["LabResulted", "PatientRegistered", "AdverseEventReported"])
def test_files_that_fastavro_wrote_are_read(record: str, tmp_path: Path) -> None:
    rows = edge_rows(record)
    with (tmp_path / "e.avro").open("wb") as stream:
        fastavro.writer(
            stream,
            schemas.canonical(record),
            [in_utc(row) for row in rows],
            sync_interval=10,
        )
    assert read_events(tmp_path / "e.avro", record).to_pylist() == rows


def test_the_header_holds_the_canonical_schema_with_its_documentation(tmp_path: Path) -> None:
    write_events(as_table("LabResulted", []), "LabResulted", tmp_path / "e.avro")
    with (tmp_path / "e.avro").open("rb") as stream:
        header = fastavro.reader(stream).metadata["avro.schema"]
    assert json.loads(header) == schemas.canonical("LabResulted")


@pytest.mark.parametrize("table", [0, 1])
def test_no_rows_make_a_file_without_rows(table: int, tmp_path: Path) -> None:
    empty = arrow_schema("LabResulted").empty_table()
    source = empty if table else pa.RecordBatchReader.from_batches(empty.schema, iter([]))
    written = write_events(source, "LabResulted", tmp_path / "e.avro")
    assert written.rows == 0
    assert by_fastavro(tmp_path / "e.avro", "LabResulted") == []
    assert read_events(tmp_path / "e.avro", "LabResulted", written).equals(empty)


def test_a_stream_from_duckdb_is_written_in_many_blocks_and_read_in_chunks(tmp_path: Path) -> None:
    con = duck.connect()
    con.execute(schemas.create_table_sql("VitalSignMeasured", "t"))
    con.execute(
        "INSERT INTO t BY NAME SELECT i AS source_row, sha256(i::VARCHAR) AS record_key, "
        "TIMESTAMP '2150-01-01' - to_seconds(i * 99) AS occurred_at, "
        "CASE WHEN i % 3 = 0 THEN ['bad_number', NULL] END AS flags FROM range(150_000) r(i)"
    )
    reader = con.execute("FROM t").to_arrow_reader(40_000)
    written = write_events(reader, "VitalSignMeasured", tmp_path / "e.avro")
    with patch("schemas.codec._CHUNK_BYTES", 1_000_000):
        parts = list(read_batches(tmp_path / "e.avro", "VitalSignMeasured", written))
    assert len(parts) > 2
    found = pa.concat_tables(parts)
    con.register("found", found)
    both = "SELECT count(*) FROM ({} EXCEPT ALL {})"
    for one, other in (("FROM t", "FROM found"), ("FROM found", "FROM t")):
        assert con.execute(both.format(one, other)).fetchone() == (0,)
    assert found.num_rows == written.rows == 150_000


def test_what_is_reported_is_what_lies_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "e.avro"
    written = write_events(as_table("LabResulted", edge_rows("LabResulted")), "LabResulted", path)
    data = path.read_bytes()
    assert (written.sha256, written.n_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert written.fingerprint == schemas.fingerprint(schemas.canonical("LabResulted"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["e.avro"]


def test_columns_without_any_value_may_lack_a_type(tmp_path: Path) -> None:
    table = as_table("LabResulted", edge_rows("LabResulted"))
    place = table.schema.get_field_index("resulted_at")
    untyped = table.set_column(place, "resulted_at", pa.nulls(5))
    write_events(untyped, "LabResulted", tmp_path / "e.avro")
    found = read_events(tmp_path / "e.avro", "LabResulted")
    assert found["resulted_at"].null_count == 5


def test_columns_in_another_order_are_refused(tmp_path: Path) -> None:
    table = as_table("LabResulted", edge_rows("LabResulted"))
    with pytest.raises(ValueError, match="not in their order"):
        write_events(table.select(table.column_names[::-1]), "LabResulted", tmp_path / "e.avro")


def test_another_type_is_refused_and_named_without_a_value(tmp_path: Path) -> None:
    table = as_table("LabResulted", edge_rows("LabResulted"))
    place = table.schema.get_field_index("value")
    wrong = table.set_column(place, "value", pa.array(["secret"] * 5))
    with pytest.raises(ValueError, match=r"LabResulted\.value is String") as caught:
        write_events(wrong, "LabResulted", tmp_path / "e.avro")
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "number", "avro"),
    [
        ("occurred_at", 2**63 - 1, pa.timestamp("us")),
        ("occurred_at", -62_135_596_800_000_001, pa.timestamp("us")),
        ("birth_date", 2_932_897, pa.date32()),
        ("birth_date", -719_163, pa.date32()),
    ],
)
def test_times_that_plain_readers_cannot_hold_are_refused(
    column: str, number: int, avro: pa.DataType, tmp_path: Path
) -> None:
    table = as_table("PatientRegistered", [{}])
    place = table.schema.get_field_index(column)
    integer = pa.int32() if avro == pa.date32() else pa.int64()
    wrong = table.set_column(place, column, pa.array([number], integer).cast(avro))
    with pytest.raises(ValueError, match=f"{column} holds a .* outside the years 1 to 9999"):
        write_events(wrong, "PatientRegistered", tmp_path / "e.avro")


def a_file(path: Path) -> bytes:
    rows = edge_rows("VitalSignMeasured") * 3
    for row in rows:
        row.update({n: v[:20] for n, v in row.items() if isinstance(v, str)})
    write_events(as_table("VitalSignMeasured", rows), "VitalSignMeasured", path)
    return path.read_bytes()


def test_a_file_cut_anywhere_is_a_log_error(tmp_path: Path) -> None:
    path = tmp_path / "e.avro"
    data = a_file(path)
    for size in (*range(0, len(data) - 1, 101), len(data) - 1, len(data) - 17):
        path.write_bytes(data[:size])
        with pytest.raises(LogError, match="damaged or cut off"):
            read_events(path, "VitalSignMeasured")


def test_any_changed_byte_is_a_log_error_where_the_hash_is_known(tmp_path: Path) -> None:
    path = tmp_path / "e.avro"
    rows = edge_rows("VitalSignMeasured")
    written = write_events(as_table("VitalSignMeasured", rows), "VitalSignMeasured", path)
    data = path.read_bytes()
    for place in range(0, len(data), len(data) // 50):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(LogError, match="damaged or cut off"):
            read_events(path, "VitalSignMeasured", written)


def test_a_block_that_is_missing_as_a_whole_is_a_log_error_where_the_rows_are_known(
    tmp_path: Path,
) -> None:
    path = tmp_path / "e.avro"
    table = as_table("VitalSignMeasured", edge_rows("VitalSignMeasured") * 3)
    one = write_events(table, "VitalSignMeasured", path)
    none = write_events(table.slice(0, 0), "VitalSignMeasured", path)
    assert read_events(path, "VitalSignMeasured", none).num_rows == 0
    with pytest.raises(LogError):
        read_events(path, "VitalSignMeasured", one)


def test_damage_is_told_without_any_byte_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "e.avro"
    row = {"display": "Jane Doe"}
    write_events(as_table("VitalSignMeasured", [row]), "VitalSignMeasured", path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"Jane Doe", b"\xff\xfe\xfd Doe "))
    with pytest.raises(LogError) as caught:
        read_events(path, "VitalSignMeasured")
    assert "Doe" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_of_an_unknown_version_is_a_log_error(tmp_path: Path) -> None:
    schema = schemas.canonical("LabResulted")
    later = {"name": "later", "doc": "x", "type": ["null", "string"], "default": None}
    schema["fields"].append(later)
    with (tmp_path / "e.avro").open("wb") as stream:
        fastavro.writer(stream, schema, [{"later": "x"}])
    with pytest.raises(LogError, match="not known here"):
        read_events(tmp_path / "e.avro", "LabResulted")


def test_a_file_of_another_event_type_is_a_log_error(tmp_path: Path) -> None:
    write_events(as_table("LabResulted", [{}]), "LabResulted", tmp_path / "e.avro")
    with pytest.raises(LogError, match="not known here"):
        read_events(tmp_path / "e.avro", "VitalSignMeasured")


def test_reworded_documentation_does_not_make_another_version(tmp_path: Path) -> None:
    schema = schemas.canonical("LabResulted")
    schema["fields"][0]["doc"] = "Said otherwise."
    with (tmp_path / "e.avro").open("wb") as stream:
        fastavro.writer(stream, schema, [{"site_id": "demo"}])
    assert read_events(tmp_path / "e.avro", "LabResulted")["site_id"].to_pylist() == ["demo"]


def test_an_absent_file_is_a_log_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="No such file"):
        read_events(tmp_path / "e.avro", "LabResulted")


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        write_events(as_table("LabResulted", [{}]), "LabResulted", tmp_path / "no" / "e.avro")


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "e.avro"
    write_events(as_table("LabResulted", [{"code": "x"}]), "LabResulted", path)
    before = path.read_bytes()

    def failing() -> Any:
        yield as_table("LabResulted", [{"code": "y"}]).to_batches()[0]
        raise KeyboardInterrupt

    source = pa.RecordBatchReader.from_batches(arrow_schema("LabResulted"), failing())
    with pytest.raises(KeyboardInterrupt):
        write_events(source, "LabResulted", path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["e.avro"]
