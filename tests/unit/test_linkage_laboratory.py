"""Laboratory results: every kind of cut, calcium by its measures, baselines of their like.

Every expectation was written from section 7 of docs/windows.md, not from what the code gave.
"""

from __future__ import annotations

from typing import Any

import pytest

from studies.load import Study, load_study
from studies.model import StudyModel
from tests.linkage_cases import Linked, Patient, child, link

BEFORE, START, END = "2024-02-28 09:00", "2024-03-01 09:00", "2024-03-01 09:30"
AT, NEXT_HOUR = "2024-03-03 09:00", "2024-03-03 10:00"

IONISED, ALBUMIN, CREATININE, MAGNESIUM = "1995-0", "1751-7", "2160-0", "19123-9"

Case = tuple[Patient, str, dict[str, Any]]


def infused(key: str, born: str = "2016-05-10", **fields: Any) -> Patient:
    return child(key, born, **fields).infusion(START, END)


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


def ids(cases: list[Case]) -> list[str]:
    return [patient.key for patient, _, _ in cases]


@pytest.fixture(scope="module")
def calcium() -> Linked:
    return link(patient for patient, _, _ in CALCIUM)


def assert_row(linked: Linked, case: Case) -> dict[str, Any]:
    patient, outcome, expected = case
    row = linked.of(patient.key, outcome)
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    return row


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


def scale(name: str, concept: str, cuts: str, **more: Any) -> dict[str, Any]:
    given = {"kind": "grade", "concept": concept, "cuts": cuts, "min_grade": 1, "label": name}
    return {"name": name, **given, **more}


def other_scales() -> Study:
    """The shipped study with outcomes on every table of cuts that it does not use itself."""
    shipped = load_study("iv_bisphosphonate")
    outcomes = [
        scale("ctcae", "creatinine", "ctcae5_creatinine", reporting_resolution=0.1),
        scale("ctcae_plain", "creatinine", "ctcae5_creatinine"),
        scale("ctcae_table", "creatinine", "ctcae5_creatinine", normal_limits="normal_creatinine"),
        scale("daids", "creatinine", "daids_creatinine"),
        scale("kdigo", "creatinine", "kdigo_creatinine", reporting_resolution=0.1),
        scale("daids_po4", "phosphate", "daids_phosphate"),
        scale("daids_ca", "calcium_total", "daids_calcium"),
        scale("daids_ion", "calcium_ionised", "daids_calcium_ionised"),
        scale("ctcae_mg", "magnesium", "ctcae5_magnesium"),
        scale("daids_mg", "magnesium", "daids_magnesium"),
        scale("both_sides", "calcium_total", "both_sides"),
    ]
    model = shipped.model.model_dump() | {
        "outcome": outcomes,
        "eligibility": {"max_age_years": None, "requires_indication": False},
    }
    band = {"from_months": "", "until_months": "", "source": "made up"}
    sides = [("1", "below", "7"), ("2", "at_or_below", "6"), ("1", "above", "11"),
             ("2", "at_or_above", "13")]  # fmt: skip
    made_up = tuple(
        {"grade": grade, "side": side, "of": "value", "cut": cut, "unit": "mg/dL", **band}
        for grade, side, cut in sides
    )
    normal = tuple(
        {"sex": sex, "from_months": "0", "until_months": "264", "unit": "mg/dL", "low": "",
         "high": "0.5", "source": "made up"}
        for sex in ("male", "female")
    )  # fmt: skip
    more = {"both_sides": made_up, "normal_creatinine": normal}
    return Study(
        StudyModel.model_validate(model), shipped.codelist, shipped.limits | more, shipped.folder
    )


def kidney(
    key: str,
    value: float,
    before: float | None = None,
    *,
    unit: str = "mg/dL",
    unit_before: str = "mg/dL",
    **limit: Any,
) -> Patient:
    patient = infused(key)
    if before is not None:
        patient.lab(BEFORE, CREATININE, before, unit_before)
    return patient.lab(AT, CREATININE, value, unit, **limit)


def salt(key: str, value: float, unit: str, born: str = "2016-05-10") -> Patient:
    return infused(key, born).phosphate(AT, value, unit)


def of_magnesium(key: str, value: float, unit: str) -> Patient:
    return infused(key).lab(AT, MAGNESIUM, value, unit)


def of_calcium(key: str, value: float, born: str = "2016-05-10", **limits: Any) -> Patient:
    return infused(key, born).calcium(AT, value, **limits)


ABOVE: dict[str, Any] = {"high_limit": 0.6}
ULN: dict[str, Any] = {"high_limit": 1.0}

OTHERS: list[Case] = [
    # --- CTCAE creatinine: multiples of the own upper limit and of the baseline
    (kidney("at-uln", 0.6, **ABOVE), "ctcae_plain", {"grade": 0}),
    (kidney("over-uln", 0.61, **ABOVE), "ctcae_plain", {"grade": 1, "status": "event"}),
    (kidney("uln-1.5", 0.9, **ABOVE), "ctcae_plain", {"grade": 1}),
    (kidney("uln-1.6", 0.91, **ABOVE), "ctcae_plain", {"grade": 2}),
    (kidney("uln-3", 1.81, **ABOVE), "ctcae_plain", {"grade": 3}),
    (kidney("uln-6", 3.61, **ABOVE), "ctcae_plain", {"grade": 4}),
    (kidney("no-limit", 5.0), "ctcae_plain",
     {"grade": 0, "status": "no_event", "has_baseline": False}),
    (kidney("base-1.5", 0.6, 0.4), "ctcae_plain", {"grade": 0}),
    (kidney("base-over", 0.61, 0.4), "ctcae_plain", {"grade": 2, "baseline_grade": 0}),
    (kidney("base-normal", 0.9, 0.4, **ULN), "ctcae_plain", {"grade": 2, "status": "event"}),
    (kidney("base-3", 1.3, 0.4), "ctcae_plain", {"grade": 3}),
    (kidney("less-than", 0.6, 0.4, comparator=">"), "ctcae_plain", {"grade": 2}),
    (kidney("across-units", 54.0, 0.4, unit="umol/L"), "ctcae_plain", {"grade": 2}),
    # A rise of less than two steps of 0.1 is no multiple of anything.
    (kidney("a-step", 0.38, 0.2), "ctcae_plain", {"grade": 2}),
    (kidney("a-step-told", 0.38, 0.2), "ctcae", {"grade": 0, "status": "no_event"}),
    (kidney("two-steps", 0.4, 0.2), "ctcae", {"grade": 2, "status": "event"}),
    # The study's table stands in for grade 1 and gives no more.
    (kidney("table-1", 5.0), "ctcae_table", {"grade": 1}),
    (kidney("table-own", 0.55, **ABOVE), "ctcae_table", {"grade": 0}),
    (kidney("table-si", 300, unit="umol/L"), "ctcae_table", {"grade": 0}),
    # --- DAIDS creatinine
    (kidney("daids-1", 1.1, **ULN), "daids", {"grade": 1}),
    (kidney("daids-0", 1.09, **ULN), "daids", {"grade": 0}),
    (kidney("daids-13", 1.3, **ULN), "daids", {"grade": 1}),
    (kidney("daids-18", 1.81, **ULN), "daids", {"grade": 3}),
    (kidney("daids-35", 3.5, **ULN), "daids", {"grade": 4}),
    (kidney("daids-base", 0.65, 0.5), "daids", {"grade": 2}),
    (kidney("daids-base-3", 0.75, 0.5), "daids", {"grade": 3}),
    (kidney("daids-base-4", 1.0, 0.5), "daids", {"grade": 4}),
    # --- KDIGO: a multiple, a rise in either unit, a number
    (kidney("kdigo-rise", 1.1, 0.8), "kdigo", {"grade": 1, "status": "event"}),
    (kidney("kdigo-less", 1.09, 0.8), "kdigo", {"grade": 0}),
    (kidney("kdigo-si", 96.5, 70.0, unit="umol/L", unit_before="umol/L"), "kdigo", {"grade": 1}),
    (kidney("kdigo-si-less", 96.4, 70.0, unit="umol/L", unit_before="umol/L"), "kdigo",
     {"grade": 0}),
    # 0.8 mg/dL are 70.72 umol/L: 97.22 is the first that rose by 26.5.
    (kidney("kdigo-mixed", 97.22, 0.8, unit="umol/L"), "kdigo", {"grade": 1}),
    (kidney("kdigo-mixed-less", 97.2, 0.8, unit="umol/L"), "kdigo", {"grade": 0}),
    (kidney("kdigo-2", 0.8, 0.4), "kdigo", {"grade": 2}),
    (kidney("kdigo-3", 1.2, 0.4), "kdigo", {"grade": 3}),
    (kidney("kdigo-4.0", 4.0), "kdigo", {"grade": 3, "status": "event"}),
    (kidney("kdigo-353.6", 353.6, unit="umol/L"), "kdigo", {"grade": 3}),
    (kidney("kdigo-353.5", 353.5, unit="umol/L"), "kdigo", {"grade": 0}),
    (kidney("kdigo-chronic", 4.2, 4.0), "kdigo", {"status": "no_event", "baseline_grade": 3}),
    (kidney("kdigo-step", 0.3, 0.2), "kdigo", {"grade": 0}),
    (kidney("kdigo-alone", 3.9), "kdigo", {"grade": 0, "status": "no_event"}),
    # --- DAIDS phosphate by age, completed months at the draw: the 15th birthday
    (salt("infant", 4.4, "mg/dL", "2023-03-04"), "daids_po4", {"grade": 1}),
    (salt("one-year", 4.4, "mg/dL", "2023-03-03"), "daids_po4", {"grade": 0}),
    (salt("child", 3.4, "mg/dL"), "daids_po4", {"grade": 1}),
    (salt("child-si", 0.96, "mmol/L"), "daids_po4", {"grade": 2}),
    (salt("is-14", 2.9, "mg/dL", "2009-03-04"), "daids_po4", {"grade": 2}),
    (salt("is-15", 2.9, "mg/dL", "2009-03-03"), "daids_po4", {"grade": 0}),
    (salt("is-15-low", 1.9, "mg/dL", "2009-03-03"), "daids_po4", {"grade": 2}),
    (salt("is-15-si", 0.64, "mmol/L", "2009-03-03"), "daids_po4", {"grade": 2}),
    (Patient("ageless").add("PatientRegistered", sex="male").infusion(START, END)
     .phosphate(AT, 0.9), "daids_po4", {"status": "untested", "is_tested": False}),
    # --- DAIDS calcium begins with one month
    (of_calcium("ca-1", 8.39), "daids_ca", {"grade": 1}),
    (of_calcium("ca-0", 8.4), "daids_ca", {"grade": 0}),
    (of_calcium("ca-4", 6.0), "daids_ca", {"grade": 4}),
    (of_calcium("newborn", 6.0, "2024-02-20"), "daids_ca", {"status": "untested"}),
    (infused("ion-mg").lab(AT, IONISED, 3.3, "mg/dL"), "daids_ion", {"grade": 3}),
    # --- magnesium: two unit systems; DAIDS has one, and 1.5 mg/dL are 0.617 mmol/L
    (of_magnesium("mg", 1.19, "mg/dL"), "ctcae_mg", {"grade": 2}),
    (of_magnesium("mg-si", 0.49, "mmol/L"), "ctcae_mg", {"grade": 2}),
    (of_magnesium("mg-daids", 1.5, "mg/dL"), "daids_mg", {"grade": 1}),
    (of_magnesium("mg-meq", 1.1, "mEq/L"), "daids_mg", {"grade": 2}),
    # --- sides, and the own limits of both
    (of_calcium("below", 6.9), "both_sides", {"grade": 1}),
    (of_calcium("at-7", 7.0), "both_sides", {"grade": 0}),
    (of_calcium("at-6", 6.0), "both_sides", {"grade": 2}),
    (of_calcium("at-11", 11.0), "both_sides", {"grade": 0}),
    (of_calcium("above", 11.1), "both_sides", {"grade": 1}),
    (of_calcium("at-13", 13.0), "both_sides", {"grade": 2}),
    (of_calcium("own-low", 5.5, low_limit=5.5), "both_sides", {"grade": 0}),
    (of_calcium("own-high", 13.5, high_limit=13.5), "both_sides", {"grade": 0}),
    (of_calcium("own-other", 13.5, low_limit=5.5, high_limit=13.4), "both_sides", {"grade": 2}),
]  # fmt: skip

OTHER_FLAGS = {
    "table-1": {"limit_from_table", "no_baseline"},
    "table-own": {"no_baseline"},
    "table-si": {"no_baseline"},
    "mg-daids": {"unit_converted", "no_baseline"},
    "mg-meq": {"unit_converted", "no_baseline"},
    "ion-mg": {"unit_converted", "no_baseline"},
    "own-low": {"normal_by_own_limit", "no_baseline"},
    "own-high": {"normal_by_own_limit", "no_baseline"},
    "own-other": {"no_baseline"},
    "across-units": set(),
}


@pytest.fixture(scope="module")
def others() -> Linked:
    return link((patient for patient, _, _ in OTHERS), other_scales())


@pytest.mark.parametrize("case", OTHERS, ids=ids(OTHERS))
def test_a_result_is_graded_by_the_scale(others: Linked, case: Case) -> None:
    row = assert_row(others, case)
    if case[0].key in OTHER_FLAGS:
        assert set(row["flags"]) == OTHER_FLAGS[case[0].key]


def test_the_worst_of_a_scale_that_looks_above_is_the_highest() -> None:
    patient = infused("highest").lab(AT, CREATININE, 0.7, "mg/dL", **ABOVE)
    patient.lab("2024-03-02 09:00", CREATININE, 0.8, "mg/dL", **ABOVE)
    row = link([patient], other_scales()).of("highest", "ctcae_plain")
    assert (row["grade"], row["worst_value"]) == (1, 0.8)
