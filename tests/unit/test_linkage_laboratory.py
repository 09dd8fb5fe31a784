"""Calcium is graded and compared by its measure, as the shipped study asks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.laboratory_kit import (
    ALBUMIN,
    AT,
    BEFORE,
    IONISED,
    NEXT_HOUR,
    Case,
    assert_row,
    ids,
    infused,
)
from tests.linkage_cases import Linked, Patient, link


def total(patient: Patient, at: str, value: float, unit: str = "mg/dL") -> Patient:
    return patient.calcium(at, value, unit, low_limit=2.12 if unit == "mmol/L" else 8.5)


def ionised(patient: Patient, at: str, value: float, unit: str = "mmol/L") -> Patient:
    return patient.lab(at, IONISED, value, unit, low_limit=1.12 if unit == "mmol/L" else 4.5)


def albumin(patient: Patient, at: str, value: float | None, unit: str = "g/dL") -> Patient:
    return patient.lab(at, ALBUMIN, value, unit)


def events(patient: Patient, *steps: tuple[Any, ...]) -> Patient:
    """Add results one after another: (which kind, time, number, unit...)."""
    for kind, *given in steps:
        kind(patient, *given)
    return patient


#: Calcium, by the shipped study: grade 2 or more.
CALCIUM: list[Case] = [
    # --- correction: below 4.0 g/dL only, each unit system by its own formula
    (events(infused("low"), (total, AT, 7.5), (albumin, NEXT_HOUR, 3.0)), "hypocalcaemia",
     {"grade": 1, "measure": "corrected", "worst_value": 8.3, "status": "no_event"}),
    (events(infused("at-4"), (total, AT, 7.5), (albumin, NEXT_HOUR, 4.0)), "hypocalcaemia",
     {"grade": 2, "measure": "total", "worst_value": 7.5}),
    (events(infused("high"), (total, AT, 8.1), (albumin, NEXT_HOUR, 5.0)), "hypocalcaemia",
     {"grade": 1, "measure": "total", "worst_value": 8.1}),
    (events(infused("si"), (total, AT, 1.8, "mmol/L"), (albumin, AT, 30, "g/L")), "hypocalcaemia",
     {"grade": 1, "worst_value": 2.0, "worst_unit": "mmol/L"}),
    (events(infused("units-mixed"), (total, AT, 1.8, "mmol/L"), (albumin, AT, 3.0)),
     "hypocalcaemia", {"grade": 1, "worst_value": 2.0}),
    # 2.0 mmol/L are 8.016 mg/dL, and 7.5 mg/dL with 3.4 g/dL are 7.98: no conversion between them.
    (events(infused("mg"), (total, AT, 7.5), (albumin, AT, 34, "g/L")), "hypocalcaemia",
     {"grade": 2, "worst_value": 7.98}),
    (events(infused("clears-own-limit"), (total, AT, 7.9), (albumin, AT, 3.0)), "hypocalcaemia",
     {"grade": 0, "worst_value": 8.7}),
    # --- which albumin: the nearest within 24 h; the earlier, then the lower
    (events(infused("gap-in"), (total, AT, 7.5), (albumin, "2024-03-04 09:00", 3.0)),
     "hypocalcaemia", {"measure": "corrected"}),
    (events(infused("gap-out"), (total, AT, 7.5), (albumin, "2024-03-04 09:01", 3.0)),
     "hypocalcaemia", {"measure": "total", "grade": 2}),
    (events(infused("nearest"), (total, AT, 7.5), (albumin, "2024-03-03 07:00", 2.0),
            (albumin, NEXT_HOUR, 3.5)), "hypocalcaemia", {"worst_value": 7.9}),
    (events(infused("earlier"), (total, AT, 7.5), (albumin, "2024-03-03 08:00", 3.5),
            (albumin, NEXT_HOUR, 2.0)), "hypocalcaemia", {"worst_value": 7.9}),
    (events(infused("lower"), (total, AT, 7.5), (albumin, NEXT_HOUR, 3.5),
            (albumin, NEXT_HOUR, 3.0)), "hypocalcaemia", {"worst_value": 8.3}),
    (events(infused("day-in"), (total, AT, 7.5), (albumin, "2024-03-02", 3.0)),
     "hypocalcaemia", {"worst_value": 8.3}),
    (events(infused("day-out"), (total, AT, 7.5), (albumin, "2024-03-01", 3.0)),
     "hypocalcaemia", {"measure": "total"}),
    (infused("spoilt").calcium(AT, 7.5).lab(AT, ALBUMIN, 3.0, "g/dL", status="cancelled"),
     "hypocalcaemia", {"measure": "total"}),
    (infused("haemolysed").calcium(AT, 7.5)
     .lab(AT, ALBUMIN, 3.0, "g/dL", specimen_quality="haemolysed"),
     "hypocalcaemia", {"measure": "total"}),
    (events(infused("no-number"), (total, AT, 7.5), (albumin, AT, None)), "hypocalcaemia",
     {"measure": "total"}),
    # --- ionised wins over the total of its specimen, one hour apart
    (events(infused("wins"), (total, AT, 6.5), (ionised, NEXT_HOUR, 1.2)), "hypocalcaemia",
     {"grade": 0, "measure": "ionised", "status": "no_event"}),
    (events(infused("wins-not"), (total, AT, 6.5), (ionised, "2024-03-03 10:01", 1.2)),
     "hypocalcaemia", {"grade": 3, "measure": "total", "status": "event"}),
    (events(infused("ionised-day"), (total, AT, 6.5), (ionised, "2024-03-03", 1.2)),
     "hypocalcaemia", {"measure": "ionised"}),
    (events(infused("ionised-other-day"), (total, "2024-03-03 00:10", 6.5),
            (ionised, "2024-03-02", 1.2)), "hypocalcaemia", {"measure": "total", "grade": 3}),
    (infused("ionised-cancelled").calcium(AT, 6.5, low_limit=8.5)
     .lab(AT, IONISED, 1.2, "mmol/L", status="cancelled"), "hypocalcaemia",
     {"measure": "total", "grade": 3}),
    (events(infused("ionised-first"), (ionised, "2024-03-01 11:00", 1.2, "mmol/L"),
            (total, AT, 6.8), (albumin, AT, 4.2)), "hypocalcaemia",
     {"grade": 3, "worst_value": 6.8, "onset_hours": 48.0, "status": "event"}),
    # Its table is in mmol/L: 3.9 mg/dL are 0.973.
    (events(infused("ionised-mg"), (ionised, AT, 3.9, "mg/dL")), "hypocalcaemia",
     {"grade": 2, "worst_unit": "mg/dL", "worst_value": 3.9}),
    (infused("ionised-table").lab(AT, IONISED, 5.0, "mg/dL"), "hypocalcaemia_grade1",
     {"grade": 1, "status": "event"}),
    (infused("ionised-no-table").lab(AT, IONISED, 1.2, "mmol/L"), "hypocalcaemia_grade1",
     {"grade": 0, "status": "no_event"}),
    # --- like with like
    (events(infused("switch"), (total, BEFORE, 8.3), (albumin, BEFORE, 2.9), (total, AT, 7.3)),
     "hypocalcaemia", {"status": "no_event", "has_baseline": False, "baseline_value": None}),
    (events(infused("switch-ionised"), (ionised, BEFORE, 1.2), (total, AT, 6.5)),
     "hypocalcaemia", {"status": "no_event", "has_baseline": False, "measure": "total"}),
    (events(infused("nothing-before"), (total, AT, 7.3)), "hypocalcaemia",
     {"status": "event", "has_baseline": False}),
    (events(infused("corrected-both"), (total, BEFORE, 8.0), (albumin, BEFORE, 3.0),
            (total, AT, 7.0), (albumin, AT, 3.0)), "hypocalcaemia",
     {"status": "event", "baseline_value": 8.8, "change_from_baseline": -1.0,
      "baseline_measure": "corrected"}),
    (events(infused("normal-albumin-before"), (total, BEFORE, 8.3), (albumin, BEFORE, 4.4),
            (total, AT, 7.3)), "hypocalcaemia",
     {"status": "event", "baseline_value": 8.3, "baseline_measure": "total"}),
    (events(infused("normal-then-corrected"), (total, BEFORE, 8.3), (albumin, BEFORE, 4.4),
            (total, AT, 7.0), (albumin, AT, 3.5)), "hypocalcaemia",
     {"status": "event", "measure": "corrected", "baseline_measure": "total"}),
    (events(infused("corrected-then-normal"), (total, BEFORE, 8.0), (albumin, BEFORE, 3.0),
            (total, AT, 7.0), (albumin, AT, 4.1)), "hypocalcaemia",
     {"status": "event", "measure": "total", "baseline_measure": "corrected"}),
    # The last like one is older than the last: a total two weeks ago, an ionised one since.
    (events(infused("older-like"), (total, "2024-02-15 09:00", 7.9), (ionised, BEFORE, 1.2),
            (total, AT, 7.3)), "hypocalcaemia",
     {"status": "no_event", "has_baseline": True, "baseline_value": 7.9, "baseline_grade": 2}),
    # Two measures in one window, each against its own: what is an event is the worst.
    (events(infused("one-of-two"), (ionised, BEFORE, 1.2), (total, AT, 6.5),
            (ionised, "2024-03-02 09:00", 0.95)), "hypocalcaemia",
     {"status": "event", "grade": 2, "measure": "ionised", "has_baseline": True,
      "baseline_value": 1.2}),
    (events(infused("untested"), (total, "2024-02-15 09:00", 8.3), (ionised, BEFORE, 1.25)),
     "hypocalcaemia", {"status": "untested", "baseline_value": 1.25, "measure": None,
                       "baseline_measure": "ionised", "has_baseline": True}),
    # --- each window shows the baseline of its own worst result
    (events(infused("two-windows"), (total, BEFORE, 8.4), (ionised, BEFORE[:11] + "20:00", 1.2),
            (ionised, AT, 0.95), (total, "2024-03-10 09:00", 6.5)), "hypocalcaemia",
     {"measure": "ionised", "baseline_value": 1.2, "grade": 2}),
    # --- grade 1 beside the headline
    (events(infused("beside"), (total, BEFORE, 9.0), (total, AT, 8.2)), "hypocalcaemia",
     {"status": "no_event", "grade": 1}),
    (events(infused("beside-1"), (total, BEFORE, 9.0), (total, AT, 8.2)), "hypocalcaemia_grade1",
     {"status": "event", "grade": 1}),
    # A phosphate has one measure only.
    (infused("phosphate").phosphate(AT, 1.92), "hypophosphataemia",
     {"grade": 3, "measure": None, "baseline_measure": None}),
]  # fmt: skip
#: What a row must have among its flags.
FLAGS = {
    "switch": {"measure_switch", "no_baseline"},
    "switch-ionised": {"measure_switch", "no_baseline"},
    "one-of-two": {"measure_switch"},
    "nothing-before": {"no_baseline"},
    "ionised-mg": {"unit_converted", "no_baseline"},
    "ionised-table": {"limit_from_table", "unit_converted", "no_baseline"},
    "clears-own-limit": {"no_baseline"},
    "corrected-both": set(),
    "older-like": set(),
}


@pytest.fixture(scope="module")
def calcium() -> Linked:
    return link(patient for patient, _, _ in CALCIUM)


@pytest.mark.parametrize("case", CALCIUM, ids=ids(CALCIUM))
def test_calcium_is_graded_and_compared_by_its_measure(calcium: Linked, case: Case) -> None:
    row = assert_row(calcium, case)
    if case[0].key in FLAGS:
        assert set(row["flags"]) == FLAGS[case[0].key]


def test_each_window_has_the_baseline_of_its_own_worst_result(calcium: Linked) -> None:
    row = calcium.of("two-windows", "hypocalcaemia", window="extended")
    assert (row["measure"], row["grade"]) == ("total", 3)
    assert (row["baseline_measure"], row["baseline_value"]) == ("total", 8.4)
    assert row["change_from_baseline"] == pytest.approx(-1.9)


def test_evidence_names_a_baseline_only_where_there_is_one(calcium: Linked) -> None:
    has = {one["unit_id"] for one in calcium.evidence if one["role"] == "baseline"}
    without = [
        one["rule"]
        for one in calcium.evidence
        if one["unit_id"] not in has and one["event_type"] == "LabResulted"
    ]
    assert {rule for rule in without if not rule.startswith("component")} == {
        "grade without baseline"
    }
    counted = {
        one["rule"] for one in calcium.evidence if one["unit_id"] in has and one["is_counted"]
    }
    assert "grade above baseline" in counted
