"""The store against a model that sees all batches at once and does the obvious thing."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from pipelines.base.duck import connect, quote
from tests.examples import examples
from tests.store_kit import store_of
from tests.unit.store_batches import event, make_batch, night
from warehouse.batch import Batch
from warehouse.shards import bucket_sql, export_shards

TYPES = ("InfusionRecorded", "LabResulted")
SOURCES = ("ehr", "ehr", "pdms")
Saying = tuple[int, str, str] | str | None  # version, content, operation


def content(con: duckdb.DuckDBPyConnection) -> dict[str, list[Any]]:
    """Every cell that linkage can see, provenance included, and the tombstones."""
    return {
        f"{schema}.{event_type}": con.execute(
            f"SELECT * FROM {schema}.{quote(event_type)} ORDER BY record_key"
        ).fetchall()
        for schema in ("current", "event")
        for event_type in TYPES
    }


#: What a delivery can say of a record: nothing, something wrong, or a version of it. Few choices,
#: so that batches often meet on one record.
SAYINGS: tuple[Saying, ...] = (
    None,
    "wrong",
    (1, "x", "upsert"),
    (1, "x", "upsert"),
    (1, "y", "upsert"),
    (2, "x", "upsert"),
    (2, "x", "retract"),
)


@st.composite
def deliveries(draw: st.DrawFn) -> list[Batch]:
    batches = []
    for number in range(draw(st.integers(2, 5))):
        source = draw(st.sampled_from(SOURCES))
        events: dict[str, list[Any]] = {}
        bad = []
        for event_type in draw(st.sampled_from([TYPES, TYPES[:1], TYPES[1:]])):
            events[event_type] = []
            for record in "ab":
                key = f"{source}-{event_type}-{record}"
                saying = draw(st.sampled_from(SAYINGS))
                if isinstance(saying, str):
                    bad.append({"event_type": event_type, "record_key": key})
                elif saying:
                    version, code, operation = saying
                    row = event(event_type, key, version=version, code=code, operation=operation)
                    events[event_type].append(row)
        batches.append(
            make_batch(
                f"batch-{draw(st.sampled_from('pqrst'))}-{number}",
                events,
                source=source,
                kind=draw(st.sampled_from(["snapshot", "delta"])),
                exported_at=night(draw(st.integers(0, 2))),
                quarantined=bad,
            )
        )
    return batches


def expected_current(batches: Sequence[Batch], event_type: str) -> dict[str, tuple[int, str]]:
    """Version and content of each record that stands, worked out from all batches together."""
    best: dict[str, dict[str, Any]] = {}
    seen: dict[str, datetime] = {}
    snapshot: dict[str, datetime] = {}
    for batch in batches:
        at = batch.exported_at
        if event_type in batch.event_types and batch.kind == "snapshot":
            snapshot[batch.source] = max(at, snapshot.get(batch.source, at))
        is_there = event_type in batch.event_types
        tables = batch.read_events(event_type) if is_there else []
        rows = [row for table in tables for row in table.to_pylist()]
        for row in rows:
            key = row["record_key"]
            seen[key] = max(at, seen.get(key, at))
            rank = (row["version"], row["content_hash"])
            if key not in best or rank > (best[key]["version"], best[key]["content_hash"]):
                best[key] = row
        for row in batch.read_quarantined().to_pylist():
            seen[row["record_key"]] = max(at, seen.get(row["record_key"], at))
    return {
        key: (row["version"], row["code"])
        for key, row in best.items()
        if row["operation"] != "retract"
        and not (row["source"] in snapshot and seen[key] < snapshot[row["source"]])
    }


@settings(max_examples=examples(8), deadline=None)
@given(deliveries())
def test_the_store_holds_what_all_batches_together_say(batches: list[Batch]) -> None:
    with store_of(batches) as con:
        for event_type in TYPES:
            rows = con.execute(
                f"SELECT record_key, version, code FROM current.{quote(event_type)}"
            ).fetchall()
            assert {key: (version, code) for key, version, code in rows} == expected_current(
                batches, event_type
            )


@settings(max_examples=examples(8), deadline=None)
@given(deliveries(), st.data())
def test_any_order_and_any_repetition_gives_the_same_content(
    batches: list[Batch], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(batches), max_size=3))
    shuffled = data.draw(st.permutations([*batches, *again]))
    with store_of(batches) as con:
        expected = content(con)
    with store_of(shuffled) as con:
        assert content(con) == expected


@settings(max_examples=examples(8), deadline=None)
@given(deliveries())
def test_every_row_read_is_accounted_for(batches: list[Batch]) -> None:
    with store_of(batches) as con:
        told = con.execute(
            """SELECT sum(n_read),
                      sum(n_accepted + n_duplicate + n_superseded + n_quarantined + n_out_of_scope)
            FROM quality.reconciliation"""
        ).fetchone()
    read = sum(fates.n_read for batch in batches for fates in batch.fates.values())
    assert told in ((read, read), (None, None))


hex_keys = st.text("0123456789abcdef", min_size=64, max_size=64)


@settings(max_examples=examples(6), deadline=None)
@given(
    st.lists(st.tuples(hex_keys, st.booleans()), min_size=1, max_size=12),
    st.integers(1, 1024),
)
def test_shards_hold_all_events_of_the_treated_and_of_nobody_else(
    patients: list[tuple[str, bool]], n_buckets: int
) -> None:
    infusions = [
        event("InfusionRecorded", f"i{n}", patient_key=key)
        for n, (key, is_treated) in enumerate(patients)
        if is_treated
    ]
    labs = [
        event("LabResulted", f"l{n}", patient_key=key, value=float(n))
        for n, (key, _) in enumerate(patients)
    ]
    batch = make_batch("b", {"InfusionRecorded": infusions, "LabResulted": labs})
    with store_of([batch]) as con, tempfile.TemporaryDirectory() as name:
        folders = export_shards(con, Path(name) / "shards", n_buckets)
        found: dict[str, set[str]] = {}
        for folder in folders:
            assert sorted(path.stem for path in folder.iterdir()) == sorted(schemas.CLINICAL_TYPES)
            for event_type in TYPES:
                rows = con.execute(
                    "SELECT record_key, patient_key FROM read_parquet(?)",
                    [str(folder / f"{event_type}.parquet")],
                ).fetchall()
                for record, patient in rows:
                    assert record not in found
                    found[record] = {folder.name, patient}
    # A patient's slot is the first ten bits of the key; a bucket is a contiguous range of slots.
    buckets = {key: (int(key[:3], 16) // 4) * n_buckets // 1024 for key, _ in patients}
    treated = {key for key, is_treated in patients if is_treated}
    wanted_buckets = {buckets[key] for key in treated}
    assert {int(folder.name.removeprefix("bucket=")) for folder in folders} == wanted_buckets
    wanted = {row["record_key"]: row["patient_key"] for row in (*infusions, *labs)}
    assert found == {
        record: {f"bucket={buckets[patient]}", patient}
        for record, patient in wanted.items()
        if patient in treated
    }


def test_buckets_cover_the_slots_evenly() -> None:
    con = connect()
    for n_buckets in (1, 3, 16, 1000, 1024):
        rows = con.execute(
            f"""SELECT {bucket_sql(n_buckets)} AS bucket, count(*) FROM
            (SELECT printf('%03x', i) AS patient_key FROM range(4096) AS r(i)) GROUP BY ALL"""
        ).fetchall()
        assert sorted(bucket for bucket, _ in rows) == list(range(n_buckets))
        sizes = [size for _, size in rows]
        assert max(sizes) - min(sizes) <= 4
