"""What the oracle tests share: a bare study of one symptom, and counts of what linkage gives.

An oracle speaks of exposures and outcomes only. So the study knows one drug class, everybody is
eligible, and every outcome reads the same report; what differs between the oracles (windows,
overlap, clean window, episodes) is what each test states.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from studies.load import Study, load_study
from studies.model import StudyModel
from tests.linkage_cases import ALL_TYPES, Linked, Patient, link

#: The report that every outcome reads, and drugs of one class, so that two are two units.
REPORT = "R51.9"
DRUGS = ("77655", "11473")
#: Later than any window of an oracle closes.
THROUGH = dict.fromkeys(ALL_TYPES, datetime.fromisoformat("2080-01-01"))
DAY = 24


def symptom(name: str, **settings: Any) -> dict[str, Any]:
    """An outcome that the one report shows; settings are those of a study's `[[outcome]]`."""
    return {
        "name": name,
        "label": name,
        "kind": "symptom",
        "report_concepts": ["headache"],
        **settings,
    }


def window(start: float, end: float, *, name: str = "risk", until: str = "end") -> dict[str, Any]:
    """A window from `start` days after the start to `end` days after the start or end."""
    return {
        "name": name,
        "start_offset_hours": start * DAY,
        "end_anchor": until,
        "end_offset_hours": end * DAY,
    }


def bare_study(resolution: str, outcomes: list[dict[str, Any]]) -> Study:
    """A study that says nothing but its resolution and outcomes; every infusion is a unit."""
    shipped = load_study("iv_bisphosphonate")
    drugs = [
        {"name": concept, "concept": concept, "drug_class": "oracle"}
        for concept in ("zoledronic_acid", "pamidronate")
    ]
    model = StudyModel.model_validate(
        {
            "study": {
                "id": "oracle",
                "title": "Somebody else's answers",
                "version": "1",
                "unit": "administration",
                "resolution": resolution,
            },
            "administration": {"bag_gap_hours": 0},
            "drug": drugs,
            "outcome": outcomes,
        }
    )
    return Study(model, shipped.codelist, shipped.limits, shipped.folder)


def linked(study: Study, patients: list[Patient]) -> Linked:
    """Link with every feed complete, so that every window is closed."""
    return link(patients, study, through=THROUGH)


def rows_of(
    result: Linked, outcome: str, patients: set[str], window_name: str = "risk"
) -> list[dict[str, Any]]:
    """The rows of an outcome's window for these patients."""
    return [
        row
        for row in result.outcomes
        if row["outcome"] == outcome
        and row["window_name"] == window_name
        and row["patient_key"] in patients
    ]


def total(rows: list[dict[str, Any]], column: str) -> float:
    """The sum of a column; rows that have none add nothing."""
    return sum(row[column] or 0 for row in rows)


def n_patients(rows: list[dict[str, Any]], column: str) -> int:
    """How many patients have more than nothing of a column."""
    return len({row["patient_key"] for row in rows if (row[column] or 0) > 0})
