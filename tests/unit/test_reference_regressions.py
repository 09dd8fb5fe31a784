"""Where the product once left the window rules: the smallest patient of each, and what is right.

Found by comparing it with the plain reference; the answers come from the rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from studies.load import Study, load_study
from studies.outcomes import RatioOutcome
from tests.linkage_cases import Patient, child, link, utc, with_settings
from tests.reference.compare import FEEDS
from tests.reference.linkage import link_patient
from tests.reference.studies import changed_outcomes, only

START, END = "2024-03-01 09:00", "2024-03-01 09:30"
SHIPPED = load_study("iv_bisphosphonate")
BY_DAYS = with_settings(SHIPPED, study={"resolution": "day"})
KDIGO = only(
    SHIPPED,
    RatioOutcome(
        kind="ratio",
        name="kidney",
        label="Creatinine 1.5 times baseline",
        concept="creatinine",
        ratio=1.5,
        reporting_resolution=0.1,
    ),
)
EXCLUDED = changed_outcomes(SHIPPED, headache={"same_day": "exclude"})


@dataclass(frozen=True)
class Case:
    """One patient and one field: of an outcome's row, or of the unit where there is no outcome."""

    patient: Patient
    field: str
    expected: Any
    outcome: str | None = None
    unit: int = 1
    study: Study = SHIPPED


def infused(key: str) -> Patient:
    return child(key).infusion(START, END)


def seen(key: str) -> Patient:
    """With two years of record before the infusion."""
    return infused(key).encounter("2022-01-01 08:00", "2022-01-01 09:00")


def tablets(key: str, month: str) -> Patient:
    """With a bisphosphonate by mouth, known by its month and by a prescription filled."""
    drug = {"code": "46041", "code_system": "rxnorm", "status": "unknown"}
    return seen(key).add("MedicationGiven", month, **drug, time_precision="month")


CASES = {
    # Section 4: the latest index owns it; nothing belongs to two units.
    "day events on the date of two units": Case(
        infused("crowded").infusion("2024-03-01 15:00", "2024-03-01 15:30")
        .report("2024-03-01", "R51.9"),
        "status", "censored", "headache",
    ),
    # Section 1: the next day lies after the index, however late that is.
    "day results after a late infusion": Case(
        child("late").infusion("2024-03-01 23:45").calcium("2024-03-02", 6.5, low_limit=8.5),
        "status", "event", "hypocalcaemia",
    ),
    # Section 7: on an infusion's own date a result is before it, and in no window of that unit.
    "index-date results as later baseline by days": Case(
        infused("own-date").calcium("2024-03-01 08:00", 7.5, low_limit=8.5)
        .infusion("2024-04-01 09:00").calcium("2024-04-02 09:00", 7.5, low_limit=8.5),
        "status", "no_event", "hypocalcaemia", 2, BY_DAYS,
    ),
    # Section 2: a sign known by its month or year is earlier where all of that is.
    "tablets of the month before": Case(tablets("january", "2024-02-01"), "is_naive", False),
    "tablets of the month of the index": Case(tablets("march", "2024-03-01"), "is_naive", None),
    "tablets of the month after": Case(tablets("april", "2024-04-01"), "is_naive", True),
    # Section 2: what is said to have been taken is a sign, and nothing else.
    "a study drug that is only stated": Case(
        seen("said").infusion("2024-02-20 09:00", evidence="stated"), "is_naive", False,
    ),
    "a box of an antipyretic is no premedication": Case(
        infused("box").add("MedicationGiven", "2024-03-01 08:00", code="161",
                           code_system="rxnorm", status="unknown"),
        "premedicated", False,
    ),
    # Section 8: what was not taken is no reading.
    "a temperature not taken": Case(
        infused("not-taken").temperature("2024-03-02 09:00", None), "status", "unobserved", "fever",
    ),
    "a temperature in a unit unknown": Case(
        infused("odd-unit").temperature("2024-03-02 09:00", 37.0, "K"),
        "status", "unobserved", "fever",
    ),
    # Section 1: no half hour can be told between a day and another time.
    "fast hearts known by their day": Case(
        infused("by-day").heart_rate("2024-03-02", 190).heart_rate("2024-03-03", 190),
        "status", "no_event", "tachycardia",
    ),
    "a fast heart known by its day before the index": Case(
        infused("own-by-day").heart_rate("2024-02-29", 170)
        .heart_rate("2024-03-02 12:00", 170).heart_rate("2024-03-02 13:00", 170),
        "status", "event", "tachycardia",
    ),
    # Section 2: [-24 h, start) is met by the day before; a day is an interval (section 1).
    "premedication known by its day": Case(
        infused("premedicated").add("MedicationGiven", "2024-02-29", code="161",
                                    code_system="rxnorm", status="completed"),
        "premedicated", True,
    ),
    # Section 1: an index known by its day is analysed by days; the encounter is of that day.
    "encounters of an infusion known by its day": Case(
        child("visit").infusion("2024-03-01").encounter("2024-03-01 08:00", "2024-03-01 12:00"),
        "setting", "outpatient",
    ),
    # Section 7: no limit of its own, so the study's table; a unit that it lacks is converted.
    "table limits in mEq/L": Case(
        infused("equivalents").calcium("2024-03-02 09:00", 4.3, "mEq/L"),
        "grade", 1, "hypocalcaemia",
    ),
    # Section 1: hours become days; the clocks went back on 7 April, and four days are four days.
    "courses of days over a clock change": Case(
        child("clock").infusion("2024-04-05", code="11473").infusion("2024-04-09", code="11473"),
        "n_infusions", 2,
    ),
    # Section 5: 29 February ends 57 h before the headache: one event, begun before the infusion.
    "a day and an hour over three days later": Case(
        child("far").infusion("2024-03-03 08:00", "2024-03-03 08:30")
        .report("2024-02-29", "R51.9").report("2024-03-03 09:00", "R51.9"),
        "is_pre_existing", True, "headache",
    ),
    # Section 5: reports and vitals of one outcome at most 72 h apart are one event.
    "reported tachycardia before readings that confirm it": Case(
        infused("fast").report("2024-02-29 20:00", "R00.0")
        .heart_rate("2024-03-01 12:00", 170).heart_rate("2024-03-01 13:00", 170),
        "is_pre_existing", True, "tachycardia",
    ),
    # Section 5: the 29th, 3, 4 March and the report of the 4th are one event, by its readings.
    "readings between two reports of tachycardia by days": Case(
        child("bridged").infusion("2024-03-01 21:25", "2024-03-01 21:55")
        .report("2024-02-29", "R00.0")
        .heart_rate("2024-03-03 20:25", 168).heart_rate("2024-03-04 21:25", 191)
        .report("2024-03-04 23:55", "R00.0", grade=1),
        "is_pre_existing", True, "tachycardia", 1, BY_DAYS,
    ),
    # Section 8: none lower between; a lower one of the same moment is not between.
    "two temperatures of one moment": Case(
        infused("twice").temperature("2024-03-01 12:00", 40.1)
        .temperature("2024-03-02 13:00", 39.1).temperature("2024-03-02 13:00", 40.2),
        "grade", 4, "fever",
    ),
    # Section 7: just above 0.2 to 0.4 is a rise of less than twice 0.1.
    "comparators of ratios": Case(
        infused("limit").lab("2024-02-28 09:00", "2160-0", 0.2, "mg/dL", comparator=">")
        .lab("2024-03-02 09:00", "2160-0", 0.4, "mg/dL"),
        "status", "no_event", "kidney", 1, KDIGO,
    ),
    # Section 1: on the infusion's own date, excluded means nowhere.
    "excluded days of the next infusion": Case(
        infused("excluded").infusion("2024-03-03 09:00").report("2024-03-03", "R51.9"),
        "status", "censored", "headache", 1, EXCLUDED,
    ),
    # Section 5: a report of the 12th lasts 14 days, the reading beside it no longer than its gap.
    "readings of a reported event": Case(
        child("mixed").infusion("2024-06-27 09:00").report("2024-06-12 09:00", "R50.9", grade=1)
        .temperature("2024-06-14 09:00", 38.1).temperature("2024-06-27 20:00", 38.3),
        "status", "event", "fever",
    ),
    # Section 1: dates are local; 08:00 on the 27th in Adelaide is the 26th in UTC.
    "ends whose date in UTC is another": Case(
        infused("ended").report("2024-02-26 09:00", "R51.9", ended_at=utc("2024-02-27 08:00"))
        .report("2024-03-01 10:00", "R51.9"),
        "is_pre_existing", True, "headache", 1, BY_DAYS,
    ),
    # Section 5: the second report has no end and lasts 14 days, whatever ended before it.
    "stated ends before later evidence": Case(
        infused("stated").report("2024-02-20 09:00", "R51.9", grade=2,
                                 ended_at=utc("2024-02-20 10:00"))
        .report("2024-02-22 09:00", "R51.9", grade=2).report("2024-03-02 09:00", "R51.9", grade=2),
        "is_pre_existing", True, "headache",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_reference_gives_what_the_rule_asks_for(name: str) -> None:
    case = CASES[name]
    units, rows = link_patient(case.patient.events, case.study, FEEDS)
    [key] = [one.key for one in units if one.ordinal == case.unit]
    found = [
        getattr(one, case.field)
        for one in (units if case.outcome is None else rows)
        if key in {getattr(one, "key", None), getattr(one, "unit", None)}
        and getattr(one, "outcome", None) == case.outcome
        and getattr(one, "window", "risk") == "risk"
    ]
    assert found == [case.expected]


@pytest.mark.parametrize("name", CASES)
def test_the_product_gives_what_the_rule_asks_for(name: str) -> None:
    case = CASES[name]
    key = case.patient.key
    linked = link([case.patient], case.study)
    if case.outcome is None:
        row = linked.units_of(key)[case.unit - 1]
    else:
        row = linked.of(key, case.outcome, case.unit)
    assert row[case.field] == case.expected
