"""Each check, with rows that it must spare and rows that it must find."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from expectations.judged import DRIFT
from expectations.table import checks
from schemas import CLINICAL_TYPES
from tests.checks_staging import AT, THROUGH, Concept, failed_by_sql, good

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LATEST = THROUGH.replace(tzinfo=None) + DAY
INSTANT = timedelta(microseconds=1)
NAN, INFINITE = float("nan"), float("inf")

LAB, VITAL, DXA = "LabResulted", "VitalSignMeasured", "BoneDensityMeasured"
DRIP, PILL, STAY = "InfusionRecorded", "MedicationGiven", "EncounterOccurred"
HARM, ILL, BORN = "AdverseEventReported", "DiagnosisRecorded", "PatientRegistered"
HAPPENING = [name for name in CLINICAL_TYPES if name != BORN]
CODED = [name for name in HAPPENING if name != STAY]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


SPARED: list[tuple[str, dict[str, Any]]] = [
    # What is absent is not judged by a rule about its value.
    (DRIP, {"ended_at": None, "end_precision": None, "status": None, "route": None}),
    (LAB, {"low_limit": None, "high_limit": None, "status": None}),
    (STAY, {"setting": None, "ended_at": None}),
    (BORN, {"died_at": None, "birth_date": None, "sex": None}),
    # Flags of other losses have checks of their own.
    (BORN, {"birth_date": None, "flags": ["missing_local_time", "bad_values"]}),
    (HARM, {"grade": None, "ended_at": None}),
    # Edges belong to what is possible.
    (LAB, {"occurred_at": LATEST}),
    (LAB, {"occurred_at": at("1900-01-01")}),
    (LAB, {"value": 1.0}),
    (LAB, {"value": 32.0}),
    (LAB, {"value": 2.3, "unit": "mmol/L"}),
    (DRIP, {"ended_at": AT}),
    (DRIP, {"dose_value": 0.0}),
    (DRIP, {"dose_value": 500.0}),
    (DRIP, {"dose_value": 0.002, "dose_unit": "g"}),
    (DXA, {"z_score": -30.0}),
    (HARM, {"grade": 5}),
    (LAB, {"low_limit": 9.0, "high_limit": 9.0}),
    # An end that names a day may be as late as that day; its own day is 25 hours long at most.
    (DRIP, {"ended_at": AT - 11 * HOUR, "end_precision": "day"}),
    (DRIP, {"ended_at": AT - 25 * HOUR, "end_precision": "day"}),
    (DRIP, {"ended_at": AT - 31 * DAY, "end_precision": "month"}),
    (DRIP, {"ended_at": AT - 366 * DAY, "end_precision": "year"}),
    # St John's is 3:30 behind UTC in February: local midnight of the day of AT.
    (STAY, {"ended_at": at("2024-02-01T03:30")}),
    (ILL, {"ended_at": at("2024-02-01T03:30")}),
    # A report without a start is kept; the other types need one.
    (DRIP, {"time_precision": "day"}),
    # A code outside the vocabulary: any known unit, or none; no bounds.
    (LAB, {"code": "1988-5", "unit": "mg/L", "value": 1e9}),
    (LAB, {"code": "2744-1", "unit": None, "value": 7.4}),
    (LAB, {"code": "2744-1", "unit": "  ", "value": 7.4}),
    (VITAL, {"value": 98.6, "unit": "[degF]"}),
    # A drug without a range has no dose to judge, nor has an infusion that was not given.
    (DRIP, {"code": "1", "dose_value": None}),
    (DRIP, {"status": "not-done", "dose_value": None}),
    # A dispense without a time tells that its order was dispensed; an order without one, nothing.
    (DRIP, {"evidence": "dispensed", "occurred_at": None, "ended_at": None}),
    (DXA, {"code": None, "skeletal_site": "spine"}),
    (DXA, {"z_score": None, "height_adjusted_z_score": -1.0}),
    (BORN, {"birth_date": date(2024, 2, 2), "died_at": at("2024-02-01T10:00")}),
]

FOUND: list[tuple[str, dict[str, Any], set[str]]] = [
    *((name, {"record_key": None}, {"key_present"}) for name in CLINICAL_TYPES),
    *((name, {"record_key": " "}, {"key_present"}) for name in (LAB, BORN)),
    *((name, {"version": None}, {"version_present"}) for name in CLINICAL_TYPES),
    *((name, {"operation": "delete"}, {"operation_known"}) for name in CLINICAL_TYPES),
    *((name, {"operation": None}, {"operation_known"}) for name in CLINICAL_TYPES),
    *((name, {"event_type": "Lab"}, {"event_type_known"}) for name in CLINICAL_TYPES),
    (LAB, {"event_type": DRIP}, {"event_type_known"}),
    (LAB, {"event_type": None}, {"event_type_known"}),
    *((name, {"patient_key": None}, {"patient_present"}) for name in CLINICAL_TYPES),
    *((name, {"code_system": "http://loinc.org"}, {"code_system_shaped"}) for name in CODED[1:2]),
    *((name, {"time_precision": "hour"}, {"precision_known"}) for name in HAPPENING),
    *((name, {"time_precision": None}, {"precision_known"}) for name in HAPPENING),
    (HARM, {"occurred_at": None}, {"start_told"}),
    (ILL, {"occurred_at": None, "flags": ["bad_time"]}, {"start_told", "time_readable"}),
    *(
        (name, {"occurred_at": None, "ended_at": None}, {"time_present"})
        for name in (DRIP, PILL, LAB, VITAL, DXA, STAY)
    ),
    (LAB, {"occurred_at": None, "flags": ["x", "bad_time"]}, {"time_present", "time_readable"}),
    (DRIP, {"evidence": "ordered", "occurred_at": None, "ended_at": None}, {"time_present"}),
    (
        DRIP,
        {"evidence": "dispensed", "occurred_at": None, "ended_at": None, "flags": ["bad_time"]},
        {"time_readable"},
    ),
    *(
        (name, {"occurred_at": LATEST + INSTANT, "ended_at": None}, {"time_in_extract"})
        for name in HAPPENING
    ),
    *(
        (name, {"occurred_at": at("1899-12-31T23:59:59")}, {"time_not_ancient"})
        for name in HAPPENING
    ),
    (DRIP, {"ended_at": AT - INSTANT}, {"times_in_order"}),
    (DRIP, {"ended_at": AT - 25 * HOUR - INSTANT, "end_precision": "day"}, {"times_in_order"}),
    (PILL, {"ended_at": AT - HOUR}, {"times_in_order"}),
    (HARM, {"ended_at": AT - HOUR}, {"times_in_order"}),
    (ILL, {"ended_at": AT - 40 * DAY}, {"times_in_order"}),
    (STAY, {"ended_at": at("2024-02-01T03:31")}, {"times_in_order"}),
    (STAY, {"ended_at": at("2024-02-01T00:00")}, {"times_in_order"}),
    (STAY, {"ended_at": at("2024-01-31T03:30")}, {"times_in_order"}),
    (DRIP, {"ended_at": None, "flags": ["bad_end_time"]}, {"end_readable"}),
    (BORN, {"birth_date": date(2024, 3, 3), "died_at": None}, {"birth_in_extract"}),
    (BORN, {"died_at": LATEST + INSTANT}, {"death_in_extract"}),
    (BORN, {"birth_date": date(2024, 2, 3)}, {"death_after_birth"}),
    *((name, {"flags": ["bad_value"]}, {"value_readable"}) for name in CLINICAL_TYPES),
    (BORN, {"birth_date": None, "flags": ["bad_value", "x"]}, {"value_readable"}),
    (LAB, {"version": None, "flags": ["bad_value"]}, {"value_readable", "version_present"}),
    (LAB, {"value": None, "unit": "furlong"}, {"no_number"}),
    (VITAL, {"value": None}, {"no_number"}),
    (DXA, {"z_score": None}, {"no_number"}),
    (LAB, {"unit": "furlong"}, {"unknown_unit"}),
    (LAB, {"unit": None}, {"unknown_unit"}),
    (LAB, {"unit": "g/dL"}, {"unknown_unit"}),
    (LAB, {"unit": "UNK", "value": 1e9}, {"unknown_unit"}),
    (LAB, {"code": "2744-1", "unit": "UNK"}, {"unknown_unit"}),
    (LAB, {"value": 0.9}, {"value_possible"}),
    (LAB, {"value": 32.1}, {"value_possible"}),
    (LAB, {"value": 9.1, "unit": "mmol/L"}, {"value_possible"}),
    (LAB, {"value": -9.1}, {"value_possible"}),
    (LAB, {"value": NAN}, {"value_possible"}),
    (LAB, {"value": INFINITE}, {"value_possible"}),
    (VITAL, {"value": 98.6}, {"value_possible"}),
    (VITAL, {"value": 37.0, "unit": "[degF]"}, {"value_possible"}),
    (LAB, {"low_limit": 10.8, "high_limit": 8.8}, {"limits_in_order"}),
    (DXA, {"z_score": -30.1}, {"z_score_possible"}),
    (DXA, {"z_score": NAN}, {"z_score_possible"}),
    (HARM, {"grade": 0}, {"grade_known"}),
    (HARM, {"grade": 6}, {"grade_known"}),
    (DRIP, {"dose_value": -1.0}, {"dose_possible"}),
    (DRIP, {"dose_value": 500.1}, {"dose_possible"}),
    (DRIP, {"dose_value": 0.6, "dose_unit": "g"}, {"dose_possible"}),
    (DRIP, {"code": "ZOL 5 mg", "code_system": "local", "dose_value": 501.0}, {"dose_possible"}),
    (DRIP, {"dose_unit": "mg/kg"}, {"dose_not_judged"}),
    (DRIP, {"dose_unit": None}, {"dose_not_judged"}),
    (DRIP, {"dose_value": None}, {"dose_not_judged"}),
    (DRIP, {"status": "done"}, {"status_known"}),
    (PILL, {"status": "done"}, {"status_known"}),
    (LAB, {"status": "completed"}, {"result_status_known"}),
    (DRIP, {"evidence": "heard of"}, {"evidence_known"}),
    (DRIP, {"evidence": None}, {"evidence_known"}),
    (DRIP, {"route": "IV"}, {"route_known"}),
    (PILL, {"route": "po"}, {"route_known"}),
    (STAY, {"setting": "ICU"}, {"setting_known"}),
    (BORN, {"sex": "F"}, {"sex_known"}),
]


@pytest.mark.parametrize("event_type", CLINICAL_TYPES)
def test_a_good_row_fails_nothing(event_type: str) -> None:
    assert failed_by_sql(event_type, [good(event_type)]) == [set()]


@pytest.mark.parametrize("event_type", CLINICAL_TYPES)
def test_rows_at_the_edge_of_the_possible_are_spared(event_type: str) -> None:
    rows = [good(event_type, **changes) for name, changes in SPARED if name == event_type]
    assert failed_by_sql(event_type, rows) == [set() for _ in rows]


@pytest.mark.parametrize("event_type", CLINICAL_TYPES)
def test_a_bad_row_fails_its_check_and_no_other(event_type: str) -> None:
    cases = [(changes, expected) for name, changes, expected in FOUND if name == event_type]
    rows = [good(event_type, **changes) for changes, _ in cases]
    found = failed_by_sql(event_type, rows)
    assert list(zip(cases, found, strict=True)) == [(case, case[1]) for case in cases]


@pytest.mark.parametrize("event_type", CODED)
def test_a_missing_code_and_a_strange_code_system_are_told_apart(event_type: str) -> None:
    rows = [
        good(event_type, code=None),
        good(event_type, code=" "),
        good(event_type, code_system="A B"),
    ]
    missing, blank, strange = failed_by_sql(event_type, rows)
    assert missing == blank
    assert "code_present" in missing
    assert "code_system_shaped" in strange
    assert "code_present" not in strange


def test_every_check_of_the_table_has_a_row_that_it_must_find_here() -> None:
    tested = {check_id for _, _, expected in FOUND for check_id in expected}
    elsewhere = {"code_present", "record_readable", "record_type_known", "record_resolved"}
    # tests/unit/test_drift.py has those of batches.
    of_batches = {check.id for check in checks() if DRIFT in check.types}
    assert tested | elsewhere == {check.id for check in checks()} - of_batches


@pytest.mark.parametrize("event_type", CLINICAL_TYPES)
def test_a_retraction_needs_its_key_and_its_version_alone(event_type: str) -> None:
    bare = {
        name: None
        for name in good(event_type)
        if name not in ("event_type", "record_key", "version", "operation", "source_file_sha")
    }
    taken_back = good(event_type, **bare, operation="retract")
    keyless = {**taken_back, "record_key": None}
    versionless = {**taken_back, "version": None}
    assert failed_by_sql(event_type, [taken_back, keyless, versionless]) == [
        set(),
        {"key_present"},
        {"version_present"},
    ]


def test_a_code_of_two_studies_is_judged_once_and_by_the_measurable_concept() -> None:
    concepts = [
        Concept(LAB, "loinc", "17861-6", "exact", "calcium_total"),
        Concept(LAB, "loinc", "17861-6", "exact", "any_electrolyte"),
        Concept(LAB, "loinc", "178", "prefix", "potassium"),
        Concept(VITAL, "loinc", "17861-6", "exact", "heart_rate"),
    ]
    rows = [good(LAB), good(LAB, value=400.0), good(LAB, code="178-0", unit="mmol/L", value=4.0)]
    assert failed_by_sql(LAB, rows, concepts) == [set(), {"value_possible"}, set()]


def test_a_code_means_nothing_in_another_code_system() -> None:
    rows = [good(LAB, code_system="local", value=400.0)]
    assert failed_by_sql(LAB, rows) == [set()]


def test_a_part_of_a_mixture_without_a_dose_of_its_own_is_not_marked() -> None:
    whole = good("InfusionRecorded", dose_value=None, dose_unit=None)
    found = failed_by_sql("InfusionRecorded", [whole, {**whole, "source_part": 1}])
    assert found == [{"dose_not_judged"}, set()]
