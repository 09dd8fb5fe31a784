"""What is known of a unit at its index: records of one dose, strata, earlier exposure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from studies.load import load_study
from tests.edge_kit import END, START
from tests.linkage_cases import Linked, Patient, child, link, with_settings


def test_records_of_one_dose_are_one_administration() -> None:
    bags = (
        child("bags")
        .infusion("2024-03-01 09:00", "2024-03-01 10:00")
        .infusion("2024-03-01 12:00", "2024-03-01 13:00")
    )
    apart = (
        child("apart")
        .infusion("2024-03-01 09:00", "2024-03-01 10:00")
        .infusion("2024-03-01 12:01", "2024-03-01 13:00")
    )
    points = child("points").infusion("2024-03-01 09:00").infusion("2024-03-01 09:00")
    ordered = (
        child("ordered")
        .infusion("2024-03-01 09:00", order_key="o")
        .infusion("2024-03-01 09:00", order_key="o")
    )
    linked = link([bags, apart, points, ordered])
    count = {
        key: sum(row["patient_key"] == key for row in linked.infusions)
        for key in ("bags", "apart", "points", "ordered")
    }
    assert count == {"bags": 1, "apart": 2, "points": 2, "ordered": 1}


def test_attrition_adds_up_from_records_to_eligible_units() -> None:
    patient = (
        child("adds-up")
        .infusion("2024-03-01 09:00", "2024-03-01 10:00")
        .infusion("2024-03-01 11:00", "2024-03-01 12:00")
        .infusion("2024-05-01 09:00", "2024-05-01 10:00", code="11473")
        .infusion("2024-05-02 09:00", "2024-05-02 10:00", code="11473")
        .infusion("2024-06-01 09:00", status="not-done")
    )
    nobody = Patient("nobody").infusion(START, END)
    n = {row[3]: row[4] for row in link([patient, nobody]).attrition}
    assert n["records of study drugs"] == 6
    given = n["records of study drugs"] - n["left out: not_administered"]
    assert given - n["merged with another record"] == n["administrations"] == 4
    assert n["administrations"] - n["joined to an earlier one of its course"] == n["units"] == 3
    assert n["units"] - n["left out: patient_missing"] == n["eligible units"] == 2


def test_what_was_not_given_is_no_administration_and_is_counted() -> None:
    patient = (
        child("none")
        .infusion(START, END, status="not-done")
        .infusion(START, END, status="entered-in-error")
        .infusion(START, END, evidence="ordered")
        .infusion(START, END, route="oral")
        .infusion(START, END, route=None)
        .add("InfusionRecorded", "2024-03-01", time_precision="month", code="77655",
             code_system="rxnorm", status="completed", evidence="administered",
             route="intravenous")
    )  # fmt: skip
    linked = link([patient])
    assert linked.units == []
    assert {row[3]: row[4] for row in linked.attrition} == {
        "records of study drugs": 6,
        "left out: not_administered": 2,
        "left out: evidence_not_counted": 1,
        "left out: route_not_studied": 1,
        "left out: route_unknown": 1,
        "left out: unplaceable": 1,
    }


def test_strata_are_fixed_at_the_index_from_facts_before_it() -> None:
    patient = (
        Patient("strata")
        .born("2016-03-01", sex="female")
        .encounter("2022-01-01 08:00", "2022-01-01 09:00")
        .diagnosis("2023-01-01", "T38.0X5A")
        .diagnosis("2024-03-01", "G71.01")
        .diagnosis("2024-03-02", "Q78.0")
        .encounter("2024-03-01 08:00", "2024-03-01 10:00", "inpatient")
        .add("MedicationGiven", "2024-03-01 08:30", code="161", code_system="rxnorm")
        .infusion(START, END)
    )
    [unit] = link([patient]).units
    assert unit["age_months"] == 96
    assert unit["age_band"] == "6-11 y"
    assert unit["indication_type"] == "neuromuscular"
    assert unit["setting"] == "inpatient"
    assert unit["premedicated"] is True
    assert unit["is_naive"] is True
    assert unit["calendar_quarter"] == "2024-Q1"


def known(patient: Patient) -> Patient:
    """With more than a year of record before the infusion."""
    return patient.encounter("2022-01-01 08:00", "2022-01-01 09:00")


def sign(patient: Patient, at: str, precision: str, **fields: Any) -> Patient:
    """A bisphosphonate by mouth."""
    drug = {"code": "46041", "code_system": "rxnorm", "time_precision": precision}
    return patient.add("MedicationGiven", at, **drug, **fields)


def stated(patient: Patient, at: str, **fields: Any) -> Patient:
    """An infusion of a study drug that somebody only tells of."""
    return patient.infusion(at, **({"evidence": "stated"} | fields))


#: What is known of a child beside the infusion of 1 March 2024, and whether it was the first ever.
HISTORIES: list[tuple[Callable[[Patient], Patient], bool | None]] = [
    (lambda p: p.encounter("2022-01-01 08:00", "2022-01-01 09:00"), True),
    (lambda p: p, None),
    (lambda p: p.diagnosis("2023-06-01", "Z79.83"), False),
    (
        lambda p: p.add("MedicationGiven", "2020-01-01", code="46041", code_system="rxnorm"),
        False,
    ),
    (lambda p: p.diagnosis("2021-01-01", "Z79.83", time_precision="year"), False),
    # Known by month or year: before the index only where all of it is; the index is of 1 March.
    (lambda p: sign(known(p), "2024-02-01", "month"), False),
    (lambda p: sign(known(p), "2023-01-01", "year"), False),
    (lambda p: sign(known(p), "2024-03-01", "month"), None),
    (lambda p: sign(known(p), "2024-01-01", "year"), None),
    (lambda p: sign(known(p), "2024-04-01", "month"), True),
    (lambda p: sign(sign(known(p), "2024-01-01", "year"), "2023-01-01", "instant"), False),
    (lambda p: known(p).diagnosis("2024-03-01", "Z79.83", time_precision="month"), None),
    (lambda p: known(p).diagnosis("2024-02-01", "Z79.83", time_precision="month"), False),
    (lambda p: known(p).infusion("2024-03-01", time_precision="month"), None),
    # A box of tablets dispensed, or a drug on the list of what is taken at home.
    (lambda p: sign(known(p), "2024-02-20", "day", status="unknown"), False),
    (lambda p: sign(known(p), "2024-02-20", "day", status="not-done"), True),
    # A study drug that somebody says was taken: a sign, and neither record nor contact.
    (lambda p: stated(known(p), "2024-02-20 09:00"), False),
    (lambda p: stated(known(p), "2024-02-01", time_precision="month"), False),
    (lambda p: stated(known(p), "2024-03-01", time_precision="month"), None),
    (lambda p: stated(known(p), "2024-03-02 09:00"), True),
    (lambda p: stated(known(p), "2022-02-01 09:00", status="not-done"), True),
    (lambda p: stated(p, "2022-02-01 09:00", status="entered-in-error"), None),
    # An order may be that of the infusion itself; what was cancelled or wrong shows nothing.
    (lambda p: known(p).infusion("2024-02-29 09:00", evidence="ordered"), True),
    (lambda p: known(p).infusion("2023-02-01 09:00", status="cancelled"), True),
    (lambda p: p.infusion("2020-02-01 09:00", status="entered-in-error"), None),
]


@pytest.fixture(scope="module")
def naive() -> Linked:
    return link(
        history(child(f"naive-{number}")).infusion(START, END)
        for number, (history, _) in enumerate(HISTORIES)
    )


@pytest.mark.parametrize("number", range(len(HISTORIES)))
def test_naive_is_true_false_or_unknown(naive: Linked, number: int) -> None:
    [unit] = naive.units_of(f"naive-{number}")
    assert unit["is_naive"] is HISTORIES[number][1]


def test_a_patient_named_is_a_patient_where_nobody_delivers_patients() -> None:
    study = with_settings(
        load_study("iv_bisphosphonate"),
        eligibility={"max_age_years": None, "requires_indication": False},
    )
    row = link([Patient("implied").infusion(START, END)], study, patients_implied=True)
    assert row.of("implied", "fever")["status"] == "unobserved"
