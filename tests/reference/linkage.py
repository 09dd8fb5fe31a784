"""All rows of one patient: every unit, outcome and window, with its status (section 10)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from studies.load import Study
from studies.outcomes import (
    CompositeOutcome,
    Episodic,
    LabOutcome,
    Outcome,
    VitalLimitOutcome,
    WindowTable,
)
from tests.reference.clock import When
from tests.reference.episodes import is_seen, judge_episodic, vital_limit
from tests.reference.events import Event, read_events
from tests.reference.labs import judge_lab
from tests.reference.units import (
    Unit,
    age_months,
    indication_type,
    is_eligible,
    is_naive,
    premedicated,
    registration,
    setting,
    units_of,
)
from tests.reference.windows import Window, is_closed, is_superseded, window_of


@dataclass(frozen=True)
class UnitRow:
    """A unit and its strata."""

    key: str
    ordinal: int
    n_infusions: int
    is_eligible: bool
    age_months: int | None
    indication_type: str
    setting: str
    is_naive: bool | None
    premedicated: bool
    evidence: str
    is_dispensed_undated: bool


@dataclass(frozen=True)
class Row:
    """A unit's outcome in one window. None where the question is not asked of the outcome."""

    unit: str
    outcome: str
    window: str
    status: str
    onset: When | None = None
    grade: int | None = None
    baseline_value: float | None = None
    is_observed: bool | None = None
    is_tested: bool | None = None
    is_determined: bool | None = None
    cut_reason: str | None = None
    is_worsened: bool = False
    is_pre_existing: bool = False
    has_event: bool = False
    is_known: bool = True
    is_closed: bool = True
    is_by_days: bool = False


@dataclass(frozen=True)
class Patient:
    """What every rule reads."""

    study: Study
    events: list[Event]
    units: list[Unit]
    through: dict[str, datetime]


def link_patient(
    rows: list[tuple[str, dict[str, Any]]], study: Study, through: dict[str, datetime]
) -> tuple[list[UnitRow], list[Row]]:
    """Return a patient's units and outcome rows; `through` is `data_through` by event type."""
    events = read_events(study, rows)
    patient = Patient(study, events, units_of(study, events), through)
    found: list[Row] = []
    for unit in patient.units:
        for outcome in study.model.outcome:
            watched = not outcome.drug_classes or unit.drug.drug_class in outcome.drug_classes
            for table in outcome.window if watched else []:
                found.append(row_of(patient, outcome, table, unit, found))
    return [unit_row(patient, unit) for unit in patient.units], found


def unit_row(patient: Patient, unit: Unit) -> UnitRow:
    study, events = patient.study, patient.events
    return UnitRow(
        unit.key,
        unit.ordinal,
        len(unit.administrations),
        is_eligible(study, events, unit),
        age_months(events, unit),
        indication_type(study, events, unit),
        setting(events, unit),
        is_naive(study, events, unit),
        premedicated(study, events, unit),
        unit.evidence,
        unit.is_dispensed_undated,
    )


def row_of(
    patient: Patient, outcome: Outcome, table: WindowTable, unit: Unit, earlier: list[Row]
) -> Row:
    window = window_of(outcome, table, unit, patient.units, patient.events)
    row = Row(unit.key, outcome.name, table.name, "", cut_reason=window.cut_reason)
    row = replace(row, is_by_days=window.axis == "day")
    if isinstance(outcome, CompositeOutcome):
        row = composite(row, outcome, earlier)
    elif isinstance(outcome, LabOutcome):
        row = laboratory(row, patient, outcome, window)
    else:
        row = episodic(row, patient, outcome, window)
    if not isinstance(outcome, CompositeOutcome):
        zone = str(patient.events[0].row["zone"])
        closed = is_closed(patient.study, outcome, window, zone, patient.through)
        row = replace(row, is_closed=closed)
    return replace(row, status=status(patient, row, window))


def status(patient: Patient, row: Row, window: Window) -> str:
    if registration(patient.events) is None:
        return "unplaceable"
    if not is_eligible(patient.study, patient.events, window.unit):
        return "ineligible"
    if is_superseded(window):
        return "superseded_same_day"
    if window.cut <= window.lo:
        return "not_at_risk"
    if not row.is_closed:
        return "open_event" if row.has_event else "open"
    if row.has_event:
        return "event"
    if window.cut_reason in {"next_unit", "observation_end"}:
        return "censored"
    if row.is_known:
        return "no_event"
    if row.is_tested is False:
        return "untested"
    return "undetermined" if row.is_determined is False else "unobserved"


def episodic(row: Row, patient: Patient, outcome: Episodic, window: Window) -> Row:
    found = judge_episodic(patient.study, patient.events, outcome, window)
    is_observed = found.onset is not None or is_seen(patient.study, patient.events, window)
    if isinstance(outcome, VitalLimitOutcome) and found.onset is None:
        limit = vital_limit(patient.study, patient.events, outcome, window)
        is_observed = is_observed and limit is not None
    return replace(
        row,
        onset=found.onset,
        grade=found.grade,
        is_observed=is_observed,
        is_worsened=found.is_worsened,
        is_pre_existing=found.is_pre_existing,
        has_event=found.onset is not None,
        is_known=is_observed,
    )


def laboratory(row: Row, patient: Patient, outcome: LabOutcome, window: Window) -> Row:
    kin = [one for one in patient.units if one.drug.drug_class == window.unit.drug.drug_class]
    before = kin[: kin.index(window.unit)]
    tested = judge_lab(patient.study, patient.events, outcome, window, before)
    return replace(
        row,
        onset=tested.onset,
        grade=tested.grade,
        baseline_value=tested.baseline.row["value"] if tested.baseline else None,
        is_tested=tested.is_tested,
        is_pre_existing=tested.is_pre_existing,
        has_event=tested.onset is not None,
        is_known=tested.is_tested,
    )


def composite(row: Row, outcome: CompositeOutcome, earlier: list[Row]) -> Row:
    """At least so many groups; what is unknown may still be anything."""
    groups = [
        [
            one
            for one in earlier
            if one.unit == row.unit and one.window == row.window and one.outcome in names
        ]
        for names in outcome.of
    ]
    true = [group for group in groups if any(one.has_event for one in group)]
    unknown = [
        group for group in groups if group not in true and any(not one.is_known for one in group)
    ]
    has_event = len(true) >= outcome.at_least
    is_known = has_event or len(true) + len(unknown) < outcome.at_least
    onset = min(
        (one.onset for group in true for one in group if one.onset is not None),
        key=lambda it: it.at,
        default=None,
    )
    return replace(
        row,
        onset=onset if has_event else None,
        is_determined=is_known,
        is_worsened=has_event and any(one.is_worsened for group in true for one in group),
        has_event=has_event,
        is_known=is_known,
        is_closed=all(one.is_closed for group in groups for one in group),
    )
