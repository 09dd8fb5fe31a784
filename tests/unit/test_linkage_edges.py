"""The worked edges of the window rules: each is a patient, an infusion, and one answer.

Every expectation was written from the rule, not from what the code gave.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.edge_kit import END, START, infused
from tests.linkage_cases import Linked, Patient, child, link, utc


def reported(key: str, before: int | None = None, after: int | None = None) -> Patient:
    """A fast heart reported 21 h before the infusion and 71 h after it: too far apart for one."""
    grades = [{} if grade is None else {"grade": grade} for grade in (before, after)]
    patient = infused(key).report("2024-02-29 12:00", "R00.0", **grades[0])
    return patient.report("2024-03-04 08:00", "R00.0", **grades[1])


#: key, patient, outcome, expected fields of the outcome's row (first unit, risk window).
CASES: list[tuple[Patient, str, dict[str, Any]]] = [
    # section 3: half-open windows
    (infused("at-start").temperature(START, 38.4), "fever", {"status": "event", "onset_hours": 0}),
    (infused("at-end").temperature("2024-03-04 09:30", 38.4), "fever", {"status": "no_event"}),
    (infused("just-in").temperature("2024-03-04 09:29:59", 38.4), "fever", {"status": "event"}),
    (infused("just-before").temperature("2024-03-01 08:59", 37.0), "fever", {"status": "no_event"}),
    (infused("during").temperature("2024-03-01 09:10", 38.4), "fever", {"status": "event"}),
    # section 8: rounding, units, grades
    (infused("rounds-up").temperature("2024-03-02 09:00", 37.95), "fever", {"status": "event"}),
    (infused("just-low").temperature("2024-03-02 09:00", 37.94), "fever", {"status": "no_event"}),
    (infused("fahrenheit").temperature("2024-03-02 09:00", 100.4, "[degF]"), "fever",
     {"status": "event", "grade": 1}),
    (infused("grade-2").temperature("2024-03-02 09:00", 39.1), "fever", {"grade": 2}),
    (infused("grade-3").temperature("2024-03-02 09:00", 40.1), "fever", {"grade": 3}),
    (infused("grade-4").temperature("2024-03-01 12:00", 40.1).temperature("2024-03-02 12:00", 40.2),
     "fever", {"grade": 4}),
    (infused("not-4").temperature("2024-03-01 12:00", 40.1).temperature("2024-03-02 01:00", 38.0)
     .temperature("2024-03-02 12:00", 40.2), "fever", {"grade": 3}),
    (infused("unknown-unit").temperature("2024-03-02 09:00", 39.0, "K"), "fever",
     {"status": "no_event"}),
    # section 1: day precision
    (infused("day-code").report("2024-03-01", "R50.9"), "fever",
     {"status": "event", "onset_precision": "day", "onset_hours": None}),
    (infused("day-after").report("2024-03-04", "R50.9"), "fever", {"status": "event"}),
    (infused("day-outside").report("2024-03-05", "R50.9"), "fever", {"status": "no_event"}),
    (infused("day-before").report("2024-02-29", "R50.9").report("2024-03-02", "R50.9"), "fever",
     {"status": "no_event", "is_pre_existing": True}),
    (infused("month").add("AdverseEventReported", "2024-03-01", code="R50.9", code_system="icd10cm")
     .add("AdverseEventReported", "2024-03-02 10:00", code="R51.9", code_system="icd10cm",
          time_precision="month"), "headache", {"status": "no_event"}),
    # section 5: episodes and treatment-emergent
    (infused("before-same").temperature("2024-02-29 09:00", 38.1)
     .temperature("2024-03-02 09:00", 38.3), "fever",
     {"status": "no_event", "is_pre_existing": True}),
    (infused("before-worse").temperature("2024-02-29 09:00", 38.1)
     .temperature("2024-03-02 09:00", 40.2), "fever",
     {"status": "event", "is_worsened": True, "grade": 3}),
    (infused("long-before").temperature("2024-02-20 09:00", 38.5)
     .temperature("2024-03-02 09:00", 38.3), "fever", {"status": "event", "is_worsened": False}),
    (infused("graded-ongoing").report("2024-02-25 09:00", "R51.9", grade=2)
     .report("2024-03-02 09:00", "R51.9", grade=2), "headache",
     {"status": "no_event", "is_pre_existing": True}),
    (infused("ungraded-again").report("2024-02-25 09:00", "R51.9")
     .report("2024-03-02 09:00", "R51.9"), "headache", {"status": "event"}),
    # A day and an hour are compared by their dates, also where the clock changes between them.
    (child("day-then-hour").infusion("2024-10-06 23:55", "2024-10-07 00:25")
     .report("2024-10-04", "R51.9").report("2024-10-08 00:25", "R51.9"), "headache",
     {"status": "event", "is_pre_existing": False}),
    # section 1: one administration known by its day makes a course of days
    (child("course-by-days").infusion("2024-06-09 09:00", "2024-06-09 12:00", code="11473")
     .infusion("2024-06-12", code="11473"), "fever",
     {"status": "unobserved", "flags": ["day_resolution"]}),
    # section 8: observed
    (child("home").infusion(START, END), "fever", {"status": "unobserved", "is_observed": False}),
    (child("early-look").infusion(START, END).temperature("2024-03-01 15:29", 36.9), "fever",
     {"status": "unobserved"}),
    (child("six-hours").infusion(START, END).temperature("2024-03-01 15:30", 36.9), "fever",
     {"status": "no_event", "is_observed": True}),
    # What was not taken, or is in a unit that nobody knows, is no reading.
    (child("not-taken").infusion(START, END).temperature("2024-03-02 09:00", None), "fever",
     {"status": "unobserved", "is_observed": False}),
    (child("odd-unit").infusion(START, END).temperature("2024-03-02 09:00", 36.9, "K"), "fever",
     {"status": "unobserved", "is_observed": False}),
    (child("no-unit").infusion(START, END).heart_rate("2024-03-02 09:00", 90, None), "fever",
     {"status": "unobserved", "is_observed": False}),
    (child("another-reading").infusion(START, END).heart_rate("2024-03-02 09:00", 90), "fever",
     {"status": "no_event", "is_observed": True}),
    (child("stay").infusion(START, END).encounter("2024-03-01 08:00", "2024-03-02 08:00"), "fever",
     {"status": "no_event"}),
    (child("early-fever").infusion(START, END).temperature("2024-03-01 11:00", 38.6), "fever",
     {"status": "event", "is_observed": True}),
    # section 8: heart rate; the child is 7, the limit 140
    (infused("fast").heart_rate("2024-03-01 08:00", 100).heart_rate("2024-03-01 12:00", 150)
     .heart_rate("2024-03-01 12:30", 152), "tachycardia",
     {"status": "event", "onset_hours": 3}),
    (infused("once").heart_rate("2024-03-01 12:00", 150), "tachycardia", {"status": "no_event"}),
    (infused("too-close").heart_rate("2024-03-01 12:00", 150)
     .heart_rate("2024-03-01 12:29", 150), "tachycardia", {"status": "no_event"}),
    (infused("cannula").heart_rate("2024-03-01 09:05", 150).heart_rate("2024-03-01 09:40", 150),
     "tachycardia", {"status": "no_event"}),
    (infused("own-fast").heart_rate("2024-03-01 08:00", 130).heart_rate("2024-03-01 12:00", 155)
     .heart_rate("2024-03-01 13:00", 155), "tachycardia", {"status": "no_event"}),
    (infused("at-limit").heart_rate("2024-03-01 12:00", 140).heart_rate("2024-03-01 13:00", 140),
     "tachycardia", {"status": "no_event"}),
    # section 5: readings that section 8 admits join reports to one event; nothing else does
    (reported("bridge").heart_rate("2024-03-02 12:00", 150).heart_rate("2024-03-02 12:30", 150),
     "tachycardia", {"status": "no_event", "is_pre_existing": True}),
    (reported("bridge-worse", 1, 2).heart_rate("2024-03-02 12:00", 150)
     .heart_rate("2024-03-02 12:30", 150), "tachycardia",
     {"status": "event", "is_worsened": True, "grade": 2, "onset_at": utc("2024-03-04 08:00")}),
    (reported("no-bridge"), "tachycardia",
     {"status": "event", "is_pre_existing": False, "onset_at": utc("2024-03-04 08:00")}),
    (reported("bridge-once").heart_rate("2024-03-02 12:00", 150), "tachycardia",
     {"status": "event", "is_pre_existing": False}),
    (reported("bridge-close").heart_rate("2024-03-02 12:00", 150)
     .heart_rate("2024-03-02 12:29", 150), "tachycardia",
     {"status": "event", "is_pre_existing": False}),
    (reported("bridge-needle").heart_rate("2024-03-01 09:05", 150)
     .heart_rate("2024-03-01 09:40", 150), "tachycardia",
     {"status": "event", "is_pre_existing": False}),
    (reported("bridge-own").heart_rate("2024-03-01 08:00", 130).heart_rate("2024-03-02 12:00", 150)
     .heart_rate("2024-03-02 12:30", 150), "tachycardia",
     {"status": "event", "is_pre_existing": False}),
    # Two fast readings before the start are the child's own rate, and begin no event.
    (infused("fast-before").heart_rate("2024-02-29 12:00", 150)
     .heart_rate("2024-02-29 13:00", 150).report("2024-03-01 12:00", "R00.0"), "tachycardia",
     {"status": "event", "is_pre_existing": False}),
    # section 7: calcium; own limits as the laboratory prints them
    (infused("ca-1-1").calcium("2024-02-20 09:00", 8.3, low_limit=8.5)
     .calcium("2024-03-03 09:00", 8.2, low_limit=8.5), "hypocalcaemia",
     {"status": "no_event", "grade": 1, "baseline_grade": 1}),
    (infused("ca-1-2").calcium("2024-02-20 09:00", 8.3, low_limit=8.5)
     .calcium("2024-03-03 09:00", 7.9, low_limit=8.5), "hypocalcaemia",
     {"status": "event", "grade": 2, "baseline_grade": 1, "change_from_baseline": -0.4}),
    (infused("ca-cut").calcium("2024-03-03 09:00", 8.0, low_limit=8.5), "hypocalcaemia",
     {"status": "no_event", "grade": 1, "has_baseline": False}),
    (infused("ca-si").calcium("2024-03-03 09:00", 2.0, "mmol/L", low_limit=2.12), "hypocalcaemia",
     {"status": "no_event", "grade": 1}),
    (infused("ca-si-low").calcium("2024-03-03 09:00", 1.99, "mmol/L", low_limit=2.12),
     "hypocalcaemia", {"status": "event", "grade": 2}),
    (infused("ca-own-normal").calcium("2024-03-03 09:00", 7.8, low_limit=7.5), "hypocalcaemia",
     {"status": "no_event", "grade": 0}),
    (infused("ca-table").calcium("2024-03-03 09:00", 9.0), "hypocalcaemia",
     {"status": "no_event", "grade": 1}),
    (infused("ca-less-than").calcium("2024-03-03 09:00", 6.0, comparator="<", low_limit=8.5),
     "hypocalcaemia", {"status": "event", "grade": 4}),
    (infused("ca-grace").calcium("2024-03-01 09:30", 7.0, low_limit=8.5), "hypocalcaemia",
     {"status": "untested", "baseline_grade": 2, "baseline_value": 7.0}),
    (infused("ca-past-grace").calcium("2024-03-01 09:31", 7.5, low_limit=8.5), "hypocalcaemia",
     {"status": "event", "baseline_grade": None}),
    (infused("ca-old-baseline").calcium("2023-11-01 09:00", 7.5, low_limit=8.5)
     .calcium("2024-03-03 09:00", 7.5, low_limit=8.5), "hypocalcaemia",
     {"status": "event", "has_baseline": False}),
    (infused("ca-no-number").calcium("2024-03-03 09:00", None), "hypocalcaemia",
     {"status": "untested"}),
    (infused("ca-unknown-unit").calcium("2024-03-03 09:00", 7.0, "UNK"), "hypocalcaemia",
     {"status": "untested"}),
    (infused("ca-cancelled").calcium("2024-03-03 09:00", 7.0, status="cancelled"), "hypocalcaemia",
     {"status": "untested"}),
    (infused("ca-spoilt").calcium("2024-03-03 09:00", 7.0, specimen_quality="haemolysed"),
     "hypocalcaemia", {"status": "untested"}),
    (infused("ca-day").calcium("2024-03-01", 7.0, low_limit=8.5), "hypocalcaemia",
     {"status": "untested", "baseline_value": 7.0}),
    (infused("po4-si").phosphate("2024-03-03 09:00", 0.62, "mmol/L"), "hypophosphataemia",
     {"status": "event", "grade": 2}),
    (infused("po4-mg").phosphate("2024-03-03 09:00", 1.92), "hypophosphataemia",
     {"status": "event", "grade": 3}),
    # section 8: composites
    (infused("two-groups").report("2024-03-02 09:00", "R51.9").report("2024-03-02 10:00", "R68.83"),
     "acute_phase_reaction", {"status": "event", "is_determined": True}),
    (infused("one-group").report("2024-03-02 09:00", "R51.9").report("2024-03-02 10:00", "R51.9"),
     "acute_phase_reaction", {"status": "no_event"}),
    (infused("any-headache").report("2024-03-02 09:00", "R51.9"), "any_side_effect",
     {"status": "event"}),
    (infused("no-blood"), "any_side_effect", {"status": "undetermined", "is_determined": False}),
    (infused("all-known").calcium("2024-03-03 09:00", 9.8).phosphate("2024-03-03 09:00", 4.5),
     "any_side_effect", {"status": "no_event", "is_determined": True}),
    # section 6: follow-up
    (Patient("death").born("2016-05-10", died_at=utc("2024-03-01 10:00"))
     .diagnosis("2018-01-01", "Q78.0").infusion(START, END).report("2024-03-01 09:20", "R50.9"),
     "fever", {"status": "event", "cut_reason": "death"}),
    (Patient("dead-calm").born("2016-05-10", died_at=utc("2024-03-02 20:00"))
     .diagnosis("2018-01-01", "Q78.0").infusion(START, END).temperature("2024-03-02 10:00", 36.5),
     "fever", {"status": "no_event", "cut_reason": "death"}),
    (Patient("left").born("2016-05-10", observation_end_at=utc("2024-03-02 09:00"))
     .diagnosis("2018-01-01", "Q78.0").infusion(START, END).temperature("2024-03-02 08:00", 36.5),
     "fever", {"status": "censored", "cut_reason": "observation_end"}),
    (Patient("died-that-day").born("2016-05-10", died_at=utc("2024-03-01"))
     .diagnosis("2018-01-01", "Q78.0").infusion(START, END).report("2024-03-01 09:20", "R50.9"),
     "fever", {"status": "event"}),
    # section 1: problem lists and vital signs known by their day lie before the infusion
    (infused("problem-list").diagnosis("2024-03-01", "R50.9", category="problem-list"), "fever",
     {"status": "no_event", "is_pre_existing": False}),
    (infused("vital-by-day").temperature("2024-03-01", 38.5), "fever", {"status": "no_event"}),
    (infused("one-high").temperature("2024-03-02 09:00", 40.5), "fever",
     {"grade": 3, "flags": ["duration_unknown"]}),
    # section 2: who counts
    (Patient("year-known").born("2016-05-10")
     .diagnosis("2016-01-01", "Q78.0", time_precision="year").infusion(START, END)
     .temperature("2024-03-03 09:00", 36.8), "fever", {"status": "no_event"}),
    (Patient("same-year").born("2016-05-10")
     .diagnosis("2024-01-01", "Q78.0", time_precision="year").infusion(START, END), "fever",
     {"status": "ineligible"}),
    (Patient("nobody").infusion(START, END), "fever", {"status": "unplaceable"}),
    (infused("grown", born="2003-03-01"), "fever", {"status": "ineligible"}),
    (infused("last-day", born="2003-03-02"), "fever", {"status": "no_event"}),
    (Patient("no-indication").born("2016-05-10").infusion(START, END), "fever",
     {"status": "ineligible"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def linked() -> Linked:
    return link([patient for patient, _, _ in CASES])


@pytest.mark.parametrize(
    ("patient", "outcome", "expected"), CASES, ids=[patient.key for patient, _, _ in CASES]
)
def test_a_worked_edge_has_the_outcome_that_the_rule_gives(
    linked: Linked, patient: Patient, outcome: str, expected: dict[str, Any]
) -> None:
    row = linked.of(patient.key, outcome)
    assert {name: row[name] for name in expected} == expected


def test_every_worked_patient_has_a_key_of_their_own() -> None:
    keys = [patient.key for patient, _, _ in CASES]
    assert len(set(keys)) == len(keys)


def test_three_days_of_pamidronate_are_one_course_with_one_event() -> None:
    patient = child("course")
    for day in ("01", "02", "03"):
        patient.infusion(f"2024-03-{day} 09:00", f"2024-03-{day} 12:00", code="11473")
    patient.temperature("2024-03-02 20:00", 38.5).temperature("2024-03-05 09:00", 36.8)
    linked = link([patient])
    [unit] = linked.units_of("course")
    assert (unit["n_infusions"], unit["drug"]) == (3, "pamidronate")
    row = linked.of("course", "fever")
    assert row["status"] == "event"
    assert row["window_end_at"] == utc("2024-03-06 12:00")


def test_the_latest_index_owns_an_event_and_cuts_the_window_before_it() -> None:
    patient = (
        child("two")
        .infusion("2024-03-01 09:00", "2024-03-01 09:30")
        .infusion("2024-03-03 09:00", "2024-03-03 09:30")
        .temperature("2024-03-03 21:00", 38.5)
    )
    linked = link([patient])
    first, second = linked.of("two", "fever", 1), linked.of("two", "fever", 2)
    assert (first["status"], first["cut_reason"]) == ("censored", "next_unit")
    assert first["cut_at"] == utc("2024-03-03 09:00")
    assert (second["status"], second["n_candidate_units"]) == ("event", 2)


def test_a_nadir_after_one_unit_is_no_baseline_of_the_next() -> None:
    patient = (
        child("nadir")
        .infusion("2024-03-01 09:00", "2024-03-01 09:30")
        .calcium("2024-03-04 08:00", 7.8, low_limit=8.5)
        .infusion("2024-05-25 09:00", "2024-05-25 09:30")
        .calcium("2024-05-27 09:00", 7.8, low_limit=8.5)
    )
    second = link([patient]).of("nadir", "hypocalcaemia", 2)
    assert (second["status"], second["has_baseline"]) == ("event", False)


def test_equal_starts_leave_one_owner_and_say_tie() -> None:
    patient = (
        child("tie")
        .infusion("2024-03-01 09:00", "2024-03-01 10:00", code="77655")
        .infusion("2024-03-01 09:00", "2024-03-01 11:00", code="115264")
        .temperature("2024-03-02 09:00", 38.5)
    )
    linked = link([patient])
    first, second = linked.of("tie", "fever", 1), linked.of("tie", "fever", 2)
    assert (first["status"], "tie" in first["flags"]) == ("not_at_risk", True)
    assert (second["status"], linked.units_of("tie")[1]["drug"]) == ("event", "ibandronate")


def test_evidence_names_the_rows_behind_an_event_and_its_composites() -> None:
    patient = infused("why").temperature("2024-03-02 09:00", 38.5)
    linked = link([patient])
    behind = {row["outcome"]: row["source_row"] for row in linked.evidence if row["is_counted"]}
    assert behind == {"fever": 5, "acute_phase_reaction": 5, "any_side_effect": 5}


def test_evidence_says_which_readings_joined_an_event_and_which_were_not_confirmed() -> None:
    joined = reported("joined").heart_rate("2024-03-02 12:00", 150)
    joined.heart_rate("2024-03-02 12:30", 150)
    single = reported("single").heart_rate("2024-03-02 12:00", 150)
    linked = link([joined, single])
    units = {unit["unit_id"]: unit["patient_key"] for unit in linked.units}
    reasons = {
        (units[row["unit_id"]], row["source_row"]): row["reason"]
        for row in linked.evidence
        if row["outcome"] == "tachycardia"
    }
    carried, early = "pre_existing", "before the window"
    expected: dict[tuple[str, int], str | None]
    expected = {("joined", 5): early, ("joined", 6): carried, ("joined", 7): carried}
    expected |= {("joined", 8): carried, ("single", 6): None}
    expected |= {("single", 7): "not confirmed by a second reading"}
    assert reasons == expected


def test_person_time_ends_with_the_event() -> None:
    patient = infused("time").temperature("2024-03-02 09:00", 38.5)
    row = link([patient]).of("time", "fever")
    assert row["person_days"] == pytest.approx(1.0)
    assert row["onset_at"] == utc("2024-03-02 09:00")
