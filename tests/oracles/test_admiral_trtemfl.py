"""Pharmaverse admiral: its treatment-emergent flag, each row and each of three settings.

A row is an adverse event of a subject; subject 1 is treated from 2022-01-01 01:01 to 2022-04-30
11:30, subject 2 is not. A row becomes a patient, the treatment an infusion of four months, the
event a report with its end; flagged is what has status `event`. Settings that state each column:

- `TRTEMFL`: instants; the window has no end; grades are not told, so that nothing can get worse.
- `TRTEM2FL`: days, as its `ignore_time_for_trt_end`; the window ends 10 days after the end.
- `TRTEM3FL`: instants; the window ends 10 days after the end.

All: `missing_start = emergent`. An event that begins before the treatment and reaches into it is
told twice, once with its initial grade at its start and once with its grade at the treatment's
start: admiral takes what got worse to have got worse under treatment, and these rules want to know
when. One that ended before had both grades before.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.linkage_cases import Linked, Patient, utc
from tests.oracles.kit import REPORT, bare_study, linked, symptom, window

TREATED_FROM, TREATED_UNTIL = "2022-01-01T01:01", "2022-04-30T11:30"
FOREVER = 3000
N_ROWS = 17
COLUMNS = ("TRTEMFL_default", "TRTEM2FL_endwindow10_worsening", "TRTEM3FL_see_test")

Row = dict[str, str]


def outcome_of(column: str) -> dict[str, Any]:
    end = FOREVER if column == COLUMNS[0] else 10
    return symptom("flagged", missing_start="emergent", window=[window(0, end)])


def patient_of(place: int, row: Row, *, is_graded: bool) -> Patient:
    """The row's subject; the treatment is no infusion of subject 2."""
    patient = Patient(f"row-{place:02d}").born("1970-01-01")
    if row["usubjid"] == "1":
        patient.infusion(TREATED_FROM, TREATED_UNTIL)
    grades = (int(row["init_grade"]), int(row["grade"])) if is_graded else (None, None)
    ended = {"ended_at": utc(row["aendtm"])} if row["aendtm"] else {}
    if not row["astdtm"]:
        nothing = {"time_precision": None}
        return patient.report(None, REPORT, grade=grades[1], **nothing, **ended)
    if row["astdtm"] >= TREATED_FROM:
        return patient.report(row["astdtm"], REPORT, grade=grades[1], **ended)
    patient.report(row["astdtm"], REPORT, grade=grades[0], **ended)
    is_over = row["aendtm"] != "" and row["aendtm"] < TREATED_FROM
    told_at = row["aendtm"] if is_over else TREATED_FROM
    return patient.report(told_at, REPORT, grade=grades[1], **ended)


@pytest.fixture(scope="module")
def rows(shared_dir: Path) -> list[Row]:
    path = shared_dir / "oracles" / "admiral_trtemfl.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    assert len(found) == N_ROWS
    return found


@pytest.fixture(scope="module", params=COLUMNS)
def answer(request: pytest.FixtureRequest, rows: list[Row]) -> tuple[str, Linked]:
    column: str = request.param
    study = bare_study("day" if column == COLUMNS[1] else "instant", [outcome_of(column)])
    is_graded = column != COLUMNS[0]
    people = [patient_of(place, row, is_graded=is_graded) for place, row in enumerate(rows)]
    return column, linked(study, people)


def test_every_row_is_flagged_as_admiral_flags_it(
    answer: tuple[str, Linked], rows: list[Row]
) -> None:
    column, result = answer
    status = {row["patient_key"]: row["status"] for row in result.outcomes}
    found = {
        place: "Y" if status.get(f"row-{place:02d}") == "event" else "NA" for place in range(N_ROWS)
    }
    assert found == {place: row[column] for place, row in enumerate(rows)}
    # Whoever was not treated has no unit, and so no outcome.
    assert len(status) == sum(row["usubjid"] == "1" for row in rows)
