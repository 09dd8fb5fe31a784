"""Renewed keys: the chain of secrets, the log's next generation, and what a search finds."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import hmac
import json
import shutil
import sqlite3
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pytest

import schemas
from pipelines.base import duck, generations
from pipelines.base.errors import KeyFileError, LogError
from pipelines.base.keys import SiteKey, add_secret, key_source, load_key
from pipelines.base.search import search
from pipelines.base.site import Site
from pipelines.ingest.changes import Renewal
from pipelines.ingest.forgetting import Forgetting, find_person
from pipelines.ingest.forgotten import Forgotten, is_marked, leave_out
from pipelines.ingest.log import EventLog
from pipelines.ingest.renewal import KEYED, KEYED_LISTS
from pipelines.ingest.rewrite import rewrite
from schemas import CLINICAL_TYPES, QUARANTINED, fields
from tests.log_kit import FACTS, VERDICT, con, log, records, stage
from tests.unit.test_keys import site

__all__ = ["con", "log", "site"]

FIRST, SECOND = bytes(range(32)), bytes(range(64, 96))
KEY = SiteKey(FIRST)
RENEWED = KEY.renewed_with(SECOND)
PATIENT = str(KEY.patient("demo", "mrn", "12345678"))


def by_hand(secret: bytes, key: str) -> str:
    """RFC 2104 over the message of docs/decisions/170, by the standard library."""
    message = f"7:renewed,{len(key)}:{key},".encode()
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def test_every_field_that_is_made_with_the_key_is_renewed() -> None:
    names = {one.name for kind in CLINICAL_TYPES for one in fields(kind)}
    assert {n for n in names if n.endswith(("_key", "_hash"))} == KEYED
    assert {n for n in names if n.endswith("_keys")} == KEYED_LISTS


def test_a_renewed_key_is_made_of_the_old_one(con: duckdb.DuckDBPyConnection) -> None:
    new = by_hand(SECOND, PATIENT)
    assert RENEWED.patient("demo", "mrn", "12345678") == RENEWED.renew(PATIENT) == new
    assert RENEWED.before(0) == KEY
    RENEWED.install(con)
    asked = "SELECT renewed(patient_key('demo', 'mrn', '12345678')), renewed(NULL)"
    assert con.execute(asked).fetchall() == [(new, None)]
    RENEWED.install_renewal(con, since=1)
    assert con.execute("SELECT renewed('x')").fetchall() == [("x",)]


def test_a_key_with_one_more_secret_is_used_as_the_log_was_written(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    assert log.fit_key(RENEWED, "demo") == RENEWED
    log.write(con, FACTS, VERDICT, key_check=KEY.check_value("demo"))
    log.commit(FACTS.batch_id)
    assert log.fit_key(RENEWED, "demo") == KEY
    other = SiteKey(SECOND)
    with pytest.raises(KeyFileError):
        log.check_key(log.fit_key(other, "demo").check_value("demo"))


def written(log: EventLog, con: duckdb.DuckDBPyConnection) -> None:
    """A batch whose accepted and rejected events are of one patient, and of another."""
    con.execute(
        'UPDATE event."LabResulted" SET patient_key = $1, record_key = sha256(source_row::VARCHAR)',
        [PATIENT],
    )
    con.execute("""UPDATE event."InfusionRecorded" SET patient_key = repeat('b', 64)""")
    con.execute("UPDATE fate.unreadable SET raw = 'torn;12345678;\"line' WHERE source_row = 8")
    log.write(con, FACTS, VERDICT, key_check=KEY.check_value("demo"))
    log.commit(FACTS.batch_id)


def test_a_renewed_log_differs_from_the_old_one_in_its_keys_alone(
    log: EventLog, con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    written(log, con)
    new = rewrite(log, tmp_path / "log-2.building", Renewal(RENEWED, "demo", 0))
    [batch] = new.verify()
    assert batch.key_check == RENEWED.check_value("demo") != log.committed()[0].key_check
    for name, file in batch.types.items():
        pairs = zip(
            records(log.root / "committed" / batch.batch_id / file.path, name),
            records(new.root / "committed" / batch.batch_id / file.path, name),
            strict=True,
        )
        for old, told in pairs:
            is_ours = name in CLINICAL_TYPES
            expected = {k: _new(k, v) if is_ours and v else v for k, v in old.items()}
            assert told == expected
    path = Path("committed") / batch.batch_id / batch.quarantine.path
    olds, news = (records(root / path, QUARANTINED) for root in (log.root, new.root))
    assert len(olds) == len(news) == 3
    texts = [row["event_json"] for row in news if row["event_json"]]
    assert [json.loads(text)["patient_key"] for text in texts] == [by_hand(SECOND, PATIENT)]
    assert [row["raw"] for row in olds] == [row["raw"] for row in news]


def _new(name: str, value: Any) -> Any:
    return by_hand(SECOND, value) if name in KEYED else value


def test_a_forgotten_patients_rows_are_gone_and_the_sums_hold(
    log: EventLog, con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    written(log, con)
    person = find_person(log, [PATIENT])
    assert (len(person.records), person.n_rows) == (4, 4)  # one of the four labs was rejected
    change = Forgetting(person, ["12345678"], [(KEY.forgotten(PATIENT, 0), 0)])
    new = rewrite(log, tmp_path / "log-2.building", change)
    [old], [batch] = log.committed(), new.verify()
    left = {name: file.rows for name, file in batch.types.items()}
    assert left["LabResulted"] == 0
    assert left["InfusionRecorded"] == old.types["InfusionRecorded"].rows
    assert sum(batch.fates.values()) == batch.n_rows == old.n_rows - change.n_events - 2
    for name, counts in batch.fates_by_type.items():
        assert min(counts.values()) >= 0, name
    text = (new.root / "committed" / batch.batch_id / batch.quarantine.path).read_bytes()
    assert PATIENT.encode() not in text
    assert b"12345678" not in text


def test_a_patient_of_whom_everything_was_rejected_is_found_too(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    con.execute(
        """UPDATE event."LabResulted" SET record_key = sha256(source_row::VARCHAR), patient_key =
        CASE WHEN source_row = 4 THEN $1 ELSE repeat('b', 64) END""",
        [PATIENT],
    )
    log.write(con, FACTS, VERDICT)
    log.commit(FACTS.batch_id)
    person = find_person(log, [PATIENT])
    assert (len(person.records), person.n_rows) == (1, 1)
    assert find_person(log, ["c" * 64]).n_rows == 0


def test_a_large_file_is_rewritten_part_by_part_and_says_the_same(
    log: EventLog,
    con: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Blocks of two rows each, and a part is a block.
    monkeypatch.setattr("schemas.columns._BATCH_ROWS", 2)
    written(log, con)
    for make in (
        lambda: Renewal(RENEWED, "demo", 0),
        lambda: Forgetting(find_person(log, [PATIENT]), ["12345678"], []),
    ):
        told = []
        for n_bytes in (1, 1 << 25):
            monkeypatch.setattr("schemas.codec._CHUNK_BYTES", n_bytes)
            change = make()
            sizes: list[int] = []
            real = change.events
            monkeypatch.setattr(
                change, "events", lambda n, t, f=real, s=sizes: s.append(t.num_rows) or f(n, t)
            )
            new = rewrite(log, tmp_path / "new", change)
            [batch] = new.verify()
            rows = {name: new.read(batch, name).to_pylist() for name in batch.types}
            told.append((rows, new.read_quarantine(batch).to_pylist(), batch.fates, batch.files))
            assert (max(sizes) <= 2) == (n_bytes == 1)
        assert told[0] == told[1]


def test_a_later_delivery_of_a_forgotten_patient_stays_out_whatever_the_key_was_then(
    tmp_path: Path,
) -> None:
    for then, now in ((KEY, KEY), (KEY, RENEWED), (RENEWED, RENEWED)):
        mark = then.forgotten(then.renew(PATIENT), then.n_renewals)
        Forgotten(tmp_path).put([(now.renew(mark, then.n_renewals), then.n_renewals)])
        marks = Forgotten(tmp_path).marks()
        assert [is_marked(marks, now, one) for one in (PATIENT, "other")] == [True, False]
        with duck.connect() as con:
            stage(con)
            con.execute(schemas.create_table_sql("PatientRegistered", 'event."PatientRegistered"'))
            con.execute(
                'INSERT INTO event."PatientRegistered" BY NAME SELECT unnest($1) AS patient_key, '
                "$2 AS source_file_sha, 9 AS source_row, [$3, 'q'] AS replaces_keys",
                [[PATIENT, "other"], "2" * 64, PATIENT],
            )
            con.execute('UPDATE event."LabResulted" SET patient_key = $1', [PATIENT])
            leave_out(con, now, Forgotten(tmp_path))
            left = con.execute(
                'SELECT patient_key, replaces_keys FROM event."PatientRegistered"'
            ).fetchall()
            assert left == [("other", ["q"])]
            assert con.execute('SELECT 1 FROM event."LabResulted"').fetchone() is None
            out = (
                "SELECT event_type, count(*) FROM fate.row WHERE reason = 'forgotten' GROUP BY ALL"
            )
            assert sorted(con.execute(out).fetchall()) == [
                ("LabResulted", 4),
                ("PatientRegistered", 1),
            ]


def test_the_generation_with_the_highest_number_counts_once_it_is_named(tmp_path: Path) -> None:
    assert generations.newest(tmp_path / "none") == tmp_path / "none" / "log"
    for name in ("log", "log-9", "log-10", "log-x", "log-11.building"):
        (tmp_path / name).mkdir()
    assert generations.newest(tmp_path).name == "log-10"
    assert generations.building(tmp_path).name == "log-11.building"
    assert generations.adopt(tmp_path / "log-11.building") == generations.newest(tmp_path)
    (tmp_path / "log-12.building").mkdir()
    assert generations.drop_older(tmp_path) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"log-11", "log-x"}


def test_a_folder_that_was_not_made_from_the_log_does_not_take_its_place(tmp_path: Path) -> None:
    batch = "0b" * 32
    (tmp_path / "log" / "committed" / batch).mkdir(parents=True)
    (tmp_path / "log" / "recorded" / "LookTaken").mkdir(parents=True)
    (tmp_path / "log" / "recorded" / "LookTaken" / "f1.avro").touch()
    (tmp_path / "log" / "forgotten.json").touch()
    generations.check_newest(tmp_path)
    for lacking in (f"committed/{batch}", "recorded/LookTaken/f1.avro", "forgotten.json"):
        shutil.copytree(tmp_path / "log", tmp_path / "log-2")
        generations.check_newest(tmp_path)
        gone = tmp_path / "log-2" / lacking
        gone.rmdir() if gone.is_dir() else gone.unlink()
        with pytest.raises(LogError, match="log-2 counts, by its number, and lacks 1 of"):
            generations.check_newest(tmp_path)
        shutil.rmtree(tmp_path / "log-2")
    # An older one may be half removed, a newer one has nights of its own.
    shutil.copytree(tmp_path / "log", tmp_path / "log-2")
    (tmp_path / "log-2" / "committed" / ("1b" * 32)).mkdir()
    (tmp_path / "log" / "committed" / ".snapshot").mkdir()
    (tmp_path / "log" / "committed" / "notes.txt").touch()
    generations.check_newest(tmp_path)
    shutil.rmtree(tmp_path / "log" / "committed")
    generations.check_newest(tmp_path)


# --- where a key with several secrets lies --------------------------------------------------------


def test_a_secret_is_added_to_the_file_and_the_older_ones_stay(site: Site) -> None:
    path = site.at(site.key.file)
    path.write_text(FIRST.hex() + "\n")
    path.chmod(0o600)
    add_secret(site)
    assert load_key(site).before(0) == KEY
    assert load_key(site).n_renewals == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_in_the_environment_is_not_ours_to_change(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIPWATCH_KEY", f"{FIRST.hex()},{SECOND.hex()}")
    assert load_key(site) == RENEWED
    with pytest.raises(KeyFileError, match="cannot change"):
        add_secret(site)
    monkeypatch.setenv("DRIPWATCH_KEY", f"{FIRST.hex()},{FIRST.hex()}")
    with pytest.raises(KeyFileError, match="twice"):
        load_key(site)


def test_a_keyring_is_asked_where_it_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    named = site.model_copy(update={"key": site.key.model_copy(update={"keyring": "dripwatch"})})
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(KeyFileError, match="not installed"):
        load_key(named)
    held: dict[tuple[str, str], str] = {}
    ring = types.ModuleType("keyring")
    ring.get_password = lambda service, name: held.get((service, name))  # type: ignore[attr-defined]
    ring.set_password = lambda service, name, text: held.update({(service, name): text})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", ring)
    with pytest.raises(KeyFileError, match="no key of site demo"):
        load_key(named)
    held["dripwatch", "demo"] = FIRST.hex()
    add_secret(named)
    assert load_key(named).before(0) == KEY
    assert key_source(named) == "keyring dripwatch"


# --- searching ------------------------------------------------------------------------------------


def test_a_search_finds_what_is_packed_or_lies_in_a_database(tmp_path: Path) -> None:
    secret, clear = b"canary-123456789012", "canary-123456789012"
    (tmp_path / "a.txt").write_bytes(b"..." + secret)
    (tmp_path / "b.gz").write_bytes(gzip.compress(secret))
    (tmp_path / "c.bz2").write_bytes(bz2.compress(secret))
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.gz", gzip.compress(secret))
    with duck.connect(tmp_path / "e.duckdb") as con:
        told = "repeat('x', i::INTEGER % 7) || CASE i WHEN 4999 THEN $1 ELSE i::VARCHAR END AS t"
        con.execute(f"CREATE TABLE t AS SELECT {told} FROM range(5000) r(i)", [clear])
        con.execute(f"COPY t TO {duck.literal(str(tmp_path / 'f.parquet'))} (COMPRESSION zstd)")
    lite = sqlite3.connect(tmp_path / "g.sqlite")
    lite.execute("CREATE TABLE t (x)")
    lite.execute("INSERT INTO t VALUES (?)", [clear])
    lite.commit()
    lite.close()
    (tmp_path / "clean").write_bytes(b"canary-210987654321")
    searched = search([tmp_path], lambda data: secret in data)
    assert {path.name for path, _ in searched.found} == {
        "a.txt", "b.gz", "c.bz2", "d.zip", "e.duckdb", "f.parquet", "g.sqlite"
    }  # fmt: skip
    assert searched.n_files == 8
