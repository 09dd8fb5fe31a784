"""Sections 3, 4 and 6: a unit's windows, what cuts them, when they close, what lies in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from studies.load import Study
from studies.outcomes import Outcome, OutcomeBase, WindowTable
from tests.reference.clock import (
    Axis,
    When,
    instant_of,
    length,
    local_date,
    meets,
    micros,
    midnight,
)
from tests.reference.events import Event
from tests.reference.units import Unit, registration

Side = Literal["before", "after", "nowhere"]


@dataclass
class Window:
    """One window of one unit, `[lo, hi)` on the unit's axis; `cut` is where it really ends."""

    unit: Unit
    next_unit: Unit | None
    same_day: str
    lo: int
    hi: int
    cut: int
    cut_reason: str | None = None

    @property
    def axis(self) -> Axis:
        return self.unit.axis

    def side(self, placed: When) -> Side | None:
        """On which side of the index an event of its own date falls, where that must be said."""
        is_vague = placed.is_day or self.axis == "day"
        if not is_vague or placed.first != self.unit.index_date:
            return None
        if self.same_day == "exclude":
            return "nowhere"
        return "before" if self.same_day == "before" else "after"

    def holds(self, placed: When, *, uncut: bool = False) -> bool:
        """Whether an event is in the window."""
        if self.side(placed) in {"before", "nowhere"}:
            return False
        if not uncut and placed.is_day and self.next_unit is not None:
            is_its_day = placed.first == self.next_unit.index_date
            if is_its_day and self.same_day in {"after", "exclude"}:
                return False
        return meets(placed.on(self.axis), self.lo, self.hi if uncut else self.cut)

    def is_past(self, placed: When) -> bool:
        """Whether an event began before the window."""
        side = self.side(placed)
        if side in {"before", "nowhere"}:
            return side == "before"
        lo, hi = placed.on(self.axis)
        return hi <= self.lo and lo < self.lo


def offset(anchor: str, hours: float, unit: Unit) -> int:
    return (unit.start if anchor == "start" else unit.end) + length(hours, unit.axis)


def bounds(table: WindowTable, unit: Unit) -> tuple[int, int]:
    """`[lo, hi)`: the last day of a closed window of days is in it."""
    lo = offset(table.start_anchor, table.start_offset_hours, unit)
    hi = offset(table.end_anchor, table.end_offset_hours, unit)
    return lo, hi + (1 if unit.axis == "day" else 0)


def after_moment(moment: datetime, zone: str, axis: Axis) -> int:
    """First number that lies beyond the end of follow-up; its own day is still followed."""
    if axis == "instant":
        # Told as midnight it is known by its day, and the whole day belongs to follow-up.
        day = local_date(moment, zone)
        is_day = moment == midnight(day, zone)
        return micros(midnight(day + timedelta(days=1), zone) if is_day else moment)
    return local_date(moment, zone).toordinal() + 1


def window_of(
    outcome: OutcomeBase, table: WindowTable, unit: Unit, units: list[Unit], events: list[Event]
) -> Window:
    """A unit's window, cut by the next unit of its class, by death or the end of observation."""
    lo, hi = bounds(table, unit)
    kin = [one for one in units if one.drug.drug_class == unit.drug.drug_class]
    place = kin.index(unit)
    next_unit = kin[place + 1] if place + 1 < len(kin) else None
    cuts: list[tuple[int, int, str]] = []
    if next_unit is not None:
        starts = next_unit.start_at, next_unit.index_date
        cut = micros(starts[0]) if unit.axis == "instant" else starts[1].toordinal()
        cuts.append((cut, 1, "next_unit"))
    row = registration(events) or {}
    for field, rank, reason in [
        ("died_at", 0, "death"),
        ("observation_end_at", 2, "observation_end"),
    ]:
        moment = row.get(field)
        if moment is not None:
            cut = after_moment(moment, row["zone"], unit.axis)
            # What is told for the very moment of death still happened to the patient.
            still = 1 if reason == "death" and unit.axis == "instant" else 0
            cuts.append((cut + still, rank, reason))
    within = [one for one in cuts if one[0] < hi]
    cut, _, why = min(within) if within else (hi, 0, None)
    return Window(unit, next_unit, outcome.same_day, lo, hi, max(cut, lo), why)


def is_superseded(window: Window) -> bool:
    """By days, the earlier of two units on one date."""
    other = window.next_unit
    return window.axis == "day" and other is not None and other.index_date == window.unit.index_date


def is_closed(
    study: Study, outcome: Outcome, window: Window, zone: str, through: dict[str, datetime]
) -> bool:
    """Whether every feed that the outcome needs is complete past the uncut end."""
    model = study.model
    end = window.hi
    is_instant = window.axis == "instant"
    end_at = instant_of(end) if is_instant else midnight(date.fromordinal(end), zone)
    if window.unit.is_running:
        end_at += timedelta(hours=model.administration.max_infusion_hours)
    needed = set(study.reads(outcome))
    either = {"AdverseEventReported", "DiagnosisRecorded"}
    if either & needed and not either & set(through):
        return False
    for event_type in needed:
        if event_type in either and event_type not in through:
            continue
        lag = timedelta(hours=model.follow_up.settle_lag_hours.get(event_type, 0))
        if event_type not in through or through[event_type] < end_at + lag:
            return False
    return True
