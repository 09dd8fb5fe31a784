"""The site store: versions, snapshots, retractions, sums, what a damaged file becomes."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from pipelines.base import duck
from pipelines.base.errors import LockedError, LogError, ReconciliationError, StorageError
from tests.unit.store_batches import event, make_batch, make_site, night
from warehouse import layout
from warehouse.batch import Fates
from warehouse.guard import one_row
from warehouse.publish import publish
from warehouse.store import RunRecord, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(make_site(tmp_path)) as opened:
        yield opened


def values(store: Store, event_type: str = "LabResulted") -> dict[str, float]:
    rows = store.con.execute(f'SELECT record_key, value FROM current."{event_type}"').fetchall()
    return dict(rows)


def lab(key: str, value: float, version: int = 1, **columns: object) -> dict[str, object]:
    return event("LabResulted", key, version=version, value=value, **columns)


def reconciled(store: Store, batch: str) -> dict[str, tuple[int, ...]]:
    rows = store.con.execute(
        """SELECT event_type, n_read, n_accepted, n_duplicate, n_superseded, n_quarantined,
                  n_out_of_scope, n_tied FROM quality.reconciliation WHERE batch_id = ?""",
        [batch],
    ).fetchall()
    return {row[0]: row[1:] for row in rows}


def test_the_file_is_its_owners_alone(store: Store) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def flip(path: Path, table: str, column: str) -> None:
    """Flip a bit where a column of a table lies: after three headers, a block is 256 KiB long."""
    with duck.connect(path, read_only=True) as con:
        block = one_row(
            con.execute(
                "SELECT max(block_id) FROM pragma_storage_info(?) WHERE column_name = ? "
                "AND segment_type <> 'VALIDITY' AND persistent",
                [table, column],
            )
        )[0]
    data = bytearray(path.read_bytes())
    data[3 * 4096 + block * 2**18 + 1000] ^= 1
    path.write_bytes(data)


def test_a_store_that_is_damaged_further_in_is_begun_anew_by_the_next_who_opens_it(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path)
    with Store(site) as store:
        store.apply([make_batch("a", {"LabResulted": [lab("a", 1.0)]})])
        store.con.execute("CREATE TABLE ops.many AS SELECT hash(i) AS n FROM range(60_000) t(i)")
    flip(site.store_path, "ops.many", "n")

    def read() -> None:
        with Store(site) as store:
            assert store.rebuilt_because is None  # it opens, and what was read is well
            assert values(store) == {"a": 1.0}
            store.con.execute("SELECT sum(n % 7) FROM ops.many").fetchall()

    with pytest.raises(StorageError, match="not what was written"):
        read()
    with Store(site) as store:
        assert store.rebuilt_because == "a part of it was not what was written"
        assert values(store) == {}
    with Store(site) as store:
        assert store.rebuilt_because is None


@pytest.mark.slow
def test_a_published_file_that_is_damaged_further_in_gives_way_to_the_next(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with Store(site) as store:
        publish(store, site, "one")
    with duck.connect(site.warehouse) as con:
        con.execute(
            "INSERT INTO ops.change BY NAME SELECT hash(i)::VARCHAR AS outcome, 'one' AS run_id, "
            "'x' AS study_id, 'x' AS site_id, 'x' AS window_name FROM range(60_000) AS t(i)"
        )
    flip(site.warehouse, "ops.change", "outcome")
    with (
        duck.connect(site.warehouse, read_only=True) as con,
        pytest.raises(duckdb.Error, match="checksum"),
    ):
        con.execute("SELECT max(outcome) FROM ops.change").fetchall()
    site.store_path.unlink()
    with Store(site) as store:
        publish(store, site, "two")
    with duck.connect(site.warehouse, read_only=True) as con:
        assert con.execute("SELECT count(*) FROM ops.change").fetchall() == [(0,)]


def test_few_rows_are_worked_on_by_one_thread_and_many_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "SELECT current_setting('threads')"
    [all_of_them] = duckdb.execute(query).fetchall()
    site = make_site(tmp_path)
    with Store(site) as store:
        store.apply([make_batch("a", {"LabResulted": [lab("a", 1.0)]})])
        assert store.con.execute(query).fetchall() == [(1,)]
        monkeypatch.setattr(duck, "ROW_GROUP", 0)
        store.apply([make_batch("b", {"LabResulted": [lab("b", 1.0)]})])
        assert store.con.execute(query).fetchall() == [all_of_them]
    with Store(site) as again:
        assert again.con.execute(query).fetchall() == [all_of_them]


def test_the_greater_version_stands_whatever_came_first(store: Store) -> None:
    store.apply([make_batch("new", {"LabResulted": [lab("a", 2.0, version=2)]})])
    store.apply([make_batch("old", {"LabResulted": [lab("a", 1.0, version=1)]})])
    assert values(store) == {"a": 2.0}


def test_of_one_version_with_two_contents_the_greater_hash_stands_and_is_counted(
    store: Store,
) -> None:
    rows = [lab("a", 1.0), lab("a", 2.0)]
    winner = max(rows, key=lambda row: str(row["content_hash"]))
    store.apply([make_batch(f"b{n}", {"LabResulted": [row]}) for n, row in enumerate(rows)])
    assert values(store) == {"a": winner["value"]}
    assert reconciled(store, "b1")["LabResulted"][-1] == 1


def test_a_batch_that_is_there_is_not_applied_again(store: Store) -> None:
    batch = make_batch("b", {"LabResulted": [lab("a", 1.0)]})
    assert [applied.batch_id for applied in store.apply([batch])] == ["b"]
    assert store.apply([batch, batch]) == []


def test_rows_are_counted_as_new_told_before_or_older(store: Store) -> None:
    store.apply([make_batch("b1", {"LabResulted": [lab("a", 1.0), lab("b", 1.0, version=5)]})])
    second = {"LabResulted": [lab("a", 1.0), lab("b", 0.5, version=4), lab("c", 3.0)]}
    fates = {"LabResulted": Fates(n_read=9, n_accepted=3, n_duplicate=2, n_out_of_scope=4)}
    store.apply([make_batch("b2", second, fates=fates)])
    assert reconciled(store, "b2") == {"LabResulted": (9, 1, 3, 1, 0, 4, 0)}


def test_rows_that_do_not_add_up_leave_nothing(store: Store) -> None:
    fates = {"LabResulted": Fates(n_read=3, n_accepted=2)}
    batch = make_batch("b", {"LabResulted": [lab("a", 1.0), lab("b", 1.0)]}, fates=fates)
    good = make_batch("g", {"LabResulted": [lab("g", 1.0)]})
    with pytest.raises(ReconciliationError, match="3 rows were read, 2 are accounted for"):
        store.apply([good, batch])
    assert store.batch_ids() == ["g"]
    assert values(store) == {"g": 1.0}


def test_a_quarantine_file_that_lacks_a_row_is_noticed(store: Store) -> None:
    fates = {"LabResulted": Fates(n_read=2, n_accepted=1, n_quarantined=1)}
    with pytest.raises(ReconciliationError):
        store.apply([make_batch("b", {"LabResulted": [lab("a", 1.0)]}, fates=fates)])


def test_a_batch_with_a_record_twice_is_a_damaged_log(store: Store) -> None:
    with pytest.raises(LogError, match="2 events have 1 different"):
        store.apply([make_batch("b", {"LabResulted": [lab("a", 1.0), lab("a", 2.0)]})])
    assert store.batch_ids() == []


def test_a_retraction_hides_the_record_and_stays_as_a_tombstone(store: Store) -> None:
    gone = lab("a", 1.0, version=2, operation="retract")
    store.apply([make_batch("b1", {"LabResulted": [gone]})])
    store.apply([make_batch("b2", {"LabResulted": [lab("a", 1.0, version=1)]})])
    assert values(store) == {}
    assert store.con.execute('SELECT operation FROM event."LabResulted"').fetchall() == [
        ("retract",)
    ]


def test_a_record_that_a_later_snapshot_lacks_is_retracted_and_may_come_back(store: Store) -> None:
    for number, keys in enumerate(["ab", "b", "ab"]):
        rows = [lab(key, 1.0) for key in keys]
        batch = make_batch(
            f"s{number}", {"LabResulted": rows}, kind="snapshot", exported_at=night(number)
        )
        store.apply([batch])
        assert set(values(store)) == set(keys)


def test_a_delta_retracts_nothing_by_silence(store: Store) -> None:
    store.apply([make_batch("d0", {"LabResulted": [lab("a", 1.0)]}, exported_at=night(0))])
    store.apply([make_batch("d1", {"LabResulted": [lab("b", 1.0)]}, exported_at=night(1))])
    assert set(values(store)) == {"a", "b"}


def test_a_snapshot_speaks_for_its_own_source_and_types_only(store: Store) -> None:
    other = make_batch("o", {"LabResulted": [lab("o", 1.0)]}, source="pdms", exported_at=night(0))
    infusion = event("InfusionRecorded", "i")
    first = make_batch(
        "f", {"LabResulted": [lab("a", 1.0)], "InfusionRecorded": [infusion]}, exported_at=night(0)
    )
    later = make_batch("s", {"LabResulted": [lab("b", 1.0)]}, kind="snapshot", exported_at=night(1))
    store.apply([other, first, later])
    assert set(values(store)) == {"o", "b"}
    assert store.con.execute('SELECT count(*) FROM current."InfusionRecorded"').fetchone() == (1,)


def test_an_empty_snapshot_retracts_all_that_its_source_said(store: Store) -> None:
    store.apply([make_batch("d", {"LabResulted": [lab("a", 1.0)]}, exported_at=night(0))])
    store.apply([make_batch("s", {"LabResulted": []}, kind="snapshot", exported_at=night(1))])
    assert values(store) == {}


def test_a_record_that_the_snapshot_tells_wrongly_keeps_its_last_good_version(
    store: Store,
) -> None:
    first = make_batch("s0", {"LabResulted": [lab("a", 1.0)]}, kind="snapshot")
    second = make_batch(
        "s1",
        {"LabResulted": []},
        kind="snapshot",
        exported_at=night(1),
        quarantined=[{"event_type": "LabResulted", "record_key": "a"}],
    )
    store.apply([first, second])
    assert values(store) == {"a": 1.0}


def test_data_through_is_the_latest_of_a_source_and_the_earliest_of_sources(store: Store) -> None:
    hours = timedelta(hours=1)
    store.apply(
        [
            make_batch("a1", {"LabResulted": []}, data_through=night(3)),
            make_batch("a0", {"LabResulted": []}, data_through=night(1)),
            make_batch("b", {"LabResulted": []}, source="pdms", data_through=night(2) - hours),
            make_batch("c", {"InfusionRecorded": []}, data_through=night(9)),
        ]
    )
    assert store.data_through() == {
        "LabResulted": (night(2) - hours).replace(tzinfo=None),
        "InfusionRecorded": night(9).replace(tzinfo=None),
    }


def test_quarantined_rows_are_listed_by_place_and_check_only(store: Store) -> None:
    bad = [{"event_type": None, "record_key": None, "check_ids": ["b", "a"]}]
    store.apply([make_batch("b", {}, quarantined=bad)], run_id="r1")
    cursor = store.con.execute("SELECT * FROM quality.quarantine")
    assert [column[0] for column in cursor.description or []] == [
        "site_id",
        "source",
        "batch_id",
        "event_type",
        "record_key",
        "source_file_sha",
        "source_row",
        "source_part",
        "check_ids",
        "run_id",
    ]
    assert cursor.fetchall() == [
        ("north", "ehr", "b", None, None, "sha-b", 1000, None, ["a", "b"], "r1")
    ]
    assert reconciled(store, "b") == {"unknown": (1, 0, 0, 0, 1, 0, 0)}


def test_a_feed_counts_current_rows_and_a_type_without_any_is_one(store: Store) -> None:
    at = night(0).replace(tzinfo=None)
    rows = [lab("a", 1.0, occurred_at=at), lab("b", 1.0, occurred_at=at - timedelta(days=3))]
    store.apply([make_batch("b", {"LabResulted": rows, "VitalSignMeasured": []})])
    store.keep_feeds()
    told = store.con.execute(
        """SELECT event_type, n_rows, first_occurred_date, last_occurred_date
        FROM quality.feed ORDER BY ALL"""
    ).fetchall()
    assert told == [
        ("LabResulted", 2, at.date() - timedelta(days=3), at.date()),
        ("VitalSignMeasured", 0, None, None),
    ]


def test_two_sources_of_one_type_are_two_feeds(store: Store) -> None:
    at = night(0).replace(tzinfo=None)
    later = at + timedelta(days=5)
    ehr = [lab("a", 1.0, occurred_at=at), lab("b", 1.0, occurred_at=at)]
    store.apply(
        [
            make_batch("e", {"LabResulted": ehr}, data_through=night(1)),
            make_batch(
                "p",
                {"LabResulted": [lab("c", 1.0, occurred_at=later)]},
                source="pdms",
                kind="snapshot",
                data_through=night(6),
            ),
            make_batch("q", {"LabResulted": []}, source="paper", data_through=night(2)),
        ]
    )
    store.keep_feeds()
    told = store.con.execute(
        """SELECT source, n_rows, first_occurred_date, last_occurred_date, data_through_at
        FROM quality.feed WHERE event_type = 'LabResulted' ORDER BY ALL"""
    ).fetchall()
    through = [night(number).replace(tzinfo=None) for number in (1, 2, 6)]
    assert told == [
        ("ehr", 2, at.date(), at.date(), through[0]),
        ("paper", 0, None, None, through[1]),
        ("pdms", 1, later.date(), later.date(), through[2]),
    ]


def test_a_store_survives_being_closed(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    batch = make_batch("b", {"LabResulted": [lab("a", 1.0)]})
    with Store(site) as store:
        store.apply([batch])
    with Store(site) as store:
        assert store.rebuilt_because is None
        assert values(store) == {"a": 1.0}
        assert store.apply([batch]) == []


@pytest.mark.parametrize("damage", [b"", b"this is no database" * 999])
def test_a_damaged_store_is_begun_anew_and_filled_from_the_log(
    tmp_path: Path, damage: bytes
) -> None:
    site = make_site(tmp_path)
    batch = make_batch("b", {"LabResulted": [lab("a", 1.0)]})
    with Store(site) as store:
        store.apply([batch])
    site.store_path.write_bytes(damage)
    with Store(site) as store:
        assert store.rebuilt_because == "it could not be read"
        store.apply([batch])
        assert values(store) == {"a": 1.0}


def test_a_store_cut_in_the_middle_is_begun_anew(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with Store(site) as store:
        store.apply([make_batch("b", {"LabResulted": [lab("a", 1.0)]})])
    content = site.store_path.read_bytes()
    site.store_path.write_bytes(content[: len(content) // 3])
    with Store(site) as store:
        assert store.rebuilt_because == "it could not be read"
        assert store.batch_ids() == []


def test_the_store_of_another_version_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path)
    with Store(site) as store:
        store.apply([make_batch("b", {"LabResulted": [lab("a", 1.0)]})])
    monkeypatch.setattr(layout, "STORE_VERSION", layout.STORE_VERSION + 1)
    with Store(site) as store:
        assert store.rebuilt_because == "another version of Dripwatch made it"
        assert store.batch_ids() == []


def test_a_foreign_database_is_begun_anew(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    site.store_path.parent.mkdir(parents=True)
    with duckdb.connect(str(site.store_path)) as con:
        con.execute("CREATE TABLE t AS SELECT 1 AS a")
    with Store(site) as store:
        assert store.rebuilt_because == "it could not be read"


def test_a_folder_in_the_stores_place_is_a_storage_error(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    site.store_path.mkdir(parents=True)
    with pytest.raises(StorageError, match="remedy"), Store(site):
        pass


def test_a_failed_batch_error_names_no_value(store: Store) -> None:
    secret = lab("a", 1.0)
    batch = make_batch("b", {"LabResulted": [secret]})
    store.con.execute('ALTER TABLE event."LabResulted" ALTER record_key TYPE INTEGER')
    with pytest.raises(StorageError) as caught:
        store.apply([make_batch("b", {"LabResulted": [lab("SECRET", 1.0)]})])
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert batch.batch_id not in store.batch_ids()


def test_a_run_is_written_once_and_keeps_what_it_published(store: Store) -> None:
    run = RunRecord("r1", "north", night(0), "0.1.0", "in_process")
    store.record_run(run)
    store.con.execute("UPDATE ops.run SET state_hash = 'h'")
    store.record_run(
        RunRecord("r1", "north", night(0), "0.1.0", "in_process", "done", night(1), 0, 1, 0, "ok")
    )
    told = store.con.execute(
        "SELECT run_id, status, exit_code, state_hash, finished_at FROM ops.run"
    ).fetchall()
    assert told == [("r1", "done", 0, "h", night(1).replace(tzinfo=None))]


def test_two_writers_exclude_each_other(tmp_path: Path) -> None:
    import subprocess
    import sys
    import threading

    site = make_site(tmp_path)
    with Store(site):
        pass
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('held', flush=True);"
            " sys.stdin.read()",
            str(site.store_path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin
    assert holder.stdout
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError), Store(site, wait_seconds=0):
            pass
        told: list[str] = []
        threading.Timer(0.3, holder.stdin.close).start()
        with Store(site, wait_seconds=30, say=told.append) as store:
            assert store.batch_ids() == []
        (sentence,) = told
        assert "waiting up to 30 s" in sentence
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()
    with Store(site) as store:
        assert store.rebuilt_because is None
