"""Linkage under drawn settings gives what the plain reference gives, through Beam too.

Settings are drawn by Hypothesis; one pipeline takes hundreds of patients under several studies.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipelines.linkage.kernel import LinkageInput
from pipelines.linkage.transform import run_linkage
from studies.load import Study
from tests.linkage_cases import ALL_TYPES, THROUGH, Linked, Patient, event_tables, link
from tests.linkage_cases import with_settings as changed
from tests.reference.compare import FEEDS, Difference, differences_from, explain
from tests.reference.patients import make_patients
from tests.reference.studies import Drawn, drawn

DRAWN = st.builds(
    Drawn,
    resolution=st.sampled_from(["instant", "day"]),
    unit=st.sampled_from(["course", "administration"]),
    evidence=st.sampled_from([("administered",), ("administered", "dispensed", "ordered")]),
    overlap=st.sampled_from(["latest", "all", "merge"]),
    across_classes=st.booleans(),
    same_day=st.sampled_from(["after", "before", "exclude"]),
    missing_start=st.sampled_from(["emergent", "emergent", "unplaceable"]),
    clean_window_days=st.sampled_from([None, 0.0, 1.0, 3.0, 30.0]),
    gap_hours=st.sampled_from([72.0, 24.0, "none"]),
)
SEEDS = st.integers(min_value=0, max_value=2**32)
QUIETLY = settings(
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
#: Each in every place at least once, whatever Hypothesis draws.
CHOSEN = [
    Drawn(),
    Drawn(resolution="day", overlap="merge", clean_window_days=3, same_day="before"),
    Drawn(overlap="all", unit="administration", across_classes=True, gap_hours="none"),
    Drawn(overlap="merge", evidence=("administered",), across_classes=True, same_day="exclude"),
    Drawn(resolution="day", evidence=("administered",), gap_hours="none"),
]


def named(study: Study, number: int) -> Study:
    """The study under a name of its own: results of one pipeline are told apart by it."""
    return changed(study, study={"id": f"drawn_{number}"})


def through_beam(
    patients: list[Patient], studies: list[Study], n_buckets: int, folder: Path
) -> dict[str, Linked]:
    """One pipeline over patients split into buckets; results by study."""
    shards = []
    for place in range(n_buckets):
        shard = folder / f"bucket-{place}"
        shard.mkdir()
        for event_type, table in event_tables(patients[place::n_buckets]).items():
            pq.write_table(table, shard / f"{event_type}.parquet")
        shards.append(shard)
    feeds = tuple(("here", name, THROUGH) for name in ALL_TYPES)
    result = run_linkage(shards, [LinkageInput(one, feeds) for one in studies], folder / "out")
    rows = {
        name: read([str(path) for path in paths])
        for name, paths in result.tables.items()
        if name.startswith("linkage.") or name == "signals.counts"
    }
    return {one.id: of_study(rows, one.id) for one in studies}


def read(paths: list[str]) -> list[dict[str, Any]]:
    table = duckdb.read_parquet(paths, union_by_name=True)
    return [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]


def of_study(rows: dict[str, list[dict[str, Any]]], study: str) -> Linked:
    mine = {
        name: [one for one in found if one["study_id"] == study] for name, found in rows.items()
    }
    return Linked(
        mine["linkage.unit_outcome"],
        mine["linkage.course"],
        mine["linkage.infusion"],
        mine["linkage.evidence"],
        [tuple(one.values()) for one in mine["signals.counts"]],
        [tuple(one.values()) for one in mine["linkage.attrition"]],
    )


def check_pipeline(seed: int, number: int, chosen: list[Drawn], n_buckets: int) -> None:
    """One pipeline of patients under several studies, each held against the reference."""
    patients = make_patients(seed, number)
    studies = [named(drawn(one), place) for place, one in enumerate(chosen)]
    with TemporaryDirectory() as folder:
        linked = through_beam(patients, studies, n_buckets, Path(folder))
    for study, one in zip(studies, chosen, strict=True):
        found = differences_from(patients, study, FEEDS, linked[study.id])
        if found:
            pytest.fail(f"{one}\n{described(found)}")


@pytest.mark.parametrize("place", range(1, len(CHOSEN), 2))
def test_a_kernel_agrees_with_the_reference_under_chosen_settings(place: int) -> None:
    patients = make_patients(900 + place, 25)
    study = drawn(CHOSEN[place])
    found = differences_from(patients, study, FEEDS, link(patients, study, through=FEEDS))
    assert not found, explain(found, patients, study)


def test_a_pipeline_agrees_with_the_reference_under_chosen_settings() -> None:
    check_pipeline(902, 40, [CHOSEN[2]], n_buckets=2)


@pytest.mark.slow
@pytest.mark.parametrize("place", range(0, len(CHOSEN), 2))
def test_a_pipeline_of_more_patients_agrees_with_the_reference(place: int) -> None:
    check_pipeline(900 + place, 167, [CHOSEN[place]], n_buckets=2)


def described(found: list[Difference]) -> str:
    """What differs, of the first patients; to make one smaller, call `explain`."""
    return "\n".join(f"{one.patient} {one}" for one in found[:12])


@given(seed=SEEDS, one=DRAWN)
@settings(QUIETLY, max_examples=3)
def test_linkage_agrees_with_the_reference_under_drawn_settings(seed: int, one: Drawn) -> None:
    check_kernel(seed, 20, one)


def check_kernel(seed: int, number: int, one: Drawn) -> None:
    patients, study = make_patients(seed, number), drawn(one)
    found = differences_from(patients, study, FEEDS, link(patients, study, through=FEEDS))
    assert not found, f"{one}\n{explain(found, patients, study)}"


@pytest.mark.slow
@given(seed=SEEDS, chosen=st.lists(DRAWN, min_size=1, max_size=1), n_buckets=st.integers(1, 4))
@settings(QUIETLY, max_examples=50)
def test_20_000_patients_in_50_pipelines_agree_with_the_reference(
    seed: int, chosen: list[Drawn], n_buckets: int
) -> None:
    check_pipeline(seed, 400, chosen, n_buckets)


#: Nothing of the results: where a row stands, and the file that it came from.
def rows_of(linked: Linked) -> list[str]:
    """Everything that linkage said, in an order of its own."""
    rows: Iterable[Any] = [
        *linked.outcomes, *linked.units, *linked.infusions, *linked.evidence
    ]  # fmt: skip
    return sorted(
        repr({name: sorted(v) if isinstance(v, list) else v for name, v in one.items()})
        for one in rows
    )


def total_counts(linked: Linked) -> list[tuple[Any, ...]]:
    return sorted(linked.counts, key=str)


def test_arrival_order_never_changes_a_result() -> None:
    patients, study = make_patients(77, 40), drawn(CHOSEN[0])
    mixed = [Patient(one.key, list(one.events)) for one in patients]
    order = Random(5)  # noqa: S311 - test data
    order.shuffle(mixed)
    for one in mixed:
        order.shuffle(one.events)
    straight, shuffled = link(patients, study), link(mixed, study)
    assert rows_of(straight) == rows_of(shuffled)
    assert total_counts(straight) == total_counts(shuffled)
    assert sorted(straight.attrition, key=str) == sorted(shuffled.attrition, key=str)


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 7])
def test_the_number_of_buckets_never_changes_a_result(number: int) -> None:
    patients, study = make_patients(78, 40), drawn(CHOSEN[1])
    assert link_in_buckets(patients, study, number) == rows_of(link(patients, study))


def link_in_buckets(patients: list[Patient], study: Study, number: int) -> list[str]:
    """Rows of patients that were linked bucket by bucket."""
    return sorted(
        row for place in range(number) for row in rows_of(link(patients[place::number], study))
    )


#: What is no time, and so stays when all times move.
TIMELESS = {
    "outcome": (
        "unit_id", "outcome", "window_name", "status", "cut_reason", "onset_hours",
        "onset_precision", "grade", "baseline_value", "worst_value", "n_candidate_units",
        "is_worsened", "is_pre_existing", "n_events", "n_events_uncleaned", "at_risk_days",
        "at_risk_days_uncleaned", "person_days", "serious_criteria", "is_treated", "measure",
        "has_remedy", "remedy_after_hours",
    ),
    "unit": ("unit_id", "n_infusions", "ordinal_in_record", "is_naive", "premedicated", "setting"),
}  # fmt: skip
MOVED = {"occurred_at", "ended_at", "resulted_at", "died_at", "observation_end_at", "birth_date"}


def moved(patient: Patient, by: timedelta, zone: str) -> Patient:
    """The patient in another zone, with all times moved."""
    events = []
    for event_type, row in patient.events:
        times = {name: row[name] + by for name in MOVED if row.get(name) is not None}
        events.append((event_type, row | times | {"zone": zone}))
    return Patient(patient.key, events)


def test_moving_all_times_in_utc_changes_only_times() -> None:
    # Whole days: events known by their day stay known by a day, dates keep their distance.
    without_age = drawn(Drawn(overlap="all", clean_window_days=3))
    study = changed(without_age, eligibility={"max_age_years": None})
    patients = [one for one in make_patients(79, 50) if not is_dated_by_its_age(one)]
    found = []
    for days in (0, 364):
        by = timedelta(days=days)
        feeds = {name: at + by for name, at in FEEDS.items()}
        linked = link([moved(one, by, "UTC") for one in patients], study, through=feeds)
        found.append(
            [
                sorted(str([one[name] for name in TIMELESS["outcome"]]) for one in linked.outcomes),
                sorted(str([one[name] for name in TIMELESS["unit"]]) for one in linked.units),
            ]
        )
    assert found[0] == found[1]


def is_dated_by_its_age(patient: Patient) -> bool:
    """Months and years are of unequal length: an age in months moves, and with it its limits."""
    return any(
        row.get("birth_date") is not None or row["time_precision"] in {"month", "year"}
        for event_type, row in patient.events
        if event_type != "PatientRegistered"
    )
