"""Sections 1, 3 and 4: a unit's windows, and what lies in them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Literal

from studies.load import Study
from studies.outcomes import LabOutcome, OutcomeBase, WindowTable
from tests.reference.clock import Axis, When, length, meets, micros
from tests.reference.units import Unit

Side = Literal["before", "after", "nowhere"]


@dataclass(frozen=True)
class Index:
    """Where a unit begins, as far as what lies before and after it is asked."""

    start_at: datetime
    day: date
    is_day_known: bool


def index_of(unit: Unit, kin: list[Unit], overlap: str) -> Index:
    """A unit's start; by days, under `latest`, the first start of all units of its date."""
    same = [unit]
    if overlap == "latest" and unit.axis == "day":
        same = [one for one in kin if one.index_date == unit.index_date]
    start = min(one.start_at for one in same)
    return Index(start, unit.index_date, any(one.is_day_known for one in same))


def is_before(start: datetime, placed: When, grace: timedelta | None) -> bool:
    """Whether an hour lies before a start; a draw is so up to the end of its grace."""
    return placed.at < start if grace is None else placed.at <= start + grace


def side_of(index: Index, placed: When, same_day: str, grace: timedelta | None) -> Side | None:
    """On which side of a unit's start an event of its date falls; None on another date.

    By the hour where both are known by it, else as the outcome's `same_day` says.
    """
    is_hour_known = not (placed.is_day or index.is_day_known)
    if placed.first != index.day:
        is_drawn_late = is_hour_known and grace is not None and placed.at > index.start_at
        return "before" if is_drawn_late and is_before(index.start_at, placed, grace) else None
    if is_hour_known:
        return "before" if is_before(index.start_at, placed, grace) else "after"
    if same_day == "exclude":
        return "nowhere"
    return "before" if same_day == "before" else "after"


@dataclass
class Window:
    """One window of one unit, `[lo, hi)` on the unit's axis; `cut` is where it really ends.

    Attributes:
        end: where it would end without a next unit.
        grace: of laboratory outcomes, how long after the start a draw is baseline still.
        members: units whose windows are one in this; more than one under `merge` only.
        yields_to: windows whose events and time are not this one's.
    """

    unit: Unit
    index: Index
    same_day: str
    lo: int
    hi: int
    cut: int
    end: int
    grace: timedelta | None = None
    next_unit: Unit | None = None
    next_index: Index | None = None
    cut_reason: str | None = None
    members: list[Unit] = field(default_factory=list)
    merged_into: Unit | None = None
    yields_to: list[Window] = field(default_factory=list)

    @property
    def axis(self) -> Axis:
        return self.unit.axis

    @property
    def is_cut_at_its_start(self) -> bool:
        return self.cut <= self.lo and self.cut_reason is not None

    def side(self, placed: When) -> Side | None:
        """On which side of the index an event of its date falls."""
        return side_of(self.index, placed, self.same_day, self.grace)

    def holds(self, placed: When, *, uncut: bool = False) -> bool:
        """Whether an event is in the window."""
        if self.is_yielded(placed):
            return False
        return self.spans(placed, self.hi if uncut else self.end_for(placed))

    def spans(self, placed: When, end: int) -> bool:
        """Whether an event is in the window if it ends there."""
        side = self.side(placed)
        if side == "nowhere":
            return False
        if side == "before":
            end = min(self.unit.start, end)
        return self.lo < end and meets(placed.on(self.axis), self.lo, end)

    def end_for(self, placed: When) -> int:
        """Where the window ends for an event: what lies before the next unit is not the next's."""
        if self.next_unit is None or self.next_index is None:
            return self.cut
        if starts_at(self.next_unit, self.axis) <= self.unit.start:
            return self.cut
        side = side_of(self.next_index, placed, self.same_day, self.grace)
        if side == "before":
            # A day that is before it lies between midnight and its start, of draws its grace.
            is_clear = placed.is_day and not self.next_index.is_day_known
            start = starts_at(self.next_unit, self.axis)
            if self.grace is not None:
                start += self.grace // timedelta(microseconds=1) + 1
            return min(self.end, start) if is_clear and self.axis == "instant" else self.end
        is_its_own = placed.is_day or self.next_index.is_day_known
        if is_its_own and placed.first == self.next_index.day:
            return self.lo
        return self.cut

    def is_yielded(self, placed: When) -> bool:
        """Whether it is in a window that this one gives way to, or shares time with it.

        On the infusion's day it lies for that window on the side where it lies for this one.
        """
        others = [replace(one, same_day=self.same_day) for one in self.yields_to]
        return any(
            one.shares_time(placed, is_own=one.unit is self.unit) or one.holds(placed)
            for one in others
        )

    def shares_time(self, placed: When, *, is_own: bool) -> bool:
        """As instants, what falls before the own start lies between midnight and the start."""
        end = self.cut
        if is_own and self.axis == "instant" and self.side(placed) == "before":
            end = min(end, self.unit.start)
        return meets(placed.on(self.axis), self.lo, end)

    def is_past(self, placed: When) -> bool:
        """Whether an event began before the window."""
        side = self.side(placed)
        is_by_hour = self.axis == "instant" and not placed.is_day
        if side == "nowhere":
            return False
        if side == "before" and not is_by_hour:
            return self.lo >= self.unit.start
        lo, hi = placed.on(self.axis)
        return hi <= self.lo and lo < self.lo


def grace_of(study: Study, outcome: OutcomeBase) -> timedelta | None:
    """How long after the start a draw is baseline still; None of what is not drawn."""
    minutes = study.model.administration.baseline_grace_minutes
    return timedelta(minutes=minutes) if isinstance(outcome, LabOutcome) else None


def offset(anchor: str, hours: float, unit: Unit) -> int:
    return (unit.start if anchor == "start" else unit.end) + length(hours, unit.axis)


def bounds(table: WindowTable, unit: Unit) -> tuple[int, int]:
    """`[lo, hi)`: the last day of a closed window of days is in it."""
    lo = offset(table.start_anchor, table.start_offset_hours, unit)
    hi = offset(table.end_anchor, table.end_offset_hours, unit)
    return lo, hi + (1 if unit.axis == "day" else 0)


def uncut(study: Study, outcome: OutcomeBase, table: WindowTable, unit: Unit) -> Window:
    """A unit's window as its table says."""
    lo, hi = bounds(table, unit)
    grace = grace_of(study, outcome)
    index = index_of(unit, [unit], outcome.overlap)
    return Window(unit, index, outcome.same_day, lo, hi, hi, hi, grace, members=[unit])


def starts_at(unit: Unit, axis: Axis) -> int:
    """The start of a unit on the axis of another."""
    return micros(unit.start_at) if axis == "instant" else unit.index_date.toordinal()
