"""Pharmaverse admiral: its grades of low calcium and phosphate by CTCAE, every row.

A row is a result; it becomes a patient who was bled a day after an infusion, and the grade is that
of the linked outcome. Settings: the shared tables of cuts, `min_grade = 1`, no table of normal
limits, as admiral has none. What admiral leaves ungraded (NA) is of two kinds here. Without a
number or a unit a result is no test. A number without a limit of normal is one: it can have the
grades that a number gives, and none of those is reached, so grade 0 stands, as the rules say that a
missing limit never drops a row.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from studies.load import Study
from tests.linkage_cases import Linked, Patient
from tests.oracles.kit import bare_study, linked

N_ROWS = 90
#: Term of admiral: the analyte's code, its concept, the table of cuts.
TERMS = {
    "Hypocalcemia": ("17861-6", "calcium_total", "ctcae5_calcium"),
    "Hypocalcemia (Ionized)": ("1995-0", "calcium_ionised", "ctcae5_calcium_ionised"),
    "Hypophosphatemia": ("2777-1", "phosphate", "ctcae4_phosphate"),
}

Row = dict[str, str]


def graded_study() -> Study:
    outcomes: list[dict[str, Any]] = [
        {
            "name": concept,
            "label": term,
            "kind": "grade",
            "concept": concept,
            "cuts": cuts,
            "min_grade": 1,
        }
        for term, (_, concept, cuts) in TERMS.items()
    ]
    return bare_study("instant", outcomes)


def number(text: str) -> float | None:
    return None if text == "NA" else float(text)


def patient_of(place: int, row: Row) -> Patient:
    return (
        Patient(f"row-{place:02d}")
        .born("1970-01-01")
        .infusion("2022-01-01 09:00", "2022-01-01 10:00")
        .add(
            "LabResulted",
            "2022-01-02 09:00",
            code=TERMS[row["term"]][0],
            code_system="loinc",
            value=number(row["aval"]),
            unit=None if row["unit"] == "NA" else row["unit"],
            low_limit=number(row["anrlo_lln"]),
            high_limit=number(row["anrhi_uln"]),
        )
    )


@pytest.fixture(scope="module")
def rows(shared_dir: Path) -> list[Row]:
    path = shared_dir / "oracles" / "admiral_ctcae_lab_grading.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def graded(rows: list[Row]) -> Linked:
    return linked(graded_study(), [patient_of(place, row) for place, row in enumerate(rows)])


def test_every_row_has_the_grade_that_admiral_gives(rows: list[Row], graded: Linked) -> None:
    differing = []
    for place, row in enumerate(rows):
        found = graded.of(f"row-{place:02d}", TERMS[row["term"]][1])
        expected = number(row["expected_low_grade"])
        is_told = row["aval"] != "NA" and row["unit"] != "NA"
        wanted = (is_told, (expected or 0) if is_told else None)
        if (found["is_tested"], found["grade"]) != wanted:
            differing.append((row["term"], row["testnum"], row["unit"], wanted, found["grade"]))
    assert differing == []


def test_an_event_is_what_admiral_grades_above_zero(rows: list[Row], graded: Linked) -> None:
    events = {o["patient_key"] for o in graded.outcomes if o["status"] == "event"}
    expected = {
        f"row-{place:02d}"
        for place, row in enumerate(rows)
        if (number(row["expected_low_grade"]) or 0) > 0
    }
    assert events == expected


def test_the_file_has_every_row(rows: list[Row]) -> None:
    assert len(rows) == N_ROWS
