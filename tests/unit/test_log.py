"""The event log: rows add up or nothing happens; one rename commits; damage is seen."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pytest

import schemas
from pipelines.base import duck
from pipelines.base.errors import (
    ConfigError,
    ExitCode,
    KeyFileError,
    LogError,
    ReconciliationError,
    StorageError,
)
from pipelines.ingest.accounting import n_candidates, n_set_aside
from pipelines.ingest.batch import batch_id
from pipelines.ingest.facts import CheckResult, DeliveredFile, DeliveryFacts, ValidationSummary
from pipelines.ingest.log import EventLog, UnknownBatchError
from pipelines.ingest.manifest import Manifest

LABS, MEDS = "1" * 64, "2" * 64
NIGHT = dt.datetime(2026, 1, 6, 2, tzinfo=dt.UTC)
VERDICT = ValidationSummary(
    checks=(CheckResult("no_code", "LabResulted", "code", "reject", 4, 1, 1, True, "conformance"),),
    checks_hash="c" * 64,
    hold_reasons=(),
)


def delivery(**changes: Any) -> DeliveryFacts:
    """Facts of a delivery whose id is right."""
    identity: dict[str, Any] = {
        "site_id": "demo",
        "source": "ehr",
        "kind": "delta",
        "exported_at": NIGHT,
        "data_through": {
            "LabResulted": NIGHT,
            "InfusionRecorded": NIGHT,
            "VitalSignMeasured": NIGHT,
        },
        "files": (
            DeliveredFile(Path("inbox/labs.csv"), "labs", LABS),
            DeliveredFile(Path("inbox/meds.csv.gz"), "meds", MEDS),
        ),
        "mapping_hash": "a" * 64,
        "scope_hash": "b" * 64,
        "parser_version": "1",
        **changes,
    }
    return DeliveryFacts(batch_id=batch_id(**identity), **identity)


FACTS = delivery()


def stage(con: duckdb.DuckDBPyConnection, facts: DeliveryFacts = FACTS) -> None:
    """Fill the staging tables: 8 rows of labs.csv and 2 of meds.csv, every fate at least once."""
    con.execute(
        """
        CREATE SCHEMA event; CREATE SCHEMA fate; CREATE SCHEMA judge;
        CREATE TABLE fate.file(source_file_sha VARCHAR, name VARCHAR, n_rows BIGINT);
        CREATE TABLE fate.row(source_file_sha VARCHAR, source_row BIGINT, event_type VARCHAR,
            fate VARCHAR, reason VARCHAR, code VARCHAR, code_system VARCHAR, record_key VARCHAR,
            source_part INTEGER);
        CREATE TABLE fate.unreadable(source_file_sha VARCHAR, source_row BIGINT, raw VARCHAR);
        CREATE TABLE fate.withdrawn(resource_key VARCHAR, version BIGINT, recorded_at TIMESTAMP,
            source_file_sha VARCHAR, source_row BIGINT, reason VARCHAR);
        CREATE TABLE judge.failure(event_type VARCHAR, source_file_sha VARCHAR, source_row BIGINT,
            source_part INTEGER, record_key VARCHAR, check_id VARCHAR, severity VARCHAR);
        CREATE TABLE judge.rejected(event_type VARCHAR, source_file_sha VARCHAR,
            source_row BIGINT, source_part INTEGER);
        """
    )
    for name in ("LabResulted", "InfusionRecorded"):
        con.execute(schemas.create_table_sql(name, f'event."{name}"'))
    insert = (
        'INSERT INTO event."{}" BY NAME SELECT $batch AS batch_id, $sha AS source_file_sha, '
        "unnest($rows) AS source_row, 'k' AS record_key, TIMESTAMP '1969-07-20 20:17:00' AS "
        "occurred_at, ['odd'] AS flags, 'Jane' AS display"
    )
    for name, sha, rows in (("LabResulted", LABS, [1, 2, 4, 6]), ("InfusionRecorded", MEDS, [2])):
        values = {"batch": facts.batch_id, "sha": sha, "rows": rows}
        con.execute(insert.format(name), values)
    con.execute("INSERT INTO fate.file VALUES (?, 'labs.csv', 8), (?, 'meds.csv', 2)", [LABS, MEDS])
    fates = [
        (LABS, 3, "LabResulted", "out_of_scope", None, "718-7", "loinc", "k3"),
        (LABS, 5, "LabResulted", "duplicate", None, None, None, "k5"),
        (LABS, 7, "LabResulted", "out_of_scope", None, "718-7", "loinc", "k7"),
        (LABS, 8, "LabResulted", "quarantined", "unreadable_record", None, None, None),
        (MEDS, 1, None, "quarantined", "unknown_event_type", None, None, None),
    ]
    con.executemany("INSERT INTO fate.row VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", fates)
    con.execute("INSERT INTO fate.unreadable VALUES (?, 8, 'a;\"b')", [LABS])
    con.execute(
        "INSERT INTO judge.failure VALUES ('LabResulted', $1, 4, NULL, 'k', 'no_code', 'reject'), "
        "('LabResulted', $1, 4, NULL, 'k', 'bad_value', 'reject'), "
        "('LabResulted', $1, 4, NULL, 'k', 'unknown_unit', 'warn'), "
        "('LabResulted', $1, 6, NULL, 'k', 'unknown_unit', 'warn')",
        [LABS],
    )
    con.execute("INSERT INTO judge.rejected VALUES ('LabResulted', ?, 4, NULL)", [LABS])


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duck.connect()
    stage(connection)
    yield connection
    connection.close()


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "log")


def entries(log: EventLog, state: str) -> list[str]:
    return sorted(entry.name for entry in (log.root / state).iterdir())


def records(path: Path, name: str) -> list[Any]:
    with path.open("rb") as stream:
        return list(fastavro.reader(stream, schemas.canonical(name)))


# --- what is written ----------------------------------------------------------------------------


def test_every_row_ends_in_exactly_one_fate(log: EventLog, con: duckdb.DuckDBPyConnection) -> None:
    manifest = log.write(con, FACTS, VERDICT)
    assert manifest.fates == {
        "accepted": 4,
        "quarantined": 3,
        "duplicate": 1,
        "superseded": 0,
        "out_of_scope": 2,
        "reference": 0,
    }
    assert sum(manifest.fates.values()) == manifest.n_rows == 10
    assert {name: sum(counts.values()) for name, counts in manifest.fates_by_type.items()} == {
        "LabResulted": 8,
        "InfusionRecorded": 1,
        "unknown": 1,
    }
    assert [(one.code, one.n_rows) for one in manifest.out_of_scope] == [("718-7", 2)]
    assert manifest.types["LabResulted"].quarantined == 2


def test_the_files_hold_what_was_accepted_and_open_with_fastavro(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    log.write(con, FACTS, VERDICT)
    log.commit(FACTS.batch_id)
    folder = log.root / "committed" / FACTS.batch_id
    assert entries(log, f"committed/{FACTS.batch_id}") == [
        "ExtractDelivered.avro",
        "InfusionRecorded.avro",
        "LabResulted.avro",
        "manifest.json",
        "quarantine.avro",
    ]
    labs = records(folder / "LabResulted.avro", "LabResulted")
    assert sorted(row["source_row"] for row in labs) == [1, 2, 6]
    assert labs[0]["occurred_at"] == dt.datetime(1969, 7, 20, 20, 17, tzinfo=dt.UTC)
    told = records(folder / "ExtractDelivered.avro", "ExtractDelivered")
    assert [(row["reported_event_type"], row["n_rows"]) for row in told] == [
        ("InfusionRecorded", 1),
        ("LabResulted", 3),
        ("VitalSignMeasured", 0),
    ]
    assert {row["data_through_at"] for row in told} == {NIGHT}
    assert len({row["record_key"] for row in told}) == 3


def test_the_quarantine_names_checks_and_keeps_what_there_was(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    log.write(con, FACTS, VERDICT)
    log.commit(FACTS.batch_id)
    folder = log.root / "committed" / FACTS.batch_id
    rejected, unreadable, unknown = records(folder / "quarantine.avro", "Quarantined")
    assert (rejected["source_row"], rejected["check_ids"]) == (4, ["bad_value", "no_code"])
    event = json.loads(rejected["event_json"])
    assert list(event) == [field.name for field in schemas.fields("LabResulted")]
    assert (event["display"], event["flags"]) == ("Jane", ["odd"])
    assert (unreadable["raw"], unreadable["check_ids"]) == ('a;"b', ["unreadable_record"])
    assert (unknown["event_type"], unknown["check_ids"]) == (None, ["unknown_event_type"])


def test_what_stood_in_the_place_of_an_event_type_does_not_reach_the_manifest(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    con.execute("UPDATE fate.row SET event_type = 'Jane Doe' WHERE event_type IS NULL")
    manifest = log.write(con, FACTS, VERDICT)
    assert manifest.fates_by_type["unknown"]["quarantined"] == 1
    assert "Jane" not in manifest.to_json()
    log.commit(FACTS.batch_id)
    assert log.read_quarantine(manifest)["event_type"].to_pylist().count(None) == 1


def test_folders_and_files_are_for_their_owner_alone(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    log.write(con, FACTS, VERDICT)
    log.commit(FACTS.batch_id)
    for path in (log.root, *log.root.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path.name


def test_the_manifest_comes_back_from_json_and_holds_no_value(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    manifest = log.write(con, FACTS, VERDICT, study_hashes={"bone": "d" * 64}, key_check="e" * 16)
    text = manifest.to_json()
    assert Manifest.from_json(text) == manifest
    assert "Jane" not in text
    assert "1969" not in text
    assert manifest.checks == VERDICT.checks


def test_the_same_delivery_makes_the_same_manifest_but_for_the_files_random_marks(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    first, second = log.write(con, FACTS, VERDICT), log.write(con, FACTS, VERDICT)
    assert replace(first, types={}, quarantine=second.quarantine) == replace(second, types={})


def test_columns_are_read_back_from_the_log(log: EventLog, con: duckdb.DuckDBPyConnection) -> None:
    log.write(con, FACTS, VERDICT)
    log.commit(FACTS.batch_id)
    (manifest,) = log.committed()
    assert set(log.read(manifest, "LabResulted")["source_row"].to_pylist()) == {1, 2, 6}
    assert sum(part.num_rows for part in log.read_parts(manifest, "LabResulted")) == 3
    assert log.read_quarantine(manifest).num_rows == 3


# --- sums ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        ("DELETE FROM fate.row WHERE source_row = 3", "7 are accounted for"),
        ("DELETE FROM event.\"InfusionRecorded\"", "1 are accounted for"),
        ("INSERT INTO fate.row FROM fate.row WHERE source_row = 3", "1 rows .* for twice"),
        ("UPDATE fate.row SET source_row = 1 WHERE source_row = 3", "some of them twice"),
        ("UPDATE fate.row SET source_row = 9 WHERE source_row = 3", "some of them twice"),
        ("UPDATE fate.row SET source_row = 0 WHERE source_row = 3", "some of them twice"),
        ("UPDATE fate.file SET n_rows = 9 WHERE n_rows = 8", "of 9 rows"),
        ("UPDATE fate.file SET n_rows = NULL WHERE n_rows = 2", "of None rows"),
        ("UPDATE fate.row SET fate = 'lost' WHERE source_row = 3", "does not exist"),
        ("UPDATE fate.row SET fate = 'accepted' WHERE source_row = 3", "does not exist"),
        ("UPDATE fate.row SET fate = NULL WHERE source_row = 3", "does not exist"),
        ("UPDATE fate.row SET source_row = NULL WHERE source_row = 3", "which row"),
        ("UPDATE fate.row SET source_file_sha = 'x' WHERE source_row = 3", "not delivered"),
        ("UPDATE judge.rejected SET source_row = 3", "no candidates"),
        ("UPDATE judge.rejected SET event_type = 'InfusionRecorded'", "no candidates"),
        ("INSERT INTO judge.rejected FROM judge.rejected", "rejected twice"),
        ("DELETE FROM judge.failure WHERE severity = 'reject'", "rejected by no check"),
        ("UPDATE event.\"LabResulted\" SET batch_id = 'x'", "another batch's id"),
        ("CREATE TABLE event.Other (a INT)", "of no event type: Other"),
        ("DELETE FROM fate.file; DELETE FROM fate.row", "not delivered"),
        (
            "UPDATE fate.file SET source_file_sha = 'y' WHERE n_rows = 2; "
            "UPDATE fate.row SET source_file_sha = 'y' WHERE reason = 'unknown_event_type'; "
            "UPDATE event.\"InfusionRecorded\" SET source_file_sha = 'y'",
            "not the files that were delivered",
        ),
        ("INSERT INTO fate.unreadable FROM fate.unreadable", "holds 4 rows, but 3"),
    ],
)  # fmt: skip
def test_rows_that_do_not_add_up_stop_the_batch(
    log: EventLog, con: duckdb.DuckDBPyConnection, damage: str, cause: str
) -> None:
    con.execute(damage)
    if "UPDATE judge.rejected" in damage:
        con.execute("INSERT INTO judge.failure SELECT *, NULL, 'c', 'reject' FROM judge.rejected")
    with pytest.raises(ReconciliationError, match=cause) as caught:
        log.write(con, FACTS, VERDICT)
    assert caught.value.exit_code == ExitCode.RECONCILIATION
    assert "Jane" not in str(caught.value)
    assert log.committed() == []
    with pytest.raises(LogError):
        log.commit(FACTS.batch_id)


def test_a_file_in_two_roles_has_each_row_twice(log: EventLog) -> None:
    con = duck.connect()
    stage(con)
    con.execute("INSERT INTO fate.file FROM fate.file WHERE n_rows = 2")
    con.execute(
        "INSERT INTO fate.row SELECT ?, unnest([1, 2]), 'MedicationGiven', 'out_of_scope', "
        "NULL, NULL, NULL, NULL, NULL",
        [MEDS],
    )
    assert log.write(con, FACTS, VERDICT).n_rows == 12


# --- nested records -----------------------------------------------------------------------------


def nest(con: duckdb.DuckDBPyConnection) -> None:
    """Make parts of some rows: LABS 1 has two good ones, 4 a good and a bad one, MEDS 1 is two."""
    con.execute(
        "UPDATE event.\"LabResulted\" SET source_part = 1, resource_key = 'r' || source_row"
    )
    con.execute(
        'INSERT INTO event."LabResulted" SELECT * REPLACE (2 AS source_part) '
        'FROM event."LabResulted" WHERE source_row IN (1, 4)'
    )
    con.execute(
        "UPDATE judge.failure SET source_part = 1; UPDATE judge.rejected SET source_part = 1"
    )
    con.executemany(
        "INSERT INTO fate.row VALUES (?, ?, ?, ?, NULL, '8480-6', 'loinc', NULL, ?)",
        [
            (LABS, 2, "VitalSignMeasured", "out_of_scope", None),
            (LABS, 3, "LabResulted", "superseded", 2),
        ],
    )
    con.execute("UPDATE fate.row SET fate = 'reference' WHERE source_row = 7")


def test_a_nested_record_counts_once_under_the_best_of_its_fates(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    nest(con)
    manifest = log.write(con, FACTS, VERDICT)
    assert manifest.fates == {
        "accepted": 5,  # labs 1, 2, 4 (though a part of it is rejected), 6 and the infusion
        "quarantined": 2,
        "superseded": 1,  # labs 3, of which the other part is out of scope
        "duplicate": 1,
        "out_of_scope": 0,
        "reference": 1,
    }
    assert sum(manifest.fates.values()) == manifest.n_rows == 10
    labs = manifest.fates_by_type["LabResulted"]
    assert (labs["accepted"], labs["quarantined"], labs["superseded"]) == (5, 2, 1)
    assert manifest.fates_by_type["VitalSignMeasured"]["out_of_scope"] == 1
    assert Manifest.from_json(manifest.to_json()) == manifest
    log.commit(FACTS.batch_id)
    quarantined = log.read_quarantine(manifest).select(["source_row", "source_part"]).to_pylist()
    assert {"source_row": 4, "source_part": 1} in quarantined
    assert len(quarantined) == 3
    assert (n_candidates(con), n_set_aside(con)) == (7, 3)


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        ("UPDATE event.\"LabResulted\" SET source_part = 1", "no candidates|twice"),
        ("UPDATE judge.rejected SET source_part = NULL", "rejected by no check"),
        ("UPDATE judge.rejected SET source_part = 3; UPDATE judge.failure SET source_part = 3",
         "no candidates"),
        ("INSERT INTO fate.row SELECT * REPLACE ('duplicate' AS fate) FROM fate.row "
         "WHERE source_part = 2", "accounted for twice"),
        ("UPDATE event.\"LabResulted\" SET source_row = 1 WHERE source_row = 6", "some of them"),
        ("INSERT INTO fate.withdrawn VALUES (NULL, 1, now()::TIMESTAMP, 'f', 1, 'deleted')",
         "withdrawals do not say"),
        ("INSERT INTO fate.withdrawn VALUES ('r1', NULL, now()::TIMESTAMP, 'f', 1, 'deleted')",
         "withdrawals do not say"),
        ("INSERT INTO fate.withdrawn VALUES ('r1', 1, now()::TIMESTAMP, 'f', 1, 'lost')",
         "withdrawals do not say"),
    ],
)  # fmt: skip
def test_parts_that_do_not_add_up_stop_the_batch(
    log: EventLog, con: duckdb.DuckDBPyConnection, damage: str, cause: str
) -> None:
    nest(con)
    con.execute(damage)
    with pytest.raises(ReconciliationError, match=cause):
        log.write(con, FACTS, VERDICT)


def test_what_a_delivery_takes_back_is_in_the_log_once_per_resource_and_reason(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    con.execute(
        "INSERT INTO fate.withdrawn VALUES "
        "('r1', 5, TIMESTAMP '2026-01-05', $1, 3, 'deleted'), "
        "('r1', 7, TIMESTAMP '2026-01-06', $1, 8, 'deleted'), "
        "('r1', 2, TIMESTAMP '2026-01-04', $1, 1, 'out_of_scope')",
        [LABS],
    )
    manifest = log.write(con, FACTS, VERDICT)
    log.commit(FACTS.batch_id)
    folder = log.root / "committed" / FACTS.batch_id
    told = records(folder / "RecordWithdrawn.avro", "RecordWithdrawn")
    assert manifest.types["RecordWithdrawn"].rows == len(told) == 2
    assert [
        (one["resource_key"], one["reason"], one["version"], one["source_row"]) for one in told
    ] == [
        ("r1", "deleted", 7, 8),
        ("r1", "out_of_scope", 2, 1),
    ]
    assert {one["operation"] for one in told} == {"retract"}
    assert len({one["record_key"] for one in told}) == 2


def test_an_empty_delivery_is_a_batch_too(log: EventLog, con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "DELETE FROM fate.row; DELETE FROM fate.unreadable; DELETE FROM judge.rejected; "
        'DELETE FROM judge.failure; DELETE FROM event."LabResulted"; '
        'DELETE FROM event."InfusionRecorded"; UPDATE fate.file SET n_rows = 0'
    )
    manifest = log.write(con, FACTS, VERDICT)
    log.commit(FACTS.batch_id)
    assert manifest.n_rows == 0
    assert log.read(manifest, "LabResulted").num_rows == 0


# --- commit, hold, release ----------------------------------------------------------------------


def test_written_is_not_committed(log: EventLog, con: duckdb.DuckDBPyConnection) -> None:
    log.write(con, FACTS, VERDICT)
    assert log.committed() == []
    assert not log.is_committed(FACTS.batch_id)


def test_the_same_batch_twice_is_a_no_op(log: EventLog, con: duckdb.DuckDBPyConnection) -> None:
    first = log.write(con, FACTS, VERDICT)
    assert log.commit(FACTS.batch_id)
    log.write(con, FACTS, VERDICT)
    assert not log.commit(FACTS.batch_id)
    log.write(con, FACTS, VERDICT)
    assert not log.hold(FACTS.batch_id)
    assert log.committed() == [first]
    assert entries(log, "tmp") == entries(log, "held") == []


def test_committed_batches_come_in_one_order_whatever_order_they_came_in(tmp_path: Path) -> None:
    nights = [
        delivery(exported_at=NIGHT + dt.timedelta(days=day), source=source)
        for day in (0, 1)
        for source in ("ehr", "lab")
    ]
    orders = []
    for number, order in enumerate((nights, nights[::-1])):
        log = EventLog(tmp_path / str(number))
        for facts in order:
            con = duck.connect()
            stage(con, facts)
            log.write(con, facts, VERDICT)
            log.commit(facts.batch_id)
        orders.append([one.batch_id for one in log.committed()])
    assert orders[0] == orders[1] == [facts.batch_id for facts in nights]


def test_a_held_batch_counts_only_after_its_release(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    reasons = ("LabResulted: 1 of 4 rows rejected",)
    log.write(con, FACTS, replace(VERDICT, hold_reasons=reasons))
    assert log.hold(FACTS.batch_id, ("somebody asked",))
    assert log.committed() == []
    (held,) = log.held()
    assert held.hold_reasons == (*reasons, "somebody asked")
    assert log.read_quarantine(held).num_rows == 3
    released = log.release(FACTS.batch_id[:8], released_at=NIGHT, note="mapping is right")
    assert log.committed() == [released] == [held]
    assert log.held() == []
    assert log.was_released(FACTS.batch_id)
    note = json.loads((log.root / "committed" / FACTS.batch_id / "release.json").read_text())
    assert note["note"] == "mapping is right"


def test_a_batch_that_is_held_again_replaces_the_held_one(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    for reason in ("first", "second"):
        log.write(con, FACTS, VERDICT)
        log.hold(FACTS.batch_id, (reason,))
    assert [one.hold_reasons for one in log.held()] == [("second",)]


def test_a_held_batch_that_passes_later_is_committed_and_no_longer_held(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    log.write(con, FACTS, VERDICT)
    log.hold(FACTS.batch_id, ("too many",))
    assert log.is_held(FACTS.batch_id)
    log.write(con, FACTS, VERDICT)
    log.commit(FACTS.batch_id)
    assert not log.is_held(FACTS.batch_id)
    assert entries(log, "held") == []
    assert not log.was_released(FACTS.batch_id)


@pytest.mark.parametrize("start", ["", "f" * 64, "no such"])
def test_a_batch_that_is_not_held_cannot_be_released(
    log: EventLog, con: duckdb.DuckDBPyConnection, start: str
) -> None:
    log.write(con, FACTS, VERDICT)
    log.hold(FACTS.batch_id, ("too many",))
    with pytest.raises(UnknownBatchError) as caught:
        log.release(start)
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_damaged_held_batch_cannot_be_released(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    log.write(con, FACTS, VERDICT)
    log.hold(FACTS.batch_id, ("too many",))
    flip(log.root / "held" / FACTS.batch_id / "LabResulted.avro")
    with pytest.raises(LogError):
        log.release(FACTS.batch_id)
    assert log.committed() == []


def write(log: EventLog, facts: DeliveryFacts) -> Manifest:
    with duck.connect() as con:
        stage(con, facts)
        return log.write(con, facts, VERDICT)


def test_a_held_reading_is_settled_by_a_later_one_and_not_by_the_one_it_replaces(
    log: EventLog,
) -> None:
    first = write(log, FACTS)
    log.commit(first.batch_id)
    second = write(log, delivery(mapping_hash="d" * 64))
    log.hold(second.batch_id)
    assert second.replaces == (first.batch_id,)
    assert not second.is_read_again_as(first)
    third = write(log, delivery(mapping_hash="e" * 64))
    log.commit(third.batch_id)
    assert second.is_read_again_as(third)
    with pytest.raises(UnknownBatchError, match="read again"):
        log.release(second.batch_id)
    assert log.in_force() == [third]


def test_nights_in_which_nothing_was_new_are_no_readings_of_one_delivery(log: EventLog) -> None:
    """An export without changes has no files; two of them are two nights all the same."""

    def night(day: int, mapping: str) -> Manifest:
        facts = delivery(files=(), exported_at=NIGHT.replace(day=day), mapping_hash=mapping * 64)
        with duck.connect() as con:
            stage(con, facts)
            con.execute(
                "DELETE FROM fate.row; DELETE FROM fate.unreadable; DELETE FROM fate.file; "
                "DELETE FROM judge.rejected; DELETE FROM judge.failure; "
                'DELETE FROM event."LabResulted"; DELETE FROM event."InfusionRecorded"'
            )
            return log.write(con, facts, VERDICT)

    first = night(6, "a")
    log.commit(first.batch_id)
    second = night(7, "d")
    assert second.replaces == ()
    assert not second.is_read_again_as(first)
    assert night(6, "d").replaces == (first.batch_id,)


def test_a_held_reading_can_be_released_over_the_one_it_replaces(log: EventLog) -> None:
    first = write(log, FACTS)
    log.commit(first.batch_id)
    second = write(log, delivery(mapping_hash="d" * 64))
    log.hold(second.batch_id)
    log.release(second.batch_id)
    assert log.in_force() == [second]


def test_what_file_systems_put_into_the_log_is_left_alone_and_strays_are_named(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    log.write(con, FACTS, VERDICT)
    log.commit(FACTS.batch_id)
    for name in (".snapshot", "lost+found"):
        (log.root / "committed" / name).mkdir()
    assert [one.batch_id for one in log.committed()] == [FACTS.batch_id]
    (log.root / "committed" / "copy of the log").mkdir()
    with pytest.raises(LogError) as caught:
        log.committed()
    assert "copy of the log" in str(caught.value.where)


def test_another_site_than_the_logs_is_refused_by_its_name(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    log.write(con, FACTS, VERDICT)
    log.commit(FACTS.batch_id)
    log.check_site("demo")
    with pytest.raises(ConfigError, match=r"`south`.*`demo`"):
        log.check_site("south")


def test_a_manifest_of_before_namespaces_were_told_is_still_read(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    whole = json.loads(log.write(con, FACTS, VERDICT).to_json())["manifest"]
    del whole["namespaces"]
    text = json.dumps(whole, sort_keys=True)
    told = {"manifest": whole, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    assert Manifest.from_json(json.dumps(told)).namespaces == ()


def test_a_log_that_nobody_has_written_to_is_empty(log: EventLog) -> None:
    assert log.committed() == log.held() == []
    assert log.clean_tmp() == 0
    assert not log.root.exists()


def test_another_key_than_the_logs_is_refused(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    log.check_key("a" * 16)
    log.write(con, FACTS, VERDICT, key_check="a" * 16)
    log.commit(FACTS.batch_id)
    log.check_key("a" * 16)
    with pytest.raises(KeyFileError):
        log.check_key("b" * 16)


def test_a_folder_that_cannot_be_written_is_a_storage_error(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        EventLog(tmp_path / "log").write(con, FACTS, VERDICT)


# --- kills --------------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.base import duck
from pipelines.ingest import {module}
from tests.unit.test_log import FACTS, VERDICT, stage
from pipelines.ingest.log import EventLog

real = {target}
def killing(*arguments, **named):
    {after}
    os.kill(os.getpid(), signal.SIGKILL)
{target} = killing
con = duck.connect()
stage(con)
log = EventLog(Path(sys.argv[1]))
log.write(con, FACTS, VERDICT)
log.commit(FACTS.batch_id)
"""


def killed(root: Path, module: str, target: str, *, after: bool) -> None:
    """Run write and commit in a process that is killed at (or just after) a call."""
    code = _KILLED.format(
        module=module, target=target, after="real(*arguments, **named)" if after else "pass"
    )
    where = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(where)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("module", "target", "after"),
    [
        ("pack", "pack._write_type", True),
        ("pack", "pack._write_quarantine", True),
        ("pack", "pack.write_manifest", False),
        ("pack", "pack.write_manifest", True),
        ("log", "Path.rename", False),
    ],
)
def test_killed_before_the_rename_nothing_is_committed_and_the_next_run_does_it(
    log: EventLog, con: duckdb.DuckDBPyConnection, module: str, target: str, after: bool
) -> None:
    killed(log.root, module, target, after=after)
    assert log.committed() == []
    assert entries(log, "tmp") == [FACTS.batch_id]
    assert log.clean_tmp() == 1
    assert entries(log, "tmp") == []
    log.write(con, FACTS, VERDICT)
    assert log.commit(FACTS.batch_id)
    assert len(log.verify()) == 1


def test_killed_after_the_rename_the_batch_is_committed_whole(log: EventLog) -> None:
    killed(log.root, "log", "Path.rename", after=True)
    (manifest,) = log.verify()
    assert manifest.batch_id == FACTS.batch_id
    assert log.read(manifest, "LabResulted").num_rows == 3


def test_killed_between_commit_and_dropping_the_held_copy_it_is_committed_alone(
    log: EventLog, con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write(con, FACTS, VERDICT)
    log.hold(FACTS.batch_id, ("too many",))
    log.write(con, FACTS, VERDICT)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda _: None)
        log.commit(FACTS.batch_id)
    assert log.held() == []
    assert not log.is_held(FACTS.batch_id)
    log.clean_tmp()
    assert entries(log, "held") == []
    assert len(log.committed()) == 1


# --- damage -------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture
def folder(log: EventLog, con: duckdb.DuckDBPyConnection) -> Path:
    log.write(con, FACTS, VERDICT)
    log.commit(FACTS.batch_id)
    return log.root / "committed" / FACTS.batch_id


def test_a_missing_or_shortened_file_is_seen_when_the_log_is_listed(
    log: EventLog, folder: Path
) -> None:
    path = folder / "LabResulted.avro"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(LogError, match="damaged"):
        log.committed()
    path.unlink()
    with pytest.raises(LogError, match=r"LabResulted\.avro"):
        log.committed()


@pytest.mark.parametrize("name", ["LabResulted.avro", "quarantine.avro"])
def test_a_changed_byte_is_seen_by_verify_and_on_reading(
    log: EventLog, folder: Path, name: str
) -> None:
    flip(folder / name)
    (manifest,) = log.committed()
    with pytest.raises(LogError):
        log.verify()
    with pytest.raises(LogError):
        _ = log.read(manifest, "LabResulted"), log.read_quarantine(manifest)


def test_a_manifest_that_is_missing_changed_or_of_another_batch_is_a_log_error(
    log: EventLog, folder: Path
) -> None:
    path = folder / "manifest.json"
    text = path.read_text()
    for wrong in (
        text.replace('"rows": 3', '"rows": 4'),
        text[:-30],
        "[]",
        "{}",
        "",
        text.replace('"format": 1', '"format": 2'),
    ):
        assert wrong != text
        path.write_text(wrong)
        with pytest.raises(LogError, match="damaged"):
            log.committed()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LogError):
        log.committed()
    path.unlink()
    with pytest.raises(LogError):
        log.committed()
    path.write_text(text)
    folder.rename(folder.with_name("f" * 64))
    with pytest.raises(LogError):
        log.committed()


# --- batch ids ----------------------------------------------------------------------------------


def test_file_order_names_and_the_zone_of_a_time_do_not_change_the_batch() -> None:
    berlin = dt.timezone(dt.timedelta(hours=1))
    moved = tuple(replace(file, path=Path("elsewhere")) for file in reversed(FACTS.files))
    same = delivery(files=moved, exported_at=NIGHT.astimezone(berlin))
    assert same.batch_id == FACTS.batch_id
    assert len(FACTS.batch_id) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"site_id": "other"},
        {"source": "other"},
        {"kind": "snapshot"},
        {"exported_at": NIGHT + dt.timedelta(microseconds=1)},
        {"data_through": {**FACTS.data_through, "LabResulted": NIGHT - dt.timedelta(days=1)}},
        {"data_through": {"LabResulted": NIGHT}},
        {"mapping_hash": "0" * 64},
        {"scope_hash": "0" * 64},
        {"parser_version": "2"},
        {"files": FACTS.files[:1]},
        {"files": (*FACTS.files, FACTS.files[0])},
        {
            "files": (
                replace(FACTS.files[0], role="meds"),
                replace(FACTS.files[1], role="labs"),
            )
        },
    ],
)
def test_whatever_the_result_may_depend_on_makes_another_batch(change: dict[str, Any]) -> None:
    assert delivery(**change).batch_id != FACTS.batch_id


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        delivery(exported_at=NIGHT.replace(tzinfo=None))
