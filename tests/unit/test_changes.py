"""What changed in the signals and why: one outcome for each reason, told by that outcome's name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.duck import connect
from pipelines.base.site import Site
from tests.results_kit import parquet
from tests.unit.store_batches import event, make_batch, make_site, night
from warehouse import changes, memory
from warehouse.publish import publish
from warehouse.query import run_query
from warehouse.run import RunRecord
from warehouse.store import Store

BEFORE = (night(0) - timedelta(days=3)).replace(tzinfo=None)
SINCE = (night(0) + timedelta(hours=9)).replace(tzinfo=None)

#: Outcome, and the status of its one unit in the first night and in the second; None: no unit.
UNITS: dict[str, tuple[str | None, str | None]] = {
    "window_closed": ("open", "no_event"),
    "window_closed over an event": ("open_event", "event"),
    "window_reopened": ("no_event", "open"),
    "record_new": (None, "no_event"),
    "record_late": (None, "no_event"),
    "record_corrected": ("event", "no_event"),
    "record_retracted": ("event", "no_event"),
    "patient_merged": ("no_event", "event"),
    "window_closed, record_new": ("open", "event"),
    "nothing": ("no_event", "no_event"),
    "nothing, for it is open": (None, "open"),
}


def patient(outcome: str) -> str:
    return f"patient of {outcome}"


def lab(outcome: str, key: str, **columns: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"patient_key": patient(outcome), "occurred_at": BEFORE, "value": 1.0}
    return event("LabResulted", key, **(told | columns))


def infusion(outcome: str, **columns: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"patient_key": patient(outcome), "occurred_at": BEFORE}
    return event("InfusionRecorded", f"infusion of {outcome}", **(told | columns))


FIRST = {
    "InfusionRecorded": [infusion(name) for name, (then, _) in UNITS.items() if then],
    "LabResulted": [lab(name, f"old lab of {name}") for name in UNITS],
}
#: New laboratory results that no outcome rests on must explain nothing.
SECOND = {
    "InfusionRecorded": [
        infusion("record_new", occurred_at=SINCE),
        infusion("record_late"),
        infusion("nothing, for it is open"),
    ],
    "LabResulted": [
        lab("window_closed over an event", "unrelated", occurred_at=SINCE),
        lab("record_corrected", "unrelated too", occurred_at=SINCE),
        lab("window_closed, record_new", "new lab", occurred_at=SINCE),
        lab("record_corrected", "old lab of record_corrected", version=2, value=2.0),
        lab("record_retracted", "old lab of record_retracted", version=2, operation="retract"),
        lab("patient_merged", "old lab of nothing", version=2, value=3.0),
    ],
}
EVIDENCE = {
    "record_corrected": "old lab of record_corrected",
    "record_retracted": "old lab of record_retracted",
    "patient_merged": "old lab of nothing",
    "window_closed, record_new": "new lab",
    "window_closed over an event": "old lab of window_closed over an event",
}


def tables(second: bool) -> dict[str, list[dict[str, Any]]]:
    """Linked rows and risks of a night."""
    units, evidence, risks = [], [], []
    for outcome, statuses in UNITS.items():
        status = statuses[second]
        head = {"study_id": "s", "site_id": "north", "outcome": outcome, "window_name": "risk"}
        is_counted = status in ("event", "no_event")
        numbers = {"n_units": 40 + is_counted, "n_events": 7 + (status == "event")}
        stratum = {"stratum": "all", "stratum_value": "all", "denominator": "complete"}
        key = f"s/{outcome}/risk/all=all/complete"
        risks.append(head | stratum | numbers | {"signal_key": key, "is_headline": True})
        if status:
            unit = {"unit_id": f"u {outcome}", "patient_key": patient(outcome), "status": status}
            units.append(head | unit | {"is_published": True})
        if status and outcome in EVIDENCE and (second or EVIDENCE[outcome] != "new lab"):
            record = {"unit_id": f"u {outcome}", "record_key": EVIDENCE[outcome], "rule": "x"}
            evidence.append(head | record | {"role": "event", "event_type": "LabResulted"})
    return {"linkage.unit_outcome": units, "linkage.evidence": evidence, "signals.risk": risks}


def load(store: Store, folder: Path, run_id: str, *, second: bool) -> None:
    made = {name: parquet(folder, name, rows) for name, rows in tables(second).items()}
    store.load_linkage(made, run_id)


def outcomes(study_hash: str = "h") -> dict[str, list[dict[str, Any]]]:
    told = {
        "study_id": "s",
        "kind": "fever",
        "is_published": True,
        "definition": "d",
        "in_words": "",
    }
    return {
        "outcome": [told | {"outcome": name, "label": name.title()} for name in UNITS],
        "study": [
            {
                "study_id": "s",
                "title": "t",
                "version": "1",
                "study_hash": study_hash,
                "settings_json": "{}",
            }
        ],
    }


#: Facts of the file that is about to be published.
FACTS = {"site_id": "north", "software_version": version("dripwatch"), "settings": "{}"}


@pytest.fixture(scope="module")
def first_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site whose first night is published, by run `r1`; read only."""
    root = tmp_path_factory.mktemp("first")
    with Store(site := make_site(root)) as made:
        made.load_reference(outcomes())
        begin(made, "r1")
        made.apply([make_batch("b1", FIRST, exported_at=night(0), data_through=night(0))])
        load(made, root, "r1", second=False)
        assert publish(made, site, "r1").changes == ()
    return root


@pytest.fixture
def site(tmp_path: Path, first_night: Path) -> Site:
    shutil.copytree(first_night, tmp_path, dirs_exist_ok=True)
    return make_site(tmp_path)


@pytest.fixture
def store(site: Site) -> Iterator[Store]:
    with Store(site) as opened:
        yield opened


def begin(store: Store, run_id: str) -> None:
    store.record_run(RunRecord(run_id, "north", night(0), "0.1.0", "in_process"))


def second_night(store: Store, folder: Path, run_id: str = "r2") -> None:
    begin(store, run_id)
    second = make_batch("b2", SECOND, exported_at=night(1), data_through=night(1))
    store.apply([second])
    load(store, folder, run_id, second=True)


EXPECTED = {
    outcome: (then, now, set(outcome.removesuffix(" over an event").split(", ")))
    for outcome, (then, now) in UNITS.items()
    if not outcome.startswith("nothing")
}


def told(site: Site) -> dict[str, set[str]]:
    rows = run_query(site.warehouse, "SELECT outcome, reasons FROM ops.change").rows
    assert len(rows) == len({row[0] for row in rows})
    return {outcome: set(reasons) for outcome, reasons in rows}


def test_every_changed_signal_is_told_with_its_reason_and_no_other(
    store: Store, site: Site, tmp_path: Path
) -> None:
    second_night(store, tmp_path)
    published = publish(store, site, "r2")
    assert told(site) == {outcome: why for outcome, (_, _, why) in EXPECTED.items()}
    for change in published.changes:
        then, now, why = EXPECTED[change.outcome]
        assert set(change.reasons) == why
        assert change.n_changed_units == 1
        assert change.counts == dict.fromkeys(why, 1)
        assert change.n_units_before == 40 + (then in ("event", "no_event"))
        assert change.n_events == 7 + (now == "event")
    begin(store, "r3")
    load(store, tmp_path, "r3", second=True)
    assert publish(store, site, "r3").changes == ()  # against what the second night published


def test_reasons_are_kept_until_a_file_shows_them_and_a_killed_run_told_nothing(
    store: Store, site: Site, tmp_path: Path
) -> None:
    second_night(store, tmp_path)
    assert changes.tell(store.con, site.warehouse, "r2", FACTS)  # and then it is killed
    begin(store, "r3")
    load(store, tmp_path, "r3", second=True)
    assert publish(store, site, "r3").changes
    assert told(site) == {outcome: why for outcome, (_, _, why) in EXPECTED.items()}
    assert run_query(site.warehouse, "SELECT DISTINCT run_id FROM ops.change").rows == (("r3",),)


def test_only_what_is_about_to_be_linked_again_is_kept(store: Store) -> None:
    wanted = patient("record_corrected")
    store.con.execute("CREATE TEMP TABLE touched AS SELECT ? AS patient_key", [wanted])
    for _ in range(2):  # what was kept first stays, and stays once
        memory.keep_before(store.con, "temp.touched")
    kept = store.con.execute(
        "SELECT patient_key, status, len(records) FROM ledger.old_unit"
    ).fetchall()
    assert kept == [(wanted, "event", 1)]


def test_a_record_comes_from_another_patient_also_where_that_one_is_not_linked(
    store: Store, site: Site
) -> None:
    """Who has no infusion is never linked again, and may still have been somebody else."""
    con, outcome = store.con, "patient_merged"
    con.execute("CREATE TEMP TABLE touched AS SELECT ? AS patient_key", [patient(outcome)])
    memory.keep_before(con, "temp.touched")
    store.apply([make_batch("b2", SECOND, exported_at=night(1), data_through=night(1))])
    con.execute("UPDATE linkage.unit_outcome SET status = 'event' WHERE outcome = ?", [outcome])
    con.execute("UPDATE signals.risk SET n_events = 8 WHERE outcome = ?", [outcome])
    [change] = changes.tell(con, site.warehouse, "r2", FACTS)
    # the facts above hold no settings, which is a change of them too
    assert change.reasons == ("settings_changed", "patient_merged")
    assert (change.outcome, change.counts) == (outcome, {"patient_merged": 1})


@pytest.mark.slow
def test_another_study_or_version_is_told_and_so_is_a_store_that_remembers_nothing(
    store: Store, site: Site, tmp_path: Path
) -> None:
    store.load_reference(outcomes("another"))
    second_night(store, tmp_path)
    publish(store, site, "r2")
    assert all("study_changed" in why for why in told(site).values())
    n_told = len(told(site))
    store.close()
    site.store_path.unlink()
    with Store(site) as made:
        made.load_reference(outcomes("another"))
        rows = made.con.execute("SELECT count(*) FROM ops.change").fetchall()
        assert rows == [(n_told,)]  # read back from the published file
        begin(made, "r3")
        made.apply([make_batch("b1", FIRST), make_batch("b2", SECOND, exported_at=night(1))])
        load(made, tmp_path, "r3", second=False)
        found = publish(made, site, "r3").changes
    assert {change.outcome for change in found} == set(EXPECTED)
    assert {change.reasons for change in found} == {("store_rebuilt",)}


def test_a_published_file_that_cannot_be_read_costs_no_night(
    store: Store, site: Site, tmp_path: Path
) -> None:
    second_night(store, tmp_path)
    site.warehouse.write_bytes(b"damaged")
    assert changes.tell(store.con, site.warehouse, "r2", FACTS) == []
    site.warehouse.unlink()
    with connect(site.warehouse) as con:
        con.execute("CREATE SCHEMA ops; CREATE TABLE ops.change (run_id VARCHAR)")
    assert publish(store, site, "r2").changes == ()
