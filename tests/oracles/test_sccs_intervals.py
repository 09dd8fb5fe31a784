"""OHDSI SelfControlledCaseSeries and its risk-interval design: days and outcomes of intervals.

Settings that state its rules: day resolution; `overlap = merge`; `same_episode_gap_hours = none`;
the window `risk` is the exposed interval and `control` the unexposed one, which loses what a risk
window holds; "all other" is a control window that reaches over the whole observation. Only the
first outcome: a clean window that never ends, with the days before cleaning, as SCCS keeps them.
Eras of one person alternate between two drugs of one class, so that merging is done by the windows
and not by what makes several records one administration.
"""

from __future__ import annotations

import csv
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.linkage_cases import Linked, Patient, utc
from tests.oracles.kit import DRUGS, REPORT, bare_study, linked, rows_of, symptom, total, window

ZERO = date(2000, 1, 1)
FOREVER = 3000
RISKS = {"era start..era end": window(0, 0), "start+1..era end": window(1, 0)}
CONTROLS = {
    "all other": window(-FOREVER, FOREVER, name="control"),
    "start-14..start-7": window(-14, -7, name="control", until="start"),
}
FIRST_ONLY = " (firstOutcomeOnly)"
N_CASES = 15

Row = dict[str, str]


def day(number: str) -> str:
    return (ZERO + timedelta(days=int(number))).isoformat()


def design(row: Row) -> tuple[str, str, bool]:
    return row["risk_rule"], row["control_rule"], row["outcome_days"].endswith(FIRST_ONLY)


def outcome_of(number: int, rules: tuple[str, str, bool]) -> dict[str, Any]:
    risk, control, is_first_only = rules
    return symptom(
        f"design_{number}",
        overlap="merge",
        same_episode_gap_hours="none",
        clean_window_days=FOREVER if is_first_only else None,
        window=[RISKS[risk], CONTROLS[control]],
    )


def patient_of(row: Row) -> Patient:
    patient = Patient(row["case"]).born("1970-01-01", observation_end_at=utc(day(row["obs_end"])))
    patient.encounter(day(row["obs_start"]), day(row["obs_start"]))
    for nth, era in enumerate(row["exposures(start-end;..)"].split(";")):
        start, end = era.split("-")
        patient.infusion(day(start), day(end), code=DRUGS[nth % 2])
    for told in row["outcome_days"].removesuffix(FIRST_ONLY).split(";"):
        patient.report(day(told), REPORT, ended_at=utc(day(told)))
    return patient


@pytest.fixture(scope="module")
def rows(shared_dir: Path) -> dict[str, Row]:
    path = shared_dir / "oracles" / "ohdsi_sccs_interval_cases.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    assert len({row["case"] for row in found}) == len(found) == N_CASES
    return {row["case"]: row for row in found}


@pytest.fixture(scope="module")
def designs(rows: dict[str, Row]) -> dict[tuple[str, str, bool], dict[str, Any]]:
    wanted = sorted({design(row) for row in rows.values()})
    return {rules: outcome_of(number, rules) for number, rules in enumerate(wanted)}


@pytest.fixture(scope="module")
def answer(rows: dict[str, Row], designs: dict[tuple[str, str, bool], dict[str, Any]]) -> Linked:
    study = bare_study("day", list(designs.values()))
    return linked(study, [patient_of(row) for row in rows.values()])


@pytest.mark.parametrize("place", range(N_CASES))
def test_days_and_outcomes_of_both_intervals_equal_those_of_sccs(
    rows: dict[str, Row],
    designs: dict[tuple[str, str, bool], dict[str, Any]],
    answer: Linked,
    place: int,
) -> None:
    name, told = list(rows.items())[place]
    outcome = designs[design(told)]["name"]
    risk, control = (rows_of(answer, outcome, {name}, one) for one in ("risk", "control"))
    found = (
        total(control, "at_risk_days_uncleaned"),
        total(risk, "at_risk_days_uncleaned"),
        total(control, "n_events"),
        total(risk, "n_events"),
    )
    expected = tuple(
        int(told[column])
        for column in (
            "expected_unexposed_or_control_days",
            "expected_exposed_days",
            "expected_y_unexp",
            "expected_y_exp",
        )
    )
    assert (name, found) == (name, expected)
