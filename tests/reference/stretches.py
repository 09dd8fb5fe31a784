"""Sections 5: time at risk, in stretches `[lo, hi)` of whole microseconds or days."""

from __future__ import annotations

from datetime import date

from tests.reference.clock import (
    Axis,
    Stretch,
    When,
    instant_of,
    local_date,
    micros,
    midnight,
)
from tests.reference.events import Event
from tests.reference.units import begins_record
from tests.reference.windows import Window

Stretches = list[Stretch]
PER_DAY = {"instant": 86_400_000_000, "day": 1}


def without(stretches: Stretches, holes: Stretches) -> Stretches:
    """Stretches with every hole taken out."""
    for lo, hi in holes:
        left = [(at, min(until, lo)) for at, until in stretches]
        right = [(max(at, hi), until) for at, until in stretches]
        whole = stretches if hi <= lo else left + right
        stretches = [(at, until) for at, until in whole if at < until]
    return stretches


def before(stretches: Stretches, end: int) -> Stretches:
    return [(at, min(until, end)) for at, until in stretches if at < end]


def days(stretches: Stretches, axis: Axis) -> float:
    return sum(until - at for at, until in stretches) / PER_DAY[axis]


def record_start(events: list[Event], axis: Axis) -> int | None:
    """When the record begins; None where nothing begins it."""
    starts = [one.when.on(axis)[0] for one in events if one.when is not None and begins_record(one)]
    return min(starts, default=None)


def on_axis(window: Window, axis: Axis, zone: str) -> Stretch:
    """A window as cut on the axis of another; by days, every day that it shares."""
    if window.axis == axis or window.lo >= window.cut:
        return window.lo, window.cut
    if axis == "instant":
        lo, cut = (midnight(date.fromordinal(one), zone) for one in (window.lo, window.cut))
        return micros(lo), micros(cut)
    first, last = (local_date(instant_of(one), zone) for one in (window.lo, window.cut - 1))
    return first.toordinal(), last.toordinal() + 1


def at_risk(window: Window, record: int | None, zone: str) -> Stretches:
    """The window without what lies before the record, beyond its cut, or in another's window."""
    lo = window.lo if record is None else max(window.lo, record)
    whole = [(lo, window.cut)] if lo < window.cut else []
    return without(whole, [on_axis(one, window.axis, zone) for one in window.yields_to])


def ends_at(onset: When) -> int:
    """Where the time before an event ends: of one known by its day, where that day begins."""
    return onset.on("instant")[0]
