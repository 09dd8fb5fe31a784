"""Section 1: reports and codes without a start, where the study takes them to be emergent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from studies.load import Study
from studies.outcomes import Episodic, FeverOutcome
from tests.reference.clock import local_date
from tests.reference.events import Event
from tests.reference.owners import kin_of, watched, window_of
from tests.reference.pieces import reports_of
from tests.reference.units import Unit
from tests.reference.windows import Window


def is_begun(unit: Unit, ended_at: datetime, zone: str) -> bool:
    """Whether a unit's index is at or before an end; by date, where its hour is not known."""
    if unit.axis == "day":
        return unit.index_date <= local_date(ended_at, zone)
    return unit.start_at <= ended_at


def owner_of(event: Event, units: list[Unit], open_units: list[Unit]) -> Unit | None:
    """The latest unit begun by its end; without an end the first; None if it was over before."""
    ended_at = event.row.get("ended_at")
    if ended_at is None:
        return open_units[0] if open_units else None
    begun = [one for one in open_units if is_begun(one, ended_at, event.row["zone"])]
    return begun[-1] if begun and is_begun(units[0], ended_at, event.row["zone"]) else None


def with_time(
    study: Study, outcome: Episodic, name: str, units: list[Unit], events: list[Event]
) -> list[Unit]:
    """Units without those whose window of a name was cut where it begins."""
    [table] = [one for one in outcome.window if one.name == name]
    found = []
    for unit in units:
        kin = kin_of(study, outcome, unit, units, events)
        place = [one.key for one in kin].index(unit.key)
        window = window_of(study, outcome, table, place, kin, events)
        if window.merged_into is not None or not window.is_cut_at_its_start:
            found.append(window.unit if window.merged_into is None else unit)
    return found


def undated(
    study: Study,
    events: list[Event],
    outcome: Episodic,
    window: Window,
    name: str,
    units: list[Unit],
) -> list[dict[str, Any]]:
    """Rows of the reports without a start that are events of a window of this name."""
    names = [one.name for one in outcome.window]
    entered = "risk" if "risk" in names else names[0]
    if outcome.missing_start != "emergent" or name != entered:
        return []
    least = outcome.min_grade if isinstance(outcome, FeverOutcome) else 1
    kin = watched(outcome, units)
    open_units = with_time(study, outcome, name, kin, events)
    return [
        event.row
        for event in reports_of(events, outcome)
        if event.row["occurred_at"] is None
        and (event.row.get("grade") is None or event.row["grade"] >= least)
        and is_of(owner_of(event, kin, open_units), window)
    ]


def is_of(unit: Unit | None, window: Window) -> bool:
    return unit is not None and unit.key in {one.key for one in window.members}
