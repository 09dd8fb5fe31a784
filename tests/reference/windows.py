"""Sections 3, 4 and 6: a unit's windows, what cuts them, when they close, what lies in them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
from tests.reference.units import Unit, is_eligible, registration

Side = Literal["before", "after", "nowhere"]


@dataclass(frozen=True)
class Feeds:
    """Up to when each event type is complete, and the types that deliver nothing (quiet)."""

    through: dict[str, datetime]
    quiet: frozenset[str] = frozenset()


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
    #: Units whose windows are one in this; more than one under `merge` only.
    members: list[Unit] = field(default_factory=list)
    merged_into: Unit | None = None
    #: Windows whose events and time are not this one's.
    yields_to: list[Window] = field(default_factory=list)
    #: Of a control window, the unit's own risk window.
    own_risk: Window | None = None

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
        if self.is_yielded(placed):
            return False
        side = self.side(placed)
        if side == "nowhere" or (placed.is_day and self.is_in_own_risk(placed)):
            return False
        if side == "before":
            end = min(self.unit.start, self.hi if uncut else self.cut)
            return self.lo < end and meets(placed.on(self.axis), self.lo, end)
        if not uncut and placed.is_day and self.next_unit is not None:
            is_its_day = placed.first == self.next_unit.index_date
            if is_its_day and self.same_day in {"after", "exclude"}:
                return False
        return meets(placed.on(self.axis), self.lo, self.hi if uncut else self.cut)

    def is_in_own_risk(self, placed: When) -> bool:
        """A day that meets the unit's risk window too is in that alone."""
        own = self.own_risk
        return own is not None and own.holds(placed)

    def is_yielded(self, placed: When) -> bool:
        """Whether it lies in a window that this one gives way to."""
        return any(meets(placed.on(one.axis), one.lo, one.hi) for one in self.yields_to)

    def is_past(self, placed: When) -> bool:
        """Whether an event began before the window."""
        side = self.side(placed)
        if side in {"before", "nowhere"}:
            return side == "before" and self.lo >= self.unit.start
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


def kin_of(
    study: Study, outcome: OutcomeBase, unit: Unit, units: list[Unit], events: list[Event]
) -> list[Unit]:
    """Units that may own each other's events, in their order: of the class, or of all watched.

    Under `merge` those that may merge are placed by days where one of them is.
    """
    kin = [one for one in units if one.drug.drug_class == unit.drug.drug_class]
    if outcome.overlap_across_classes:
        kin = watched(outcome, units)
    if outcome.overlap != "merge":
        return kin
    may_merge = [one for one in kin if is_eligible(study, events, one)]
    if not any(one.axis == "day" for one in may_merge):
        return kin
    return [replace(one, axis="day") if one in may_merge else one for one in kin]


def watched(outcome: OutcomeBase, units: list[Unit]) -> list[Unit]:
    """Units of the classes that the outcome is watched after."""
    classes = outcome.drug_classes
    return [one for one in units if not classes or one.drug.drug_class in classes]


def uncut(outcome: OutcomeBase, table: WindowTable, unit: Unit) -> Window:
    """A unit's window as its table says."""
    lo, hi = bounds(table, unit)
    return Window(unit, None, outcome.same_day, lo, hi, hi, members=[unit])


def window_of(
    study: Study,
    outcome: OutcomeBase,
    table: WindowTable,
    place: int,
    kin: list[Unit],
    events: list[Event],
) -> Window:
    """A unit's window, cut by the next unit of its kin, by death or the end of observation."""
    unit = kin[place]
    overlap = outcome.overlap
    window = uncut(outcome, table, unit)
    if overlap == "merge":
        window = merged(study, outcome, table, unit, kin, events)
    cuts: list[tuple[int, int, str]] = []
    if overlap == "latest" and place + 1 < len(kin):
        window.next_unit = kin[place + 1]
        starts = window.next_unit.start_at, window.next_unit.index_date
        cut = micros(starts[0]) if unit.axis == "instant" else starts[1].toordinal()
        cuts.append((cut, 1, "next_unit"))
    cuts += ends_of_follow_up(unit, events)
    within = [one for one in cuts if one[0] < window.hi]
    cut, _, why = min(within) if within else (window.hi, 0, None)
    window.cut, window.cut_reason = max(cut, window.lo), why
    own = [one for one in outcome.window if one.name == "risk"]
    if table.name == "control" and own:
        window.own_risk = window_of(study, outcome, own[0], place, kin, events)
    if table.name == "control" and overlap == "merge":
        window.yields_to = risk_windows(study, outcome, unit, kin, events)
    return window


def ends_of_follow_up(unit: Unit, events: list[Event]) -> list[tuple[int, int, str]]:
    """Where death and the end of observation cut; rank; name."""
    cuts = []
    row = registration(events) or {}
    for name, rank, reason in [
        ("died_at", 0, "death"),
        ("observation_end_at", 2, "observation_end"),
    ]:
        moment = row.get(name)
        if moment is not None:
            cut = after_moment(moment, row["zone"], unit.axis)
            # What is told for the very moment of death still happened to the patient.
            still = 1 if reason == "death" and unit.axis == "instant" else 0
            cuts.append((cut + still, rank, reason))
    return cuts


def risk_windows(
    study: Study, outcome: OutcomeBase, unit: Unit, kin: list[Unit], events: list[Event]
) -> list[Window]:
    """Risk windows that a control window yields to: those of all that merge."""
    tables = [one for one in outcome.window if one.name == "risk"]
    if not is_eligible(study, events, unit):
        return []
    return [
        uncut(outcome, table, one)
        for table in tables
        for one in kin
        if is_eligible(study, events, one)
    ]


def merged(
    study: Study,
    outcome: OutcomeBase,
    table: WindowTable,
    unit: Unit,
    kin: list[Unit],
    events: list[Event],
) -> Window:
    """The window that all windows which share time with this one make together."""
    window = uncut(outcome, table, unit)
    if window.hi <= window.lo or not is_eligible(study, events, unit):
        return window
    group = [unit]
    while True:
        near = [
            one
            for one in kin
            if one not in group
            and is_eligible(study, events, one)
            and any(share_time(table, one, other) for other in group)
        ]
        if not near:
            break
        group += near
    group = [one for one in kin if one in group]
    first = group[0]
    if first is not unit:
        window.merged_into = first
        return window
    spans = [bounds(table, one) for one in group]
    lo, hi = min(span[0] for span in spans), max(span[1] for span in spans)
    return Window(first, None, outcome.same_day, lo, hi, hi, members=group)


def share_time(table: WindowTable, one: Unit, other: Unit) -> bool:
    """Whether two windows have a moment in common."""
    (lo, hi), (other_lo, other_hi) = bounds(table, one), bounds(table, other)
    return max(lo, other_lo) < min(hi, other_hi)


def is_superseded(window: Window) -> bool:
    """By days, the earlier of two units on one date (`latest` only)."""
    other = window.next_unit
    return window.axis == "day" and other is not None and other.index_date == window.unit.index_date


def closes_at(study: Study, outcome: Outcome, window: Window, name: str, zone: str) -> datetime:
    """The uncut end up to which feeds must be complete; of merged windows, the last."""
    ends = []
    for unit in window.members:
        [table] = [one for one in outcome.window if one.name == name]
        _, hi = bounds(table, unit)
        is_instant = unit.axis == "instant"
        end = instant_of(hi) if is_instant else midnight(date.fromordinal(hi), zone)
        hours = study.model.administration.max_infusion_hours if unit.is_running else 0
        ends.append(end + timedelta(hours=hours))
    return max(ends)


def is_closed(
    study: Study, outcome: Outcome, window: Window, name: str, zone: str, feeds: Feeds
) -> bool:
    """Whether every feed that the outcome needs is complete past the uncut end."""
    model, end_at = study.model, closes_at(study, outcome, window, name, zone)
    needed = set(study.reads(outcome))
    either = {"AdverseEventReported", "DiagnosisRecorded"}
    if either & needed and not either & set(feeds.through):
        return False
    for event_type in needed:
        if event_type in either and event_type not in feeds.through:
            continue
        lag = timedelta(hours=model.follow_up.settle_lag_hours.get(event_type, 0))
        through = feeds.through.get(event_type)
        if through is None or event_type in feeds.quiet or through < end_at + lag:
            return False
    return True
