"""All rows of one patient: every unit, outcome and window, with its status (section 10)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from studies.load import Study
from studies.outcomes import (
    CompositeOutcome,
    Episodic,
    GradeOutcome,
    LabOutcome,
    Outcome,
    VitalLimitOutcome,
    WindowTable,
)
from tests.reference.clock import When, meets
from tests.reference.composites import composite
from tests.reference.episodes import is_seen, judge_episodic, worst_of
from tests.reference.events import read_events
from tests.reference.follow_up import Feeds, is_closed
from tests.reference.labs import judge_lab
from tests.reference.owners import is_superseded, kin_of, watched, window_of
from tests.reference.pieces import vital_limit
from tests.reference.rows import Judged, Patient, Row, UnitRow
from tests.reference.serious import (
    Asked,
    criteria,
    is_treated,
    remedies_after,
    remedy_after_hours,
    window_start,
)
from tests.reference.stretches import (
    Stretches,
    at_risk,
    before,
    days,
    ends_at,
    record_start,
    without,
)
from tests.reference.undated import undated
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
from tests.reference.windows import Window, uncut


def link_patient(
    rows: list[tuple[str, dict[str, Any]]],
    study: Study,
    through: dict[str, datetime],
    *,
    patients_implied: bool = False,
) -> tuple[list[UnitRow], list[Row]]:
    """Return a patient's units and outcome rows.

    Args:
        rows: the patient's events, by type.
        study: the study.
        through: `data_through` by event type.
        patients_implied: whether a patient exists by being named.
    """
    if patients_implied and not any(kind == "PatientRegistered" for kind, _ in rows):
        known = {
            "event_type": "PatientRegistered",
            "occurred_at": None,
            "time_precision": None,
            "zone": rows[0][1]["zone"],
        }
        rows = [*rows, ("PatientRegistered", known)]
    events = read_events(study, rows)
    patient = Patient(study, events, units_of(study, events), Feeds(through))
    found: list[Row] = []
    for unit in patient.units:
        for outcome in study.model.outcome:
            is_watched = unit in watched(outcome, [unit])
            for table in outcome.window if is_watched else []:
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
        unit.is_interrupted,
    )


def row_of(
    patient: Patient, outcome: Outcome, table: WindowTable, unit: Unit, earlier: list[Row]
) -> Row:
    study, events = patient.study, patient.events
    kin = kin_of(study, outcome, unit, patient.units, events)
    place = [one.key for one in kin].index(unit.key)
    window = window_of(study, outcome, table, place, kin, events)
    row = Row(unit.key, outcome.name, table.name, "", cut_reason=window.cut_reason)
    row = replace(row, is_by_days=window.axis == "day")
    if window.merged_into is not None:
        return replace(row, status="merged", merged_into=window.merged_into.key)
    judged = Judged(row, rows=[])
    if isinstance(outcome, CompositeOutcome):
        judged = composite(row, patient, outcome, earlier)
    elif isinstance(outcome, LabOutcome):
        judged = laboratory(row, patient, outcome, window, kin[:place])
    else:
        judged = episodic(row, patient, outcome, window, table.name)
    row = judged.row
    if not isinstance(outcome, CompositeOutcome):
        zone = str(events[0].row["zone"])
        row = replace(
            row, is_closed=is_closed(study, outcome, window, table.name, zone, patient.feeds)
        )
    row = timed(row, patient, window, judged.taken)
    if row.onset is not None:
        onset = row.onset.as_day(str(events[0].row["zone"]))
        number = candidates(study, onset, outcome, table, kin)
        row = replace(row, n_candidate_units=number)
    if row.has_event:
        row = asked(row, patient, outcome, window, judged.rows)
    return replace(row, status=status(patient, row, window), evidence=tuple(map(id, judged.rows)))


def timed(row: Row, patient: Patient, window: Window, taken: Stretches) -> Row:
    """With its time at risk, in days."""
    zone = str(patient.events[0].row["zone"])
    whole = at_risk(window, record_start(patient.events, window.axis), zone)
    left, end = without(whole, taken), window.cut
    if row.onset is not None:
        onset = row.onset.first.toordinal() + 1
        end = onset if row.is_by_days else ends_at(row.onset)
    return replace(
        row,
        person_days=days(before(left, end), window.axis),
        at_risk_days=days(left, window.axis),
        at_risk_days_uncleaned=days(whole, window.axis),
    )


def candidates(
    study: Study, onset: When, outcome: Outcome, table: WindowTable, kin: list[Unit]
) -> int:
    """Uncut windows of the name that share time with the onset."""
    windows = [uncut(study, outcome, table, one) for one in kin]
    return sum(meets(onset.on(one.axis), one.lo, one.hi) for one in windows)


def asked(
    row: Row, patient: Patient, outcome: Outcome, window: Window, rows: list[dict[str, Any]]
) -> Row:
    """With what makes the event serious, and whether it was treated."""
    zone = str(patient.events[0].row["zone"])
    onset = row.onset or window_start(window, zone)
    event = Asked(patient.study, patient.events, patient.units, window, onset, row.grade, rows)
    why = criteria(event)
    return replace(
        row,
        is_serious=bool(why),
        serious_criteria=tuple(sorted(why)),
        is_treated=is_treated(event, outcome),
        has_remedy=bool(remedies_after(event, outcome)) if outcome.remedy_concepts else None,
        remedy_after_hours=remedy_after_hours(event, outcome) if row.onset else None,
    )


def status(patient: Patient, row: Row, window: Window) -> str:
    if registration(patient.events) is None:
        return "unplaceable"
    if not is_eligible(patient.study, patient.events, window.unit):
        return "ineligible"
    if is_superseded(window):
        return "superseded_same_day"
    has_time = row.at_risk_days > 0
    if not has_time and not row.has_event:
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


def episodic(row: Row, patient: Patient, outcome: Episodic, window: Window, name: str) -> Judged:
    study, events = patient.study, patient.events
    found = judge_episodic(study, events, outcome, window)
    bare = undated(study, events, outcome, window, name, patient.units)
    has_event = found.onset is not None or bool(bare)
    is_observed = has_event or is_seen(study, events, window)
    if isinstance(outcome, VitalLimitOutcome) and not has_event:
        limit = vital_limit(study, events, outcome, window)
        is_observed = is_observed and limit is not None
    grade = found.grade
    if found.onset is None:
        grade = worst_of([one.get("grade") for one in bare])
    row = replace(
        row,
        onset=found.onset,
        grade=grade,
        is_observed=is_observed,
        is_worsened=found.is_worsened,
        is_pre_existing=found.is_pre_existing,
        is_in_clean_window=found.is_in_clean_window,
        is_missing_start=bool(bare),
        has_event=has_event,
        is_known=is_observed,
        n_events=found.n_events + len(bare),
        n_events_uncleaned=found.n_events_uncleaned + len(bare),
    )
    return Judged(row, found.evidence + bare, found.taken)


def laboratory(
    row: Row, patient: Patient, outcome: LabOutcome, window: Window, before: list[Unit]
) -> Judged:
    tested = judge_lab(patient.study, patient.events, outcome, window, before, patient.units)
    worst, base = tested.worst, tested.baseline
    has_measures = isinstance(outcome, GradeOutcome) and outcome.calcium is not None
    row = replace(
        row,
        onset=tested.onset,
        grade=worst.grade if worst else None,
        baseline_value=base.reported if base else None,
        is_tested=tested.is_tested,
        is_pre_existing=tested.is_pre_existing,
        has_event=tested.onset is not None,
        is_known=tested.is_tested,
        is_switch=tested.is_switch,
        is_unlike=tested.is_unlike,
        measure=worst.result.measure if worst and has_measures else None,
        baseline_measure=base.measure if base and has_measures else None,
        n_events=int(tested.onset is not None),
        n_events_uncleaned=int(tested.onset is not None),
    )
    return Judged(row, rows=[])
