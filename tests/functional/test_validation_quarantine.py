"""From a batch with bad rows to a held batch that somebody looks into and lets go."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from expectations.quarantine import (
    QuarantineCount,
    held_batches,
    quarantine_counts,
    quarantined_rows,
    release,
)
from expectations.validate import validate
from pipelines.base.site import ThresholdTable
from pipelines.ingest.facts import DeliveredFile, DeliveryFacts
from pipelines.ingest.log import EventLog, UnknownBatchError
from tests.checks_staging import CONCEPTS, DATA_THROUGH, THROUGH, good, staged

BATCH = "b" * 64
LAB = "LabResulted"


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    """Return a log with one held batch: 2 good rows, 3 rejected ones and an unreadable record."""
    rows = [
        good(LAB),
        good(LAB, unit="UNK"),
        good(LAB, record_key=None, value=1e9, value_text="SECRET"),
        good(LAB, record_key="k4", value=1e9),
        good(LAB, record_key="k5", time_precision=None),
    ]
    con = staged({LAB: rows}, types=[LAB])
    con.execute("UPDATE fate.file SET n_rows = 6")
    con.execute(
        "INSERT INTO fate.row VALUES (repeat('f', 64), 6, NULL, 'quarantined', "
        "'unreadable_record', NULL, NULL, NULL, NULL)"
    )
    con.execute("INSERT INTO fate.unreadable VALUES (repeat('f', 64), 6, 'SECRET')")
    verdict = validate(
        con,
        event_types=[LAB],
        data_through=DATA_THROUGH,
        concepts=CONCEPTS,
        thresholds=ThresholdTable(min_rows=5),
    )
    facts = DeliveryFacts(
        batch_id=BATCH,
        site_id="here",
        source="ehr",
        kind="delta",
        exported_at=THROUGH,
        data_through={LAB: THROUGH},
        mapping_hash="0" * 64,
        scope_hash="0" * 64,
        parser_version="1",
        files=(DeliveredFile(tmp_path / "labs.csv", "labs", "f" * 64),),
    )
    found = EventLog(tmp_path / "log")
    found.write(con, facts, verdict)
    found.hold(BATCH, verdict.hold_reasons)
    return found


def test_a_held_batch_says_why(log: EventLog) -> None:
    (held,) = held_batches(log)
    assert (held.batch_id, held.source, held.exported_at) == (BATCH, "ehr", THROUGH)
    assert (held.n_rows, held.n_quarantined) == (6, 4)
    assert any("3 of 5 LabResulted rows" in one for one in held.reasons)


def test_quarantined_rows_are_counted_per_type_and_check(log: EventLog) -> None:
    assert quarantine_counts(log) == [
        QuarantineCount(BATCH, "held", "", "unreadable_record", 1),
        QuarantineCount(BATCH, "held", LAB, "key_present", 1),
        QuarantineCount(BATCH, "held", LAB, "precision_known", 1),
        QuarantineCount(BATCH, "held", LAB, "value_possible", 2),
    ]


def test_rows_are_named_by_file_row_and_key_and_never_by_value(log: EventLog) -> None:
    (manifest,) = log.held()
    rows = quarantined_rows(log, manifest)
    assert [(row.event_type, row.source_row, row.record_key) for row in rows] == [
        ("", 6, None),
        (LAB, 3, None),
        (LAB, 4, "k4"),
        (LAB, 5, "k5"),
    ]
    assert {row.source_file_sha for row in rows} == {"f" * 12}
    assert rows[1].check_ids == ("key_present", "value_possible")
    assert "SECRET" not in str(rows)
    assert "1000000000" not in str(rows)


def test_a_released_batch_is_committed_and_its_rows_stay_in_quarantine(log: EventLog) -> None:
    release(log, BATCH[:8], released_at=datetime(2024, 3, 2, tzinfo=UTC), note="known fault")
    assert held_batches(log) == []
    (manifest,) = log.committed()
    assert manifest.fates["accepted"] == 2
    assert {one.state for one in quarantine_counts(log)} == {"committed"}
    assert len(quarantined_rows(log, manifest)) == 4


def test_a_batch_that_is_not_held_cannot_be_released(log: EventLog) -> None:
    with pytest.raises(UnknownBatchError):
        release(log, "c" * 64, released_at=THROUGH, note="")
