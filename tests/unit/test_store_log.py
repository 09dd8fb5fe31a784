"""The store and the event log together: the log is the truth, the store catches up with it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import fastavro
import pytest

import schemas
from pipelines.base import duck
from pipelines.base.errors import LogError
from pipelines.ingest.log import EventLog
from tests.log_kit import NIGHT, VERDICT, delivery, stage
from tests.unit.store_batches import make_site
from warehouse.store import Store

ROOT = Path(__file__).parents[2]


def commit(log: EventLog, night: int = 0, **changes: str) -> str:
    """Commit a delivery of ten rows with every fate; each night's is exported a day later."""
    facts = delivery(exported_at=NIGHT + dt.timedelta(days=night), **changes)
    with duck.connect() as con:
        stage(con, facts)
        for event_type in ("LabResulted", "InfusionRecorded"):
            con.execute(
                f"UPDATE event.\"{event_type}\" SET record_key = 'k' || source_row, version = 1,"
                " source = 'ehr', site_id = 'demo'"
            )
        log.write(con, facts, VERDICT)
    log.commit(facts.batch_id)
    return facts.batch_id


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "restricted" / "log")


def test_a_committed_batch_is_applied_with_all_its_fates(tmp_path: Path, log: EventLog) -> None:
    batch = commit(log)
    with Store(make_site(tmp_path)) as store:
        [applied] = store.apply_missing(log, "r1")
        assert (applied.batch_id, applied.n_accepted) == (batch, 4)
        assert store.con.execute(
            """SELECT event_type, n_read, n_accepted, n_duplicate, n_superseded, n_quarantined,
            n_out_of_scope, run_id FROM quality.reconciliation ORDER BY ALL"""
        ).fetchall() == [
            ("InfusionRecorded", 1, 1, 0, 0, 0, 0, "r1"),
            ("LabResulted", 8, 3, 1, 0, 2, 2, "r1"),
            ("unknown", 1, 0, 0, 0, 1, 0, "r1"),
        ]
        assert store.con.execute(
            "SELECT event_type, source_row, check_ids FROM quality.quarantine ORDER BY 1, 2"
        ).fetchall() == [
            ("LabResulted", 4, ["bad_value", "no_code"]),
            ("LabResulted", 8, ["unreadable_record"]),
            (None, 1, ["unknown_event_type"]),
        ]
        assert store.con.execute("SELECT n_read, n_accepted FROM ops.batch").fetchall() == [(10, 4)]
        assert store.con.execute(
            "SELECT check_id, n_rows, n_failed, agrees FROM quality.check_result"
        ).fetchall() == [("no_code", 4, 1, True)]
        assert store.data_through() == dict.fromkeys(
            ("InfusionRecorded", "LabResulted", "VitalSignMeasured"), NIGHT.replace(tzinfo=None)
        )


def test_only_what_is_missing_is_applied(tmp_path: Path, log: EventLog) -> None:
    first = commit(log)
    with Store(make_site(tmp_path)) as store:
        assert [one.batch_id for one in store.apply_missing(log)] == [first]
        assert store.apply_missing(log) == []
        second = commit(log, night=1)
        [applied] = store.apply_missing(log)
        assert applied.batch_id == second
        # The same rows again: told before, every one of them.
        assert applied.n_accepted == 0
        assert sum(row.n_duplicate for row in applied.rows) == 4 + 1


def test_a_store_that_was_lost_is_filled_to_the_same_content(tmp_path: Path, log: EventLog) -> None:
    for night in range(3):
        commit(log, night)
    site = make_site(tmp_path)
    question = 'FROM current."LabResulted" ORDER BY record_key'
    with Store(site) as store:
        store.apply_missing(log)
        before = store.con.execute(question).fetchall(), store.state_hash()
    site.store_path.unlink()
    with Store(site) as store:
        store.apply_missing(log)
        assert (store.con.execute(question).fetchall(), store.state_hash()) == before


def test_a_batch_that_vanished_from_the_log_is_an_error_and_nothing_is_dropped(
    tmp_path: Path, log: EventLog
) -> None:
    first, second = commit(log), commit(log, night=1)
    with Store(make_site(tmp_path)) as store:
        store.apply_missing(log)
        shutil.rmtree(log.root / "committed" / first)
        with pytest.raises(LogError, match="gone from the event log") as caught:
            store.apply_missing(log)
        assert first in str(caught.value.where)
        assert "backup" in caught.value.remedy
        assert store.batch_ids() == sorted([first, second])


def test_a_reading_that_a_later_one_replaced_may_vanish(tmp_path: Path, log: EventLog) -> None:
    first = commit(log)
    with Store(make_site(tmp_path)) as store:
        store.apply_missing(log)
        second = commit(log, mapping_hash="d" * 64)
        shutil.rmtree(log.root / "committed" / first)
        store.apply_missing(log)
        assert store.batch_ids() == [second]


def test_a_damaged_batch_stops_there_and_leaves_the_ones_before(
    tmp_path: Path, log: EventLog
) -> None:
    first, second = commit(log), commit(log, night=1)
    path = log.root / "committed" / second / "LabResulted.avro"
    content = bytearray(path.read_bytes())
    content[-20] ^= 0xFF
    path.write_bytes(content)
    with Store(make_site(tmp_path)) as store:
        with pytest.raises(LogError):
            store.apply_missing(log)
        assert store.batch_ids() == [first]


def write_as_before_parts(log: EventLog, batch: str) -> None:
    """Rewrite a committed batch as version 1 of the schemas and a manifest without `reference`."""
    folder = log.root / "committed" / batch
    whole = json.loads((folder / "manifest.json").read_text())["manifest"]
    for name, file in [*whole["types"].items(), ("Quarantined", whole["quarantine"])]:
        schema = schemas.canonical(name, 1)
        path = folder / file["path"]
        names = {field["name"] for field in schema["fields"]}
        with path.open("rb") as stream:
            rows = [{k: v for k, v in row.items() if k in names} for row in fastavro.reader(stream)]
        with path.open("wb") as stream:
            fastavro.writer(stream, schema, rows)
        content = path.read_bytes()
        file |= {"sha256": hashlib.sha256(content).hexdigest(), "n_bytes": len(content)}
        file["fingerprint"] = schemas.fingerprint(schema)
    for counts in (whole["fates"], *whole["fates_by_type"].values()):
        assert counts.pop("reference") == 0
    digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"manifest": whole, "sha256": digest}))


def test_a_log_of_before_parts_were_told_gives_the_same_store(
    tmp_path: Path, log: EventLog
) -> None:
    batch = commit(log)
    site = make_site(tmp_path)
    questions = [
        *(f'FROM current."{name}" ORDER BY ALL' for name in ("LabResulted", "InfusionRecorded")),
        *(f"FROM quality.{name} ORDER BY ALL" for name in ("quarantine", "reconciliation")),
        "FROM ops.batch",
    ]
    found = []
    for rewrite in (False, True):
        if rewrite:
            write_as_before_parts(log, batch)
        site.store_path.unlink(missing_ok=True)
        with Store(site) as store:
            store.apply_missing(log, "r1")
            found.append([store.con.execute(question).fetchall() for question in questions])
            found[-1].append([(store.state_hash(),)])
    assert found[0] == found[1]
    assert log.verify()


def test_killed_while_applying_the_next_run_applies_the_batch_whole(
    tmp_path: Path, log: EventLog
) -> None:
    """SIGKILL with all rows merged and nothing committed: the batch is wholly absent."""
    first, second = commit(log), commit(log, night=1)
    script = """
import os, signal, sys
from pathlib import Path
from pipelines.ingest.log import EventLog
from tests.unit.store_batches import make_site
from warehouse import intake
from warehouse.store import Store

whole, calls = intake.keep_facts, []

def die_on_the_second(*args):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args)

intake.keep_facts = die_on_the_second
with Store(make_site(Path(sys.argv[1]))) as store:
    store.apply_missing(EventLog(Path(sys.argv[2])))
"""
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(log.root)],
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with Store(make_site(tmp_path)) as store:
        assert store.rebuilt_because is None
        assert store.batch_ids() == [first]
        assert store.con.execute('SELECT count(*) FROM event."LabResulted"').fetchone() == (3,)
        assert [one.batch_id for one in store.apply_missing(log)] == [second]


def test_no_value_of_a_patient_enters_what_is_published_about_quarantine(
    tmp_path: Path, log: EventLog
) -> None:
    commit(log)
    with Store(make_site(tmp_path)) as store:
        store.apply_missing(log)
        for table in ("quarantine", "check_result", "reconciliation"):
            told = json.dumps(store.con.execute(f"FROM quality.{table}").fetchall(), default=str)
            assert "Jane" not in told
            assert "1969" not in told
