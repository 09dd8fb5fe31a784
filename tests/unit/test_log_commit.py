"""One rename commits a batch; a held one counts only after its release."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from pipelines.base import duck
from pipelines.base.errors import ConfigError, ExitCode, KeyFileError, LogError, StorageError
from pipelines.ingest.facts import DeliveryFacts
from pipelines.ingest.log import EventLog, UnknownBatchError
from pipelines.ingest.manifest import Manifest
from tests.log_kit import FACTS, NIGHT, VERDICT, con, delivery, entries, flip, log, stage

__all__ = ["con", "log"]


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
