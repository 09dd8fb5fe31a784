"""Worked edges of one dose told twice, and of orders and dispenses (docs/windows.md, section 2).

Every expectation was written from the rule.
"""

from __future__ import annotations

from typing import Any

import pytest

from studies.load import load_study
from tests.linkage_cases import Linked, Patient, child, link, with_settings

START, END = "2024-03-01 09:00", "2024-03-01 09:30"
SHIPPED = load_study("iv_bisphosphonate")
ALL_EVIDENCE = with_settings(SHIPPED, study={"evidence": ["administered", "dispensed", "ordered"]})
ORDERS_ONLY = with_settings(SHIPPED, study={"evidence": ["ordered"]})


def ordered(patient: Patient, at: str, **fields: Any) -> Patient:
    return patient.infusion(at, **({"evidence": "ordered", "status": "active"} | fields))


def dispensed(patient: Patient, at: str, **fields: Any) -> Patient:
    return patient.infusion(at, **({"evidence": "dispensed"} | fields))


def undated(patient: Patient, **fields: Any) -> Patient:
    nothing = {"occurred_at": None, "time_precision": None}
    return dispensed(patient, START, **nothing, **fields)


def bag(key: str, start: str = START, end: str = END, **fields: Any) -> Patient:
    return child(key).infusion(start, end, **fields)


def point(patient: Patient, at: str, source: str, **fields: Any) -> Patient:
    return patient.infusion(at, source=source, **fields)


#: A patient, and the administrations that the rule makes of the records: how many records each.
TOLD: list[tuple[Patient, list[int]]] = [
    (point(point(child("two-sources"), START, "a"), START, "b"), [2]),
    (point(point(child("orders-differ"), START, "a", order_key="1"), START, "b", order_key="2"),
     [2]),
    (point(point(child("one-source"), START, "a"), START, "a"), [1, 1]),
    (point(point(child("a-second-later"), START, "a"), "2024-03-01 09:00:01", "b"), [1, 1]),
    # Two real doses of one moment, told by two sources, are two.
    (point(point(point(point(child("two-of-two"), START, "a", order_key="1"), START, "a",
     order_key="2"), START, "b", order_key="3"), START, "b", order_key="4"), [2, 2]),
    (point(point(point(child("two-and-one"), START, "a"), START, "a"), START, "b"), [1, 2]),
    # A point within what another source tells with a duration; both ends belong to it.
    (point(bag("at-its-start"), START, "b"), [2]),
    (point(bag("at-its-end"), END, "b"), [2]),
    (point(bag("after-its-end"), "2024-03-01 09:30:01", "b"), [1, 1]),
    (point(bag("before-its-start"), "2024-03-01 08:59:59", "b"), [1, 1]),
    (point(point(bag("two-within"), "2024-03-01 09:10", "b"), "2024-03-01 09:20", "b"), [3]),
    # A bolus beside a drip is another dose, also where another source tells the bolus too.
    (bag("own-bolus").infusion("2024-03-01 09:10"), [1, 1]),
    (point(bag("bolus-twice").infusion("2024-03-01 09:10"), "2024-03-01 09:10", "b"), [1, 2]),
    (bag("overlap").infusion("2024-03-01 09:20", "2024-03-01 09:40", source="b"), [2]),
    (point(child("other-drug").infusion(START, END), START, "b", code="11473"), [1, 1]),
    # Known by its day it may be that dose or another one of the day.
    (point(point(child("day-and-hour"), START, "a"), "2024-03-01", "b"), [1, 1]),
    (point(point(child("day-and-day"), "2024-03-01", "a"), "2024-03-01", "b"), [2]),
]  # fmt: skip


@pytest.fixture(scope="module")
def told() -> Linked:
    return link([patient for patient, _ in TOLD])


@pytest.mark.parametrize(("patient", "expected"), TOLD, ids=[one.key for one, _ in TOLD])
def test_the_same_dose_told_by_two_sources_is_one_administration(
    told: Linked, patient: Patient, expected: list[int]
) -> None:
    found = [row["n_records"] for row in told.infusions if row["patient_key"] == patient.key]
    assert sorted(found) == expected


def test_a_dose_told_twice_is_never_added_up() -> None:
    mg = {"dose_unit": "mg"}
    agree = point(bag("agree", dose_value=2.0, **mg), START, "b", dose_value=2.0, **mg)
    untold = point(bag("untold", dose_value=2.0, **mg), START, "b")
    differ = point(bag("differ", dose_value=2.0, **mg), START, "b", dose_value=4.0, **mg)
    units = point(bag("units", dose_value=2.0, **mg), START, "b", dose_value=2.0, dose_unit="g")
    bags = bag("bags", dose_value=2.0, **mg).infusion(END, "2024-03-01 10:00", dose_value=2.0, **mg)
    linked = link([agree, untold, differ, units, bags])
    doses = {row["patient_key"]: (row["dose_value"], row["dose_unit"]) for row in linked.infusions}
    assert doses == {
        "agree": (2.0, "mg"), "untold": (2.0, "mg"), "differ": (None, None),
        "units": (None, None), "bags": (None, None),
    }  # fmt: skip


def test_an_end_that_one_source_tells_ends_what_another_calls_in_progress() -> None:
    patient = point(bag("ended"), START, "b", status="in-progress")
    [row] = link([patient]).infusions
    assert row["flags"] == ["merged_records"]


#: A patient; evidence of each unit in order; why the other records are no units.
COVERED: list[tuple[Patient, list[str], dict[str, int]]] = [
    (ordered(bag("same-request", order_key="r"), "2024-02-01 09:00", order_key="r"),
     ["administered"], {"covered_by_administration": 1}),
    (ordered(bag("near"), "2024-02-23 09:00"), ["administered"], {"covered_by_administration": 1}),
    (ordered(bag("too-far"), "2024-02-23 08:59:59"), ["ordered", "administered"], {}),
    (ordered(bag("afterwards"), "2024-03-08 09:00"), ["administered"],
     {"covered_by_administration": 1}),
    (ordered(bag("by-its-day"), "2024-02-23"), ["administered"], {"covered_by_administration": 1}),
    (ordered(bag("another", code="11473"), "2024-03-02 09:00"), ["administered", "ordered"], {}),
    # Each administration answers one order only; the nearer one.
    (ordered(ordered(bag("two-orders"), "2024-02-29 09:00"), "2024-02-27 09:00"),
     ["ordered", "administered"], {"covered_by_administration": 1}),
    # What names another order that is there is claimed.
    (ordered(ordered(bag("claimed", order_key="r"), "2024-02-20 09:00", order_key="r"),
     "2024-02-29 09:00", order_key="s"), ["ordered", "administered"],
     {"covered_by_administration": 1}),
    # One order of several days.
    (ordered(bag("many-days", order_key="r").infusion("2024-04-01 09:00", order_key="r"),
     "2024-02-29 09:00", order_key="r"), ["administered", "administered"],
     {"covered_by_administration": 1}),
    # Administered, else dispensed, else ordered.
    (ordered(dispensed(child("pharmacy"), START, order_key="r"), "2024-02-01 09:00", order_key="r"),
     ["dispensed"], {"covered_by_dispense": 1}),
    (ordered(dispensed(child("pharmacy-near"), START), "2024-02-28 09:00"), ["dispensed"],
     {"covered_by_dispense": 1}),
    (ordered(dispensed(bag("all-three"), "2024-02-29 09:00"), "2024-02-28 09:00"),
     ["administered"], {"covered_by_administration": 2}),
    (ordered(dispensed(bag("a-chain"), "2024-02-29 09:00", order_key="r"), "2024-02-01 09:00",
     order_key="r"), ["administered"],
     {"covered_by_administration": 1, "covered_by_dispense": 1}),
    # Of all three only that it was not given: no unit; an entry in error says nothing.
    (ordered(bag("not-given", status="not-done", order_key="r"), START, order_key="r"), [],
     {"not_administered": 1, "not_given": 1}),
    (ordered(bag("in-error", status="entered-in-error", order_key="r"), START, order_key="r"),
     ["ordered"], {"not_administered": 1}),
    # Another road is no infusion, and the order was carried out.
    (ordered(bag("swallowed", route="oral", order_key="r"), START, order_key="r"), [],
     {"route_not_studied": 1, "covered_by_administration": 1}),
    (undated(child("undated-only")), [], {"unplaceable": 1}),
]  # fmt: skip


#: Orders count unless they were taken back.
STATUSES = [
    (ordered(child(status), START, status=status), ["ordered"] * n,
     {} if n else {"not_in_force": 1})
    for status, n in (
        ("active", 1), ("on-hold", 1), ("completed", 1), ("stopped", 1), ("unknown", 1),
        ("cancelled", 0), ("draft", 0), ("entered-in-error", 0),
    )
]  # fmt: skip


def at_own_site(patient: Patient) -> Patient:
    """The patient as the only one of a site, so that attrition tells of nobody else."""
    rows = [(name, row | {"site_id": patient.key}) for name, row in patient.events]
    return Patient(patient.key, rows)


def fates(linked: Linked, site: str = "here") -> dict[str, int]:
    prefix = "left out: "
    return {
        row[3].removeprefix(prefix): row[4]
        for row in linked.attrition
        if row[1] == site and row[2] == 2
    }


@pytest.fixture(scope="module")
def supplied() -> Linked:
    return link([at_own_site(patient) for patient, _, _ in COVERED + STATUSES], ALL_EVIDENCE)


@pytest.mark.parametrize(
    ("patient", "evidence", "left_out"),
    COVERED + STATUSES,
    ids=[one.key for one, _, _ in COVERED + STATUSES],
)
def test_a_unit_stands_on_the_strongest_evidence_and_is_counted_once(
    supplied: Linked, patient: Patient, evidence: list[str], left_out: dict[str, int]
) -> None:
    assert [unit["evidence"] for unit in supplied.units_of(patient.key)] == evidence
    assert fates(supplied, patient.key) == left_out


def test_an_ordered_unit_ends_where_it_starts_whatever_the_order_is_valid_for() -> None:
    patient = child("valid").infusion(START, "2024-03-02 12:00", evidence="ordered")
    [unit] = link([patient], ORDERS_ONLY).units
    assert (unit["started_at"], unit["evidence"]) == (unit["ended_at"], "ordered")
    assert unit["flags"] == ["end_missing"]


def test_an_undated_dispense_marks_its_order_and_no_other() -> None:
    patient = ordered(undated(child("marked"), order_key="r"), START, order_key="r")
    other = ordered(undated(child("unmarked"), order_key="s"), START, order_key="r")
    linked = link([patient, other], ALL_EVIDENCE)
    [unit] = linked.units_of("marked")
    assert (unit["evidence"], unit["flags"]) == ("ordered", ["end_missing", "dispensed_undated"])
    flags = {row["patient_key"]: row["flags"] for row in linked.infusions}
    assert flags == {"marked": ["end_missing", "dispensed_undated"], "unmarked": ["end_missing"]}


def test_a_study_of_orders_counts_none_that_was_carried_out() -> None:
    carried_out = ordered(bag("carried-out", order_key="r"), START, order_key="r")
    waiting = ordered(child("waiting"), START)
    linked = link([carried_out, waiting], ORDERS_ONLY)
    assert [unit["patient_key"] for unit in linked.units] == ["waiting"]
    assert fates(linked) == {"evidence_not_counted": 1, "covered_by_administration": 1}


def test_a_dispense_is_a_sign_of_exposure_unless_it_is_that_of_the_infusion() -> None:
    def known(key: str) -> Patient:
        return bag(key).encounter("2022-01-01 08:00", "2022-01-01 09:00")

    linked = link(
        [
            # The pharmacy's own record of the very infusion is no earlier exposure.
            dispensed(known("covered"), "2024-02-29 09:00"),
            dispensed(known("older"), "2024-01-10 09:00"),
            dispensed(known("never-given"), "2024-01-09 09:00", order_key="r").infusion(
                "2024-01-10 09:00", status="not-done", order_key="r"
            ),
            ordered(bag("ordered-long-ago"), "2022-01-01 09:00", status="completed"),
        ]
    )
    assert {unit["patient_key"]: unit["is_naive"] for unit in linked.units} == {
        "covered": True, "older": False, "never-given": True,
        # An order begins no record, and is no exposure.
        "ordered-long-ago": None,
    }  # fmt: skip


def test_what_is_only_said_of_a_study_drug_is_no_unit_covers_nothing_and_is_not_covered() -> None:
    def told(key: str, at: str, **fields: Any) -> Patient:
        return child(key).infusion(at, **({"evidence": "stated"} | fields))

    patients = [
        told("alone", START),
        told("undated", START, occurred_at=None, time_precision=None),
        told("by-month", "2024-03-01", time_precision="month"),
        told("taken-now", START, status="active"),
        ordered(told("covers-none", START, order_key="r"), START, order_key="r"),
        told("not-covered", "2024-02-28 09:00", order_key="r").infusion(START, END, order_key="r"),
    ]
    linked = link([at_own_site(one) for one in patients], ALL_EVIDENCE)
    assert {(unit["patient_key"], unit["evidence"]) for unit in linked.units} == {
        ("covers-none", "ordered"), ("not-covered", "administered"),
    }  # fmt: skip
    for one in patients:
        assert fates(linked, one.key) == {"evidence_not_counted": 1}
    [unit] = linked.units_of("not-covered")
    assert (unit["is_naive"], unit["n_infusions"]) == (False, 1)


def test_what_is_only_said_of_another_infusion_is_no_co_infusion_and_no_contact() -> None:
    grace = with_settings(SHIPPED, follow_up={"contact_grace_days": 3})
    watched = with_settings(grace, strata={"co_infusion_concepts": ["pamidronate"]})
    later = "2024-03-02 09:00"
    given = bag("given").infusion(later, code="11473")
    said = bag("said").infusion(later, code="11473", evidence="stated")
    linked = link([given, said], watched)
    found = {key: linked.units_of(key)[0] for key in ("given", "said")}
    assert {key: unit["co_infusion"] for key, unit in found.items()} == {
        "given": True, "said": False,
    }  # fmt: skip
    assert linked.of("said", "fever")["cut_reason"] == "observation_end"


def test_a_drug_of_unknown_status_is_no_premedication() -> None:
    def fever_drug(key: str, **fields: Any) -> Patient:
        drug = {"code": "161", "code_system": "rxnorm"}
        return bag(key).add("MedicationGiven", "2024-03-01 08:00", **drug, **fields)

    linked = link([fever_drug("given", status="completed"), fever_drug("box", status="unknown")])
    assert {unit["patient_key"]: unit["premedicated"] for unit in linked.units} == {
        "given": True, "box": False,
    }  # fmt: skip


def test_codes_without_their_dots_mean_the_same() -> None:
    patient = (
        Patient("undotted").born("2016-05-10").diagnosis("2018-01-01", "Q780").infusion(START, END)
        .report("2024-03-02 09:00", "r50.9")
    )  # fmt: skip
    # M80.0 is a prefix of the shipped study's list.
    prefix = Patient("prefix").born("2016-05-10").diagnosis("2018-01-01", "M8008XA")
    linked = link([patient, prefix.infusion(START, END)])
    assert linked.of("undotted", "fever")["status"] == "event"
    assert {unit["patient_key"] for unit in linked.units if unit["is_eligible"]} == {
        "undotted", "prefix",
    }  # fmt: skip


def test_a_result_known_by_its_issue_time_is_imprecise() -> None:
    patient = bag("issued").calcium("2024-03-03 09:00", 7.0, flags=["imprecise_time"])
    linked = link([patient])
    row = linked.of("issued", "hypocalcaemia")
    assert (row["status"], "imprecise" in row["flags"]) == ("event", True)


def test_flags_of_sources_are_kept_beside_the_infusion() -> None:
    flags = ["start_is_end", "several_codings", "dose_not_judged"]
    dated = {"flags": ["dated_by_encounter"]}
    linked = link([bag("flagged", flags=flags).diagnosis("2024-03-02", "R51.9", **dated)])
    assert linked.infusions[0]["flags"] == ["several_codings", "start_is_end"]
    row = linked.of("flagged", "headache")
    assert (row["status"], row["flags"]) == ("event", ["imprecise"])


def test_events_of_the_study_without_a_day_are_counted() -> None:
    patient = (
        bag("vague")
        .diagnosis("2024-03-01", "R51.9", time_precision="month")
        .report("2024-03-02 09:00", "R51.9", occurred_at=None, time_precision=None)
        .report("2024-03-02 09:00", "Z00.0", occurred_at=None, time_precision=None)
        .calcium("2024-03-02 09:00", 7.0, occurred_at=None, time_precision=None)
    )
    n = {row[3]: row[4] for row in link([patient]).attrition if row[2] == 9}
    assert n == {
        "never linked, no day known: AdverseEventReported": 1,
        "never linked, no day known: DiagnosisRecorded": 1,
        "never linked, no day known: LabResulted": 1,
    }
