"""OHDSI CohortIncidence: its own six test cases, person-days, persons and outcomes.

Settings that state its rules: day resolution; `overlap = merge`; `same_episode_gap_hours = none`
(each row of the outcome cohort is an event); `clean_window_days` is its cleanWindow; a target
cohort entry is an infusion, an outcome cohort entry a report with an end, a time at risk a window.
Its figures "pe" (before exclusion) are the columns `_uncleaned`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.signals.rates import estimate_rate
from tests.linkage_cases import Linked, Patient, utc
from tests.oracles.kit import DAY, REPORT, bare_study, linked, n_patients, rows_of, symptom, total

CASES = (
    "singleOutcome",
    "multiOutcome",
    "noExcludeOutcome",
    "partialExclude",
    "cleanWindow",
    "invalidTar",
)
TARGET, OUTCOME = 100, 200

Case = dict[str, Any]


def read(folder: Path, name: str) -> Case:
    """One case: its analysis, its people, and what CohortIncidence verifies."""
    parts = {
        part: json.loads((folder / f"{name}{suffix}.json").read_text(encoding="utf-8"))
        for part, suffix in (("asked", "Test"), ("prep", "_PREP"), ("verify", "_VERIFY"))
    }
    [cohort] = [rows for table, rows in parts["prep"].items() if table.endswith(".cohort")]
    [verify] = parts["verify"].values()
    periods = {row["person_id"]: row for row in parts["prep"]["cdm.observation_period"]}
    return {"asked": parts["asked"], "cohort": cohort, "periods": periods, "verify": verify}


def outcome_name(case: str, outcome_id: int, tar_id: int) -> str:
    return f"{case.lower()}_{outcome_id}_{tar_id}"


def outcomes_of(name: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """One outcome for each outcome definition and time at risk of an analysis."""
    return [
        symptom(
            outcome_name(name, one["id"], tar["id"]),
            overlap="merge",
            same_episode_gap_hours="none",
            clean_window_days=one["cleanWindow"],
            window=[
                {
                    "start_anchor": tar["start"]["dateField"],
                    "start_offset_hours": tar["start"]["offset"] * DAY,
                    "end_anchor": tar["end"]["dateField"],
                    "end_offset_hours": tar["end"]["offset"] * DAY,
                }
            ],
        )
        for one in asked["outcomeDefs"]
        for tar in asked["timeAtRiskDefs"]
    ]


def person_key(case: str, person: int) -> str:
    return f"{case}-{person}"


def patients_of(name: str, case: Case) -> list[Patient]:
    """A patient per subject, whose record begins and ends with the observation period."""
    made = []
    for person, period in case["periods"].items():
        first, last = (period[f"observation_period_{edge}_date"] for edge in ("start", "end"))
        patient = Patient(person_key(name, person)).born("1970-01-01", observation_end_at=utc(last))
        patient.encounter(first, first)
        for row in case["cohort"]:
            if row["subject_id"] != person:
                continue
            start, end = row["cohort_start_date"], row["cohort_end_date"]
            if row["cohort_definition_id"] == TARGET:
                patient.infusion(start, end)
            else:
                patient.report(start, REPORT, ended_at=utc(end))
        made.append(patient)
    return made


@pytest.fixture(scope="module")
def cases(shared_dir: Path) -> dict[str, Case]:
    folder = shared_dir / "oracles" / "cohortincidence"
    return {name: read(folder, name) for name in CASES}


@pytest.fixture(scope="module")
def answer(cases: dict[str, Case]) -> Linked:
    """All cases in one study: each outcome is read for the people of its own case."""
    outcomes = [one for name, case in cases.items() for one in outcomes_of(name, case["asked"])]
    people = [one for name, case in cases.items() for one in patients_of(name, case)]
    return linked(bare_study("day", outcomes), people)


@pytest.mark.parametrize("name", CASES)
def test_persons_days_and_outcomes_equal_those_of_cohort_incidence(
    cases: dict[str, Case], answer: Linked, name: str
) -> None:
    case = cases[name]
    people = {person_key(name, person) for person in case["periods"]}
    year_of = {unit["unit_id"]: unit["index_date"].year for unit in answer.units}
    for told in case["verify"]:
        rows = rows_of(answer, outcome_name(name, told["outcome_id"], told["tar_id"]), people)
        if told.get("start_year") is not None:
            rows = [row for row in rows if year_of[row["unit_id"]] == told["start_year"]]
        found = {
            "persons_at_risk_pe": n_patients(rows, "at_risk_days_uncleaned"),
            "persons_at_risk": len({row["patient_key"] for row in rows if row["is_at_risk"]}),
            "person_days_pe": total(rows, "at_risk_days_uncleaned"),
            "person_days": total(rows, "at_risk_days"),
            "person_outcomes_pe": n_patients(rows, "n_events_uncleaned"),
            "person_outcomes": n_patients(rows, "n_events"),
            "outcomes_pe": total(rows, "n_events_uncleaned"),
            "outcomes": total(rows, "n_events"),
        }
        assert found == {column: told[column] for column in found}
        rate = estimate_rate(int(found["outcomes"]), found["person_days"]).rate
        # 1,141.40625 is printed as 1,141.4063: half a unit of the last digit, and rounding.
        per_100_years = None if rate is None else rate / 1000 * 100 * 365.25
        assert per_100_years == (
            None
            if told["incidence_rate_p100py"] is None
            else pytest.approx(told["incidence_rate_p100py"], abs=5.001e-5)
        )


#: Rates per 100 person-years that CohortIncidence prints, as its files must hold them.
PRINTED_RATES = {1_141.4063, 131.8592, 2_356.4516, 200.6868}


def test_the_rates_that_are_compared_are_those_that_are_printed(cases: dict[str, Case]) -> None:
    told = {row["incidence_rate_p100py"] for case in cases.values() for row in case["verify"]}
    assert told >= PRINTED_RATES


def test_every_file_of_the_oracle_is_read_and_nothing_in_it_is_passed_over(
    shared_dir: Path, cases: dict[str, Case]
) -> None:
    folder = shared_dir / "oracles" / "cohortincidence"
    assert {path.name for path in folder.glob("*Test.json")} == {
        f"{name}Test.json" for name in CASES
    }
    for case in cases.values():
        # An exclude cohort would need a setting of its own: no case has one.
        assert {key for one in case["asked"]["outcomeDefs"] for key in one} == {
            *("id", "name", "cohortId", "cleanWindow")
        }
        assert {row["cohort_definition_id"] for row in case["cohort"]} <= {TARGET, OUTCOME}
        assert case["verify"]
