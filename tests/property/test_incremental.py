"""Nights linked one after the other, touched patients only, come to what linking everybody does.

Patients are those of the reference, whose events lie on and around the edges of their windows; they
arrive in any order, are corrected, retracted and handed to other patients, while feeds move forward
and back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipelines.base import duck
from pipelines.linkage.kernel import KEPT, OUTPUTS, LinkageInput, link_bucket
from pipelines.linkage.recount import signal_tables
from pipelines.linkage.transform import ATTRITION_SCHEMA, LinkageResult
from pipelines.signals.counts import COUNT_TABLES, merge_counts
from studies.load import Study, load_study
from tests.examples import examples
from tests.linkage_cases import ALL_TYPES
from tests.reference.patients import make_patients
from tests.reference.studies import Drawn, drawn
from tests.unit.store_batches import Row, make_batch, make_site, night
from warehouse.batch import Batch
from warehouse.digest import table_digest
from warehouse.relink import relink
from warehouse.store import Store
from warehouse.touched import Relinked, Touched, find_touched

ROWS = ("infusion", "course", "unit_outcome", "evidence")
STUDIES = (
    Drawn(),
    Drawn(resolution="day", overlap="merge", clean_window_days=3, same_day="before"),
    Drawn(overlap="all", unit="administration", across_classes=True, gap_hours="none"),
)
Through = dict[str, datetime]


@dataclass(frozen=True)
class Night:
    """What arrives, and up to when each event type is complete then."""

    batch: Batch
    through: Through


def key_of(patient: str) -> str:
    return hashlib.sha256(patient.encode()).hexdigest()


def nights_of(seed: int, n_patients: int, n_nights: int) -> list[Night]:
    """A hospital's nights; the same for the same seed."""
    random = Random(seed)  # noqa: S311 - test data
    told: list[list[Row]] = [[] for _ in range(n_nights)]
    patients = make_patients(seed, n_patients)
    moments = [
        row["ended_at"] or row["occurred_at"]
        for patient in patients
        for name, row in patient.events
        if name == "InfusionRecorded" and (row.get("ended_at") or row["occurred_at"])
        for row in [{"ended_at": None, **row}]
    ]
    for patient in patients:
        # Many patients come on one night and stay as they are, so that others leave them alone.
        home, is_restless = random.randrange(n_nights), random.random() < 0.4
        for _, row in patient.events:
            at = random.randrange(n_nights) if is_restless and random.random() < 0.2 else home
            first = row | {"patient_key": row["patient_key"] and key_of(row["patient_key"])}
            told[at].append(first)
            if at + 1 < n_nights and is_restless and random.random() < 0.1:
                later = random.randrange(at + 1, n_nights)
                told[later].append(changed(first, random, [one.key for one in patients]))
    through = {name: random.choice(moments) for name in ALL_TYPES}
    nights = []
    for number, rows in enumerate(told):
        through = {
            name: at + timedelta(minutes=random.choice((0, 0, 0, 0, 0, 0, 60, 1440, 7200, -600)))
            for name, at in through.items()
        }
        nights.append(Night(batch_of(number, rows), through))
    return nights


def changed(row: Row, random: Random, patients: list[str]) -> Row:
    """The record's next version: withdrawn, moved, of another patient or otherwise told."""
    new = row | {"version": 2}
    what = random.choice(("retract", "moved", "handed", "flagged"))
    if what == "retract":
        new["operation"] = "retract"
    elif what == "moved" and row["occurred_at"] is not None:
        new["occurred_at"] = row["occurred_at"] + timedelta(hours=random.randint(-30, 30))
    elif what == "handed":
        new["patient_key"] = key_of(random.choice(patients))
    else:
        new["flags"] = ["imprecise_time"]
    return new | {"content_hash": hashlib.sha256(repr(new).encode()).hexdigest()}


def batch_of(number: int, rows: list[Row]) -> Batch:
    mine: dict[str, list[Row]] = {name: [] for name in ALL_TYPES}
    for row in rows:
        mine[row["event_type"]].append(row)
    return make_batch(f"night-{number}", mine, exported_at=night(number))


def plainly(shards: list[Path], given: list[LinkageInput], out: Path) -> LinkageResult:
    """What `run_linkage` does, without a pipeline: that costs a second."""
    counts: dict[str, dict[tuple[Any, ...], list[tuple[Any, ...]]]] = {}
    attrition: list[tuple[Any, ...]] = []
    files: dict[str, list[Path]] = {name: [] for name in OUTPUTS | KEPT}
    for shard in shards:
        for one in given:
            place = out / one.study.id / shard.name
            place.mkdir(parents=True)
            linked = link_bucket(shard, one, place)
            for name, rows in linked.counts.items():
                mine, n_keys = counts.setdefault(name, {}), len(COUNT_TABLES[name].keys)
                for row in rows:
                    mine.setdefault(row[:n_keys], []).append(row[n_keys:])
            attrition += linked.attrition
            for name, path in linked.files.items():
                files[name].append(Path(path))
    merged = {
        name: write(
            [key + merge_counts(rows) for key, rows in counts.get(name, {}).items()],
            table.schema,
            out / f"{name}.parquet",
        )
        for name, table in COUNT_TABLES.items()
    }
    tables = {name: files[name] for name in OUTPUTS}
    tables["linkage.attrition"] = [write(attrition, ATTRITION_SCHEMA, out / "attrition.parquet")]
    tables |= signal_tables(merged, out, [one.study for one in given])
    return LinkageResult(tables, {name: files[name] for name in KEPT}, len(shards), 0)


def write(rows: list[tuple[Any, ...]], schema: pa.Schema, path: Path) -> Path:
    dicts = [dict(zip(schema.names, row, strict=True)) for row in rows]
    pq.write_table(pa.Table.from_pylist(dicts, schema=schema), path)
    return path


class Site:
    """A store that is linked night by night."""

    def __init__(self, root: Path, study: Study, n_buckets: int) -> None:
        self.site, self.study, self.n_buckets = make_site(root), study, n_buckets
        self.root, self.n_linked = root, 0

    @contextmanager
    def store(self) -> Iterator[Store]:
        with Store(self.site) as store:
            yield store

    def apply(self, batches: list[Batch]) -> None:
        with self.store() as store:
            store.apply(batches)

    def link(self, through: Through, *, everybody: bool) -> Touched:
        """Link as the night's stages do; the run is the number of the night."""
        self.n_linked += 1
        folder = self.root / f"linked-{self.n_linked}"
        folder.mkdir()
        told = tuple(("north", name, at) for name, at in through.items())
        with self.store() as store:
            touched = find_touched(
                store.con,
                through,
                folder / "touched.parquet",
                everybody=everybody,
                everybody_from=1.0,
            )
            linked = None
            if not touched.is_nobody:
                linked = relink(
                    store,
                    touched,
                    [LinkageInput(self.study, told)],
                    n_buckets=self.n_buckets,
                    folder=folder,
                    run_linkage=plainly,
                )
        with self.store() as store:
            store.load_linkage(
                linked.tables if linked else {},
                f"run-{self.n_linked}",
                relinked=Relinked(touched, linked.kept if linked else {}),
            )
        return touched

    def content(self) -> dict[str, Any]:
        """Digests of all tables, read anew; and all rows behind results, provenance included."""
        with self.store() as store:
            kept = dict(
                store.con.execute(
                    "SELECT name[8:], value FROM ops.state WHERE starts_with(name, 'digest:')"
                ).fetchall()
            )
            anew = {name: table_digest(store.con, "store", *name.split(".")) for name in kept}
            assert kept == anew, "digests are kept by adding up, and are those of the rows"
            evidence = store.con.execute(
                "SELECT COLUMNS(* EXCLUDE run_id) FROM linkage.evidence ORDER BY ALL"
            ).fetchall()
        return {**{k: v for k, v in anew.items() if k != "signals.alert"}, "evidence": evidence}

    def of_run(self, run: str) -> set[str]:
        """Patients of whom a run wrote a row."""
        with self.store() as store:
            return {
                key
                for table in ROWS
                for (key,) in store.con.execute(
                    f"""SELECT DISTINCT c.patient_key FROM linkage.{table} AS t
                    JOIN linkage.course AS c USING (study_id, unit_id) WHERE t.run_id = ?""",
                    [run],
                ).fetchall()
            }

    def exported(self) -> set[str]:
        """Patients whose events were exported to be linked last."""
        files = str(self.root / f"linked-{self.n_linked}" / "in" / "*" / "*.parquet")
        found = duckdb.sql(
            f"SELECT DISTINCT patient_key FROM read_parquet('{files}', union_by_name=true)"
        )
        return {key for (key,) in found.fetchall()}


def keys_in(touched: Touched) -> set[str]:
    column = pq.read_table(touched.file)["patient_key"]
    return {str(key) for key in column.to_pylist()}


def check(nights: list[Night], study: Study, n_buckets: int) -> list[int]:
    """Hold the nights against a store that was linked once; return how many each night touched."""
    touched = []
    with TemporaryDirectory() as name:
        nightly = Site(Path(name) / "nightly", study, n_buckets)
        for number, one in enumerate(nights):
            nightly.apply([one.batch])
            found = nightly.link(one.through, everybody=number == 0)
            touched.append(found.n_patients)
            if number and not found.is_nobody:
                assert nightly.of_run(f"run-{nightly.n_linked}") <= keys_in(found)
                assert nightly.exported() <= keys_in(found)
        at_once = Site(Path(name) / "at_once", study, 1)
        with patch.object(duck, "ROW_GROUP", -1):  # and with all threads, not with one
            at_once.apply([one.batch for one in nights])
            at_once.link(nights[-1].through, everybody=True)
        assert nightly.content() == at_once.content()
    return touched


def test_a_night_of_touched_patients_comes_to_what_linking_everybody_does() -> None:
    _, touched = check(nights_of(1, 12, 2), load_study("iv_bisphosphonate"), 1)
    assert 1 <= touched < 12, "some are touched, and some are left"


@pytest.mark.slow
def test_feeds_that_move_alone_touch_whose_windows_they_close_or_open() -> None:
    [first] = nights_of(2, 8, 1)
    later = {name: at + timedelta(days=400) for name, at in first.through.items()}
    quiet = [
        Night(batch_of(1, []), later), Night(batch_of(2, []), later),
        Night(batch_of(3, []), first.through),
    ]  # fmt: skip
    _, closed, nobody, opened = check([first, *quiet], load_study("iv_bisphosphonate"), 1)
    assert closed >= 1
    assert nobody == 0
    assert opened >= 1


@pytest.mark.slow
@settings(
    max_examples=examples(30),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(st.integers(0, 2**32), st.integers(2, 30), st.sampled_from(STUDIES), st.integers(1, 3))
def test_any_nights_of_touched_patients_come_to_what_linking_everybody_does(
    seed: int, n_patients: int, study: Drawn, n_buckets: int
) -> None:
    check(nights_of(seed, n_patients, 4), drawn(study), n_buckets)
