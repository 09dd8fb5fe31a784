"""Section 4: which units own each other's events, and what cuts and merges their windows."""

from __future__ import annotations

from dataclasses import replace

from studies.load import Study
from studies.outcomes import OutcomeBase, WindowTable
from tests.reference.events import Event
from tests.reference.follow_up import ends_of_follow_up
from tests.reference.units import Unit, is_eligible
from tests.reference.windows import Window, bounds, index_of, starts_at, uncut


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
    window = uncut(study, outcome, table, unit)
    if overlap == "merge":
        window = merged(study, outcome, table, unit, kin, events)
    window.index = index_of(unit, kin, overlap)
    cuts = [one for one in ends_of_follow_up(study, unit, events) if one[0] < window.hi]
    window.end = max(min(cuts, default=(window.hi,))[0], window.lo)
    if overlap == "latest" and place + 1 < len(kin):
        window.next_unit = kin[place + 1]
        window.next_index = index_of(kin[place + 1], kin, overlap)
        cuts.append((starts_at(window.next_unit, unit.axis), 1, "next_unit"))
    within = [one for one in cuts if one[0] < window.hi]
    cut, _, why = min(within) if within else (window.hi, 0, None)
    window.cut, window.cut_reason = max(cut, window.lo), why
    if table.name == "control":
        window.yields_to = risk_windows(study, outcome, unit, kin, events)
    return window


def risk_windows(
    study: Study, outcome: OutcomeBase, unit: Unit, kin: list[Unit], events: list[Event]
) -> list[Window]:
    """Risk windows, as cut, that a control window yields to: of all that merge, or compete."""
    tables = [one for one in outcome.window if one.name == "risk"]
    own = list(range(len(kin)))
    if outcome.overlap == "merge":
        if not is_eligible(study, events, unit):
            return []
        own = [place for place in own if is_eligible(study, events, kin[place])]
    found = [
        window_of(study, outcome, table, place, kin, events) for table in tables for place in own
    ]
    return [one for one in found if one.merged_into is None]


def merged(
    study: Study,
    outcome: OutcomeBase,
    table: WindowTable,
    unit: Unit,
    kin: list[Unit],
    events: list[Event],
) -> Window:
    """The window that all windows which share time with this one make together."""
    window = uncut(study, outcome, table, unit)
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
    return replace(window, lo=lo, hi=hi, cut=hi, end=hi, members=group)


def share_time(table: WindowTable, one: Unit, other: Unit) -> bool:
    """Whether two windows have a moment in common."""
    (lo, hi), (other_lo, other_hi) = bounds(table, one), bounds(table, other)
    return max(lo, other_lo) < min(hi, other_hi)


def is_superseded(window: Window) -> bool:
    """By days, the earlier of two units on one date (`latest` only)."""
    other = window.next_unit
    return window.axis == "day" and other is not None and other.index_date == window.unit.index_date
