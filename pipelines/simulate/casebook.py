"""The worked edges of the window rules, as patients whose answers were typed with their records.

Each case is one row of the table "worked edges" of docs/windows.md, or a twin of it. Times are
minutes of the wall clock after the midnight of the patient's day 0; `casework.py` makes patients of
them. An answer holds in both resolutions unless the case says what a study in days sees.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.simulate import codes
from pipelines.simulate.clock import DAY, HOUR
from pipelines.simulate.codes import ZOLEDRONIC

#: An infusion begins and ends at these times of day 0, unless the case says so.
START, END = 9 * HOUR, 9 * HOUR + 30
EVENT, FREE, CENSORED = "event", "no_event", "censored"
OPEN, OPEN_EVENT = "open", "open_event"
UNOBSERVED, UNTESTED, UNDETERMINED = "unobserved", "untested", "undetermined"

Value = str | float | bool
Fields = dict[str, Value]


@dataclass(frozen=True)
class Record:
    """One row of a file: its times, and the columns of that file."""

    file: str
    t: int
    fields: Fields
    t_end: int | None = None


@dataclass(frozen=True)
class Dosing:
    """One unit as it truly was, and what is true of its outcomes.

    Attributes:
        answers: status by outcome, `outcome/window` for a window of its own; what is not named is
            as for a child who was seen and in whom nothing happened.
        by_days: what a study in days sees otherwise.
        facts: more of a linked row, as (outcome, column): value; a flag as `flags`.
    """

    start: int = START
    end: int = END
    drug: int = ZOLEDRONIC
    cut_at: int | None = None
    is_seen: bool = True
    has_calcium: bool = False
    has_phosphate: bool = False
    answers: dict[str, str] = field(default_factory=dict)
    by_days: dict[str, str] = field(default_factory=dict)
    facts: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A patient of the worked edges.

    Attributes:
        years: age on day 0.
        died: minute of death.
        is_tonight: day 0 is the last complete day of the record.
        is_registered_late: the last night alone delivers the patient's own row.
    """

    name: str
    records: tuple[Record, ...]
    units: tuple[Dosing, ...] = (Dosing(),)
    years: float = 7.6
    setting: str = "outpatient"
    died: int | None = None
    is_tonight: bool = False
    is_registered_late: bool = False


def infusion(start: int = START, end: int = END, drug: int = ZOLEDRONIC, **fields: Value) -> Record:
    """An infusion of a study drug."""
    told: Fields = {
        "category": "infusion",
        "status": "completed",
        "code": codes.DRUG_CODES[drug],
        "name": codes.DRUG_DISPLAYS[drug],
        "route": "IV",
        "dose": 1.0,
        "dose_unit": "mg",
    }
    return Record("medications", start, told | fields, end)


def vital(t: int, code: str, value: float, unit: str) -> Record:
    """A vital sign."""
    return Record(
        "vitals",
        t,
        {"code": code, "name": codes.VITAL_DISPLAYS[code], "value": value, "unit": unit},
    )


def temperature(t: int, degrees: float) -> Record:
    """A temperature."""
    return vital(t, codes.TEMPERATURE, degrees, "Cel")


def heart(t: int, rate: float) -> Record:
    """A heart rate."""
    return vital(t, codes.HEART_RATE, rate, "/min")


def lab(t: int, analyte: codes.Analyte, value: float, **fields: Value) -> Record:
    """A result with the laboratory's own limits."""
    told: Fields = {
        "code": analyte.code,
        "name": analyte.display,
        "unit": analyte.unit,
        "low": analyte.low,
        "high": analyte.high,
        "status": "final",
        "value": value,
    }
    return Record("labs", t, told | fields)


def report(t: int, code: str, name: str, **fields: Value) -> Record:
    """A reported reaction with its time."""
    told: Fields = {"code": code, "name": name, "serious": "false", "outcome": "recovered"}
    return Record("adverse_events", t, told | fields)


def diagnosis(t: int, code: str, category: str = "encounter") -> Record:
    """A coded diagnosis, known by its day."""
    return Record("diagnoses", t, {"code": code, "category": category})


def seen(t: int = DAY + 11 * HOUR) -> tuple[Record, ...]:
    """A visit with normal readings, so that the child is observed."""
    visit = Record("encounters", t, {"id": "F", "setting": "outpatient"}, t + 40)
    return visit, temperature(t + 5, 36.8), heart(t + 5, 92)


CALCIUM, CALCIUM_SI = codes.CALCIUM
PHOSPHATE, PHOSPHATE_SI = codes.PHOSPHATE
BEFORE, AFTER = -10 * DAY + 10 * HOUR, 2 * DAY + 10 * HOUR
FEVER = {"fever": EVENT, "acute_phase_reaction": EVENT, "any_side_effect": EVENT}
LOW_CALCIUM = {"hypocalcaemia": EVENT, "any_side_effect": EVENT}
LOW_PHOSPHATE = {"hypophosphataemia": EVENT, "any_side_effect": EVENT}
HYPO, HYPO_1 = "hypocalcaemia", "hypocalcaemia_grade1"
ALL_OPEN = dict.fromkeys(
    ("fever", "tachycardia", HYPO, "hypophosphataemia", "acute_phase_reaction", "any_side_effect"),
    OPEN,
)
#: The first of two units, cut by the second, but for what happened in it.
CUT = dict.fromkeys((*ALL_OPEN, f"{HYPO}/extended", "hypophosphataemia/extended"), CENSORED)
ANAPHYLAXIS: Fields = {"grade": 4, "serious": "true", "outcome": "fatal"}
