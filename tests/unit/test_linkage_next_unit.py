"""Who owns what lies around a start: hours of its date, first draws, limits, control."""

from __future__ import annotations

from typing import Any

import pytest

from studies.load import Study, load_study
from studies.outcomes import WindowTable
from tests.linkage_cases import Linked, Patient, child, link, utc, with_settings

START, END = "2024-03-01 09:00", "2024-03-01 09:30"
NEXT = ("2024-03-03 09:00", "2024-03-03 09:30")
CONTROL: dict[str, Any] = {"start_offset_hours": -336, "end_anchor": "start", "end_offset_hours": 0}


def one(key: str) -> Patient:
    """A child infused on 1 March, known since January."""
    return child(key).encounter("2024-01-01 09:00", "2024-01-01 10:00").infusion(START, END)


def two(key: str) -> Patient:
    """Infused again two days later."""
    return one(key).infusion(*NEXT)


def low(patient: Patient, *draws: tuple[str, float]) -> Patient:
    """Calcium in mg/dL, with the laboratory's own lower limit."""
    for at, value in draws:
        patient.calcium(at, value, low_limit=8.5)
    return patient


CA, CA1 = "hypocalcaemia", "hypocalcaemia_grade1"
BEFORE = ("2024-02-28 09:00", 9.0)

#: patient, outcome, unit, and what must be so of the row, by hours and by days alike.
CASES: list[tuple[Patient, str, int, dict[str, Any]]] = [
    # The next unit's own date.
    (low(two("morning"), BEFORE, ("2024-03-03 08:00", 6.5)), CA, 1,
     {"status": "event", "grade": 3, "baseline_value": 9.0}),
    (low(two("morning-2"), BEFORE, ("2024-03-03 08:00", 6.5)), CA, 2,
     {"status": "untested", "baseline_value": 9.0}),
    (low(two("that-day"), BEFORE, ("2024-03-03", 6.5)), CA, 1,
     {"status": "event", "onset_precision": "day"}),
    (low(one("day-after").infusion("2024-03-03"), BEFORE, ("2024-03-03 08:00", 6.5)), CA, 1,
     {"status": "event", "grade": 3}),
    (low(two("grace").infusion("2024-03-05 09:00"), BEFORE, ("2024-03-03 09:20", 6.5)), CA, 1,
     {"status": "event", "grade": 3, "cut_reason": "next_unit"}),
    (low(two("past-grace"), BEFORE, ("2024-03-03 09:31", 6.5)), CA, 1, {"status": "censored"}),
    (low(two("past-grace-2"), BEFORE, ("2024-03-03 09:31", 6.5)), CA, 2, {"status": "event"}),
    (two("day-fever").temperature("2024-03-03", 38.5), "fever", 1, {"status": "event"}),
    (two("old-list").diagnosis("2024-03-03", "R51.9", category="problem-list"), "headache", 1,
     {"status": "event"}),
    (two("fast").heart_rate("2024-03-03 08:00", 150).heart_rate("2024-03-03 08:40", 150),
     "tachycardia", 1, {"status": "event"}),
    # The uncut window ends on 4 March; no next unit makes it longer.
    (low(one("too-late").infusion("2024-03-05 10:00"), BEFORE, ("2024-03-05 10:10", 6.5)), CA, 1,
     {"status": "untested"}),
    # Hours of the index date.
    (low(one("evening"), BEFORE, ("2024-03-01 19:00", 6.5), ("2024-03-03 09:00", 6.5)), CA, 1,
     {"status": "event", "grade": 3, "baseline_value": 9.0}),
    (one("at-eight").temperature("2024-03-01 08:00", 38.5).temperature("2024-03-02 09:00", 38.5),
     "fever", 1, {"status": "no_event", "is_pre_existing": True}),
    # Limits of two laboratories.
    (low(one("rose"), BEFORE).calcium("2024-03-03 09:00", 9.1), CA1, 1,
     {"status": "no_event", "grade": 1, "flags": ["limit_from_table"]}),
    (low(one("fell").calcium("2024-02-28 09:00", 9.0), ("2024-03-03 09:00", 8.2)), CA1, 1,
     {"status": "event", "grade": 1}),
    (one("two-units").phosphate("2024-02-28 09:00", 0.62, "mmol/L")
     .phosphate("2024-03-03 09:00", 1.97), "hypophosphataemia", 1,
     {"status": "no_event", "grade": 3}),
    # An ionised result of before the infusion says nothing of the total of after it.
    (low(one("ionised").lab("2024-03-01 08:55", "17864-0", 1.25, "mmol/L", low_limit=1.12),
         ("2024-03-01 09:50", 6.5)), CA, 1, {"is_tested": True, "grade": 3}),
    # Only the issue is known.
    (one("issued").add("LabResulted", None, code="17861-6", code_system="loinc", value=6.5,
                       unit="mg/dL", resulted_at=utc("2024-03-01 10:00"), time_precision=None),
     CA, 1, {"status": "event", "onset_precision": "day", "onset_hours": None}),
]  # fmt: skip


@pytest.fixture(scope="module", params=["instant", "day"])
def linked(request: pytest.FixtureRequest) -> Linked:
    study = with_settings(load_study("iv_bisphosphonate"), study={"resolution": request.param})
    return link([patient for patient, *_ in CASES], study)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case[0].key for case in CASES])
def test_what_lies_before_a_start_is_not_its_effect(linked: Linked, number: int) -> None:
    patient, outcome, unit, expected = CASES[number]
    row = linked.of(patient.key, outcome, unit)
    flags = set(row["flags"]) - {"imprecise", "day_resolution"}
    found = {name: row[name] for name in expected} | (
        {"flags": sorted(flags)} if "flags" in expected else {}
    )
    assert found == expected


def with_control(overlap: str, resolution: str) -> Study:
    """The shipped study, headache and fever with a control window of two weeks before."""
    base = with_settings(load_study("iv_bisphosphonate"), study={"resolution": resolution})
    windows = [WindowTable(name="risk"), WindowTable(name="control", **CONTROL)]
    outcomes = [
        each.model_copy(update={"window": windows, "overlap": overlap})
        if each.name in ("headache", "fever")
        else each
        for each in base.model.outcome
    ]
    return Study(
        base.model.model_copy(update={"outcome": outcomes}), base.codelist, base.limits, base.folder
    )


@pytest.mark.parametrize(
    ("overlap", "resolution", "days"),
    [("latest", "instant", 10.979166666666666), ("all", "instant", 10.979166666666666),
     ("latest", "day", 10.0)],
)  # fmt: skip
def test_no_time_and_no_event_is_in_control_and_in_risk(
    overlap: str, resolution: str, days: float
) -> None:
    apart = one("apart").infusion("2024-03-10 09:00", "2024-03-10 09:30")
    apart.report("2024-03-02 09:00", "R51.9")
    noon = one("noon").report("2024-03-01 12:00", "R51.9")
    watched = one("watched").temperature("2024-02-28 09:00", 36.5)
    linked = link([apart, noon, watched], with_control(overlap, resolution))
    assert linked.of("apart", "headache")["status"] == "event"
    control = linked.of("apart", "headache", 2, "control")
    assert (control["n_events"], control["at_risk_days"]) == (0, pytest.approx(days))
    assert linked.of("noon", "headache")["status"] == "event"
    control = linked.of("noon", "headache", window="control")
    assert (control["n_events"], control["at_risk_days"]) == (0, 14)
    assert linked.of("watched", "fever", window="control")["status"] == "no_event"
