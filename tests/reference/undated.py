"""Section 1: reports and codes without a start, where the study takes them to be emergent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from studies.load import Study
from studies.outcomes import Episodic, FeverOutcome
from tests.reference.clock import local_date
from tests.reference.events import Event
from tests.reference.pieces import reports_of
from tests.reference.units import Unit
from tests.reference.windows import Window, watched


def is_begun(unit: Unit, ended_at: datetime, zone: str) -> bool:
    """Whether a unit's index is at or before an end; by date, where its hour is not known."""
    if unit.axis == "day":
        return unit.index_date <= local_date(ended_at, zone)
    return unit.start_at <= ended_at


def owner_of(event: Event, units: list[Unit]) -> Unit | None:
    """The latest unit begun by its end; without an end the first; None if it was over before."""
    ended_at = event.row.get("ended_at")
    if ended_at is None:
        return units[0]
    begun = [one for one in units if is_begun(one, ended_at, event.row["zone"])]
    return begun[-1] if begun and is_begun(units[0], ended_at, event.row["zone"]) else None


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
    return [
        event.row
        for event in reports_of(study, events, outcome)
        if event.row["occurred_at"] is None
        and (event.row.get("grade") is None or event.row["grade"] >= least)
        and is_of(owner_of(event, kin), window)
    ]


def is_of(unit: Unit | None, window: Window) -> bool:
    return unit is not None and unit.key in {one.key for one in window.members}
