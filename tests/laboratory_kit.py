"""Cases of laboratory outcomes: a patient and the row that the rule gives."""

from __future__ import annotations

from typing import Any

import pytest

from tests.linkage_cases import Linked, Patient, child

BEFORE, START, END = "2024-02-28 09:00", "2024-03-01 09:00", "2024-03-01 09:30"
AT, NEXT_HOUR = "2024-03-03 09:00", "2024-03-03 10:00"
IONISED, ALBUMIN, CREATININE, MAGNESIUM = "1995-0", "1751-7", "2160-0", "19123-9"
Case = tuple[Patient, str, dict[str, Any]]


def infused(key: str, born: str = "2016-05-10", **fields: Any) -> Patient:
    return child(key, born, **fields).infusion(START, END)


def ids(cases: list[Case]) -> list[str]:
    return [patient.key for patient, _, _ in cases]


def assert_row(linked: Linked, case: Case) -> dict[str, Any]:
    patient, outcome, expected = case
    row = linked.of(patient.key, outcome)
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    return row
