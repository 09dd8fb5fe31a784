"""Restarts of stopped infusions, codes that are never an event, and the sums of attrition.

Expectations were written from docs/windows.md, section 2.
"""

from __future__ import annotations

from typing import Any

import pytest

from studies.load import Study, load_study
from studies.model import StudyModel
from tests.linkage_cases import Linked, Patient, child, link, utc, with_settings
from tests.unit.test_linkage_evidence import COVERED, STATUSES, TOLD, at_own_site

START, END, LATER = "2024-03-01 09:00", "2024-03-01 09:30", "2024-03-01 12:30"
SHIPPED = load_study("iv_bisphosphonate")
ALL_EVIDENCE = with_settings(SHIPPED, study={"evidence": ["administered", "dispensed", "ordered"]})


def mg(value: float) -> dict[str, Any]:
    return {"dose_value": value, "dose_unit": "mg"}


def stopped(key: str, start: str = START, end: str | None = END, **fields: Any) -> Patient:
    """Infused, and stopped half an hour later."""
    return child(key).infusion(start, end, status="stopped", **fields)


def order(patient: Patient, value: float, key: str = "o", **fields: Any) -> Patient:
    """An order of 1 March at 8:00; under the key of another record, it is no unit."""
    told = {"evidence": "ordered", "status": "active", "order_key": key} | mg(value) | fields
    return patient.infusion("2024-03-01 08:00", **told)


def prescribed(key: str, first: float, *others: float, **fields: Any) -> Patient:
    """4 mg ordered; that much given and stopped, then more every three hours, stopped as well."""
    patient = order(stopped(key, order_key="o", **mg(first)), 4.0, **fields)
    for number, value in enumerate(others):
        patient.infusion(f"2024-03-01 {12 + 3 * number}:30", status="stopped", **mg(value))
    return patient


#: A patient; of how many records each administration is, and how many of them are interrupted.
RESTARTS: list[tuple[Patient, list[int], int]] = [
    (stopped("chills").infusion(LATER, "2024-03-01 13:00"), [2], 1),
    (child("not-stopped").infusion(START, END).infusion(LATER), [1, 1], 0),
    (stopped("a-day").infusion("2024-03-02 09:30"), [2], 1),
    (stopped("over-a-day").infusion("2024-03-02 09:30:01"), [1, 1], 0),
    (stopped("long-order", order_key="o").infusion("2024-03-02 09:30:01", order_key="o"),
     [1, 1], 0),
    (stopped("at-the-end").infusion(END), [1, 1], 0),
    (stopped("no-end", end=None).infusion("2024-03-02 09:00"), [2], 1),
    (stopped("drug-changed").infusion(LATER, code="11473"), [1, 1], 0),
    (stopped("other-order", order_key="o").infusion(LATER, order_key="p"), [2], 1),
    # A bolus beside the drip is no restart of it, and none of those that follow the restart is.
    (stopped("bolus").infusion("2024-03-01 09:10").infusion(LATER), [1, 2], 1),
    (stopped("bolus-stopped").infusion("2024-03-01 09:10", status="stopped").infusion(LATER),
     [1, 2], 1),
    (stopped("next-only").infusion(LATER).infusion("2024-03-01 15:00"), [1, 2], 1),
    (stopped("chain").infusion(LATER, status="stopped").infusion("2024-03-02 12:00"), [3], 1),
    # A day of 25 hours, as the clock goes back in the night of 7 April.
    (stopped("dst-in", "2024-04-06 12:00", "2024-04-06 12:30").infusion("2024-04-07 11:30"),
     [2], 1),
    (stopped("dst-out", "2024-04-06 12:00", "2024-04-06 12:30").infusion("2024-04-07 11:30:01"),
     [1, 1], 0),
    # The record that ends last says whether it was stopped; of equal ends, any.
    (stopped("went-on").infusion("2024-03-01 09:10", "2024-03-01 09:40").infusion(LATER),
     [1, 2], 0),
    (stopped("ends-alike").infusion("2024-03-01 09:10", END).infusion(LATER), [3], 1),
    # Bags that follow within two hours are one anyway, and interrupted where one was stopped.
    (stopped("bags").infusion("2024-03-01 10:30", "2024-03-01 11:00"), [2], 1),
    (child("bags-whole").infusion(START, END).infusion("2024-03-01 10:30", "2024-03-01 11:00"),
     [2], 0),
    # Within what was prescribed; 1.6 and 2.4 are 4.0 also in a computer.
    (prescribed("within", 1.6, 2.4), [2], 1),
    (prescribed("beyond", 1.6, 2.5), [1, 1], 0),
    (prescribed("sum-of-all", 1.5, 1.5, 1.5), [1, 2], 1),
    (prescribed("begins-anew", 3.0, 3.0, 1.0), [1, 2], 1),
    (prescribed("undated-order", 1.6, 2.5, occurred_at=None, time_precision=None), [1, 1], 0),
    # What cannot be told leaves it to the 24 hours.
    (prescribed("taken-back", 1.6, 2.5, status="cancelled"), [2], 1),
    (prescribed("other-unit", 1.6, 2.5, dose_unit="g"), [2], 1),
    (prescribed("no-unit", 1.6, 2.5, dose_unit=None), [2], 1),
    (order(prescribed("orders-two", 1.6, 2.5), 4.0), [2], 1),
    (order(stopped("untold", order_key="o"), 4.0).infusion(LATER, **mg(9.0)), [2], 1),
    (order(stopped("sources-two", order_key="o", **mg(1.6)), 4.0)
     .infusion(LATER, source="b", **mg(9.0)), [2], 1),
    # A common order is enough, whatever was given.
    (order(stopped("one-order", order_key="o", **mg(3.0)), 4.0)
     .infusion(LATER, order_key="o", **mg(3.0)), [2], 1),
    # The second one names the order.
    (order(stopped("second-names", **mg(3.0)), 4.0).infusion(LATER, order_key="o", **mg(3.0)),
     [1, 1], 0),
    # By days: of the same date or the next; which record came first in the file is no matter.
    (stopped("by-days", "2024-03-01", None).infusion("2024-03-02"), [2], 1),
    (stopped("two-days", "2024-03-01", None).infusion("2024-03-03"), [1, 1], 0),
    (stopped("one-date", "2024-03-01", None).infusion("2024-03-01"), [2], 1),
    (child("one-date-last").infusion("2024-03-01").infusion("2024-03-01", status="stopped"),
     [2], 1),
    (stopped("day-then-hour", "2024-03-01", None).infusion(LATER), [2], 1),
    (stopped("hour-then-day").infusion("2024-03-02"), [2], 1),
    (stopped("hour-and-its-day").infusion("2024-03-01"), [1, 1], 0),
    # An order that was stopped is no stopped infusion.
    (child("orders").infusion(START, evidence="ordered", status="stopped")
     .infusion(LATER, evidence="ordered", status="active"), [1, 1], 0),
]  # fmt: skip

#: What else may become of a record, for the sums.
ODD = [
    child("odd-course").infusion(START, END, code="11473")
    .infusion("2024-03-02 09:00", code="11473").infusion("2024-03-02 10:00", status="not-done"),
    child("odd-old", born="1990-01-01").infusion(START, END),
    child("odd-oral").infusion(START, route="oral").infusion(START, route=None),
    child("odd-end").infusion(START, "2024-02-29 09:00"),
    child("odd-stated").infusion(START, evidence="stated").infusion(START, evidence=None),
    Patient("odd-nobody").infusion(START),
    Patient("odd-no-indication").born("2016-05-10").infusion(START),
    child("odd-excluded").diagnosis("2024-01-01", "E83.52").infusion(START),
    child("odd-nameless").infusion(START).infusion(START, patient_key=None),
]  # fmt: skip


EVERYBODY: list[Patient] = [
    *ODD,
    *(patient for patient, _, _ in RESTARTS),
    *(patient for patient, _ in TOLD),
    *(patient for patient, _, _ in COVERED),
    *(patient for patient, _, _ in STATUSES),
]


@pytest.fixture(scope="module")
def doses() -> Linked:
    return link([at_own_site(patient) for patient in EVERYBODY], ALL_EVIDENCE)


def infusions_of(linked: Linked, key: str) -> list[dict[str, Any]]:
    return [row for row in linked.infusions if row["patient_key"] == key]


@pytest.mark.parametrize(
    ("patient", "records", "n_interrupted"), RESTARTS, ids=[row[0].key for row in RESTARTS]
)
def test_the_restart_of_a_stopped_infusion_is_the_same_administration(
    doses: Linked, patient: Patient, records: list[int], n_interrupted: int
) -> None:
    found = infusions_of(doses, patient.key)
    assert sorted(row["n_records"] for row in found) == records
    assert sum("interrupted" in row["flags"] for row in found) == n_interrupted
    units = doses.units_of(patient.key)
    assert sum("interrupted" in unit["flags"] for unit in units) == n_interrupted


def test_an_interrupted_administration_lasts_to_the_end_of_its_restart(doses: Linked) -> None:
    [infusion], [unit] = infusions_of(doses, "chills"), doses.units_of("chills")
    assert (infusion["started_at"], infusion["ended_at"]) == (utc(START), utc("2024-03-01 13:00"))
    assert (infusion["status"], infusion["flags"]) == (
        "completed",
        ["merged_records", "interrupted"],
    )
    assert unit["n_infusions"] == 1
    assert doses.of("chills", "fever")["window_end_at"] == utc("2024-03-04 13:00")


def test_the_restart_is_that_of_the_stopped_infusion_that_ended_last(doses: Linked) -> None:
    starts = {row["n_records"]: row["started_at"] for row in infusions_of(doses, "bolus-stopped")}
    assert starts == {2: utc(START), 1: utc("2024-03-01 09:10")}


def test_parts_tell_no_whole_dose(doses: Linked) -> None:
    [row] = infusions_of(doses, "sources-two")
    assert (row["dose_value"], row["dose_unit"]) == (None, None)


def test_a_restart_is_as_late_as_the_study_says_and_may_be_going_on() -> None:
    study = with_settings(SHIPPED, administration={"restart_hours": 2.5})
    running = stopped("running").infusion("2024-03-01 12:00", status="in-progress")
    linked = link([running, stopped("too-late").infusion("2024-03-01 12:00:01")], study)
    assert len(infusions_of(linked, "too-late")) == 2
    [row] = infusions_of(linked, "running")
    assert row["flags"] == ["end_missing", "in_progress", "merged_records", "interrupted"]


def test_every_record_administration_and_unit_is_accounted_for(doses: Linked) -> None:
    for patient in EVERYBODY:
        n = [0] * 10
        for _, site, step, _, count in doses.attrition:
            n[step] += count if site == patient.key else 0
        units = doses.units_of(patient.key)
        assert n[1] == sum(name == "InfusionRecorded" for name, _ in patient.events)
        assert n[1] == n[2] + n[3] + n[4]
        assert n[4] == len(infusions_of(doses, patient.key)) == n[5] + n[6]
        assert n[6] == len(units) == n[7] + n[8]
        assert n[8] == sum(unit["is_eligible"] for unit in units)


def test_attrition_tells_restarts_from_other_records_of_a_dose(doses: Linked) -> None:
    told = {(site, step): n for _, site, number, step, n in doses.attrition if number == 3}
    merged, restart = "merged with another record", "restart of a stopped infusion"
    assert told["chain", restart] == 2
    assert (told["ends-alike", merged], told["ends-alike", restart]) == (1, 1)
    assert ("bags", restart) not in told


INFLUENZA = [
    {"concept": "influenza", "event_type": "DiagnosisRecorded", "code": "J10", "match": "prefix"},
    *(
        {"concept": "headache", "event_type": name, "code": code, "match": "exact"}
        for name in ("AdverseEventReported", "DiagnosisRecorded")
        for code in ("J10.1", "M81.8")
    ),
]


def with_never_events() -> Study:
    """Influenza and a code of the indication are headaches too, as far as the code list goes."""
    rows = [{"code_system": "icd10cm", "label": "", "source": ""} | row for row in INFLUENZA]
    never = with_settings(SHIPPED, eligibility={"never_event_concepts": ["influenza"]})
    return Study(never.model, (*never.codelist, *rows), never.limits, never.folder)


@pytest.fixture(scope="module")
def never() -> Linked:
    after = "2024-03-02 09:00"

    def bag(key: str) -> Patient:
        return child(key).infusion(START, END)

    return link(
        [
            bag("headache").report(after, "R51.9", source_part=3),
            # A report is a look at the child, whatever it says; such a diagnosis is none.
            bag("reported").report(after, "J10.1"),
            bag("undotted").report(after, "j101"),
            bag("diagnosed").diagnosis(after, "J10.1"),
            bag("indicated").diagnosis(after, "M81.8"),
            # It stays what it is elsewhere: an indication of the second infusion.
            Patient("indication").born("2016-05-10").infusion(START, END)
            .diagnosis(after, "M81.8").infusion("2024-06-01 09:00", "2024-06-01 09:30"),
        ],
        with_never_events(),
    )  # fmt: skip


def test_codes_of_the_indication_and_never_events_are_evidence_of_nothing(never: Linked) -> None:
    assert {
        row["patient_key"]: row["status"]
        for row in never.outcomes
        if row["outcome"] == "headache" and row["patient_key"] != "indication"
    } == {
        "headache": "event", "reported": "no_event", "undotted": "no_event",
        "diagnosed": "unobserved", "indicated": "unobserved",
    }  # fmt: skip
    assert [unit["indication_type"] for unit in never.units_of("indication")] == [
        "unknown", "other",
    ]  # fmt: skip


def test_evidence_names_the_part_of_a_record(never: Linked) -> None:
    [headache] = never.units_of("headache")
    assert {(row["unit_id"], row["source_part"]) for row in never.evidence} == {
        (headache["unit_id"], 3)
    }


@pytest.fixture(scope="module")
def lenient() -> Linked:
    """No indication, no never-events, and a headache without a start follows the infusion."""
    study = with_never_events()
    outcomes = [one.model_dump(warnings=False) for one in study.model.outcome]
    for one in outcomes:
        if one["name"] == "headache":
            one["missing_start"] = "emergent"
    model = StudyModel.model_validate(
        study.model.model_dump(warnings=False)
        | {"indication": [], "eligibility": {"requires_indication": False}, "outcome": outcomes}
    )
    undated = {"occurred_at": None, "time_precision": None}
    patients = [
        child("open").infusion(START, END).report("2024-03-02 09:00", "J10.1"),
        child("open-too").infusion(START, END).diagnosis("2024-03-02 09:00", "M81.8"),
        child("undated").infusion(START, END).report(START, "R51.9", **undated),
        child("never-linked").infusion(START, END).report(START, "R50.9", **undated),
    ]
    return link(
        [at_own_site(patient) for patient in patients],
        Study(model, study.codelist, study.limits, study.folder),
    )


def test_the_same_codes_are_events_of_a_study_that_does_not_rule_them_out(lenient: Linked) -> None:
    found = {key: lenient.of(key, "headache")["onset_at"] for key in ("open", "open-too")}
    assert found == dict.fromkeys(("open", "open-too"), utc("2024-03-02 09:00"))


def test_what_was_linked_without_a_day_is_not_counted_as_lost(lenient: Linked) -> None:
    lost = [(site, n) for _, site, number, _, n in lenient.attrition if number == 9]
    assert lost == [("never-linked", 1)]
