"""Other scales than calcium's: sides, units, ages, baselines."""

from __future__ import annotations

from typing import Any

import pytest

from studies.load import Study, load_study
from studies.model import StudyModel
from tests.laboratory_kit import (
    AT,
    BEFORE,
    CREATININE,
    END,
    IONISED,
    MAGNESIUM,
    START,
    Case,
    assert_row,
    ids,
    infused,
)
from tests.linkage_cases import Linked, Patient, link


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
