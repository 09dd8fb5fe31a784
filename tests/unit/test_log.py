"""The event log holds what was delivered: rows add up, or nothing is written."""

from __future__ import annotations

import datetime as dt
import json
import stat
from dataclasses import replace

import duckdb
import pytest

import schemas
from pipelines.base import duck
from pipelines.base.errors import ExitCode, LogError, ReconciliationError
from pipelines.ingest.accounting import n_candidates, n_set_aside
from pipelines.ingest.log import EventLog
from pipelines.ingest.manifest import Manifest
from tests.log_kit import FACTS, LABS, MEDS, NIGHT, VERDICT, con, entries, log, records, stage

__all__ = ["con", "log"]


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
