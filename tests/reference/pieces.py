"""Sections 5 and 8: what is evidence of symptoms, fever and fast hearts, and when each ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import cache
from math import floor
from typing import Any

from studies.analytes import analytes
from studies.load import Study
from studies.outcomes import Episodic, FeverOutcome, VitalLimitOutcome
from tests.reference.clock import When, length, local_date, midnight
from tests.reference.events import Event
from tests.reference.units import age_months
from tests.reference.windows import Window


@dataclass(frozen=True)
class End:
    """When something was over, as an instant and as a local date; of days, only that."""

    at: datetime
    day: date
    is_day: bool = False


@dataclass
class Piece:
    """One piece of evidence of an outcome.

    Attributes:
        when: its onset, which says in which window it lies.
        span: from onset to end, which says how far apart it is from others.
        grade: its grade, if it has one.
        over: when it is taken to have ended; None: never.
        row: the report that tells of it, if one does.
        own_same_day: on which side of an infusion of its day it lies, whatever the outcome says:
            readings known by their day and problem lists lie before.
        is_chronic: whether its code is one that never resolves.
    """

    when: When
    span: When
    grade: int | None
    over: End | None
    own_same_day: str | None = None
    row: dict[str, Any] | None = None
    is_chronic: bool = False


@cache
def exact(number: float) -> Fraction:
    """A number as it was written down, without the error of binary."""
    return Fraction(str(number))


@cache
def canonical(concept: str, value: float, unit: str) -> Fraction | None:
    """A value in the concept's canonical unit; None where the unit is unknown."""
    for row in analytes():
        if (row.concept, row.unit) == (concept, unit):
            if row.to_canonical_offset:  # degrees Fahrenheit: the only scale with an offset
                return (exact(value) - 32) * Fraction(5, 9)
            return exact(value) * exact(row.to_canonical_factor)
    return None


def is_reading(event: Event) -> bool:
    """Whether a vital sign has a number in a unit known for it."""
    value, unit = event.row["value"], event.row["unit"]
    return value is not None and any(
        canonical(concept, value, unit) is not None for concept in event.concepts
    )


def readings(events: list[Event], concept: str) -> list[tuple[When, Fraction]]:
    """Readings of a vital sign with a number in a known unit, in order of time."""
    found = []
    for event in events:
        if event.when is None or not event.means([concept]) or event.row["value"] is None:
            continue
        value = canonical(concept, event.row["value"], event.row["unit"])
        if value is not None:
            found.append((event.when, value))
    return sorted(found, key=lambda one: (one[0].at, one[1]))


def reports_of(events: list[Event], outcome: Episodic) -> list[Event]:
    """Reports and codes of an outcome, dated or not."""
    return [one for one in events if one.means(outcome.report_concepts) and not one.is_never]


def reports(events: list[Event], outcome: Episodic) -> list[Piece]:
    """Reports and codes; one without an end ends when it is assumed to."""
    found = []
    for event in reports_of(events, outcome):
        if event.when is None or event.span is None or not event.means(outcome.report_concepts):
            continue
        told, over = event.row.get("ended_at"), None
        is_chronic = event.means(outcome.chronic_concepts)
        if told is not None:
            day = local_date(told, event.row["zone"])
            over = End(told, day, told == midnight(day, event.row["zone"]))
        elif not is_chronic:
            over = ends_after(event.when, outcome.assume_resolved_days * 24)
        own = "before" if event.row.get("category") == "problem-list" else None
        grade = event.row.get("grade")
        found.append(Piece(event.when, event.span, grade, over, own, event.row, is_chronic))
    return found


def ends_after(onset: When, hours: float) -> End:
    """So long after an onset; in days, by rounding up."""
    day = onset.first + timedelta(days=length(hours, "day"))
    return End(onset.at + timedelta(hours=hours), day, onset.is_day)


def reading_ends(outcome: Episodic, onset: When, lower: list[When], *, by_days: bool) -> End:
    """At the first later reading below the cut within the gap, else after the gap."""
    gap = outcome.same_episode_gap_hours
    if gap == "none":
        return End(onset.at, onset.first, onset.is_day)
    below = []
    for one in lower:
        if by_days or onset.is_day or one.is_day:
            is_within = 0 < (one.first - onset.first).days <= length(gap, "day")
        else:
            is_within = one.at - onset.at <= timedelta(hours=gap)
        if is_within:
            below.append(End(one.at, one.first, one.is_day))
    return min(below, key=lambda one: one.at, default=ends_after(onset, gap))


def tenth(celsius: Fraction) -> Fraction:
    """Rounded to 0.1, halves up."""
    return Fraction(floor(celsius * 10 + Fraction(1, 2)), 10)


def fever_grade(place: int, readings: list[tuple[When, Fraction]]) -> int:
    """CTCAE grade that a reading shows, in the light of those before it."""
    placed, value = readings[place]
    for grade, limit in ((2, 39), (1, 38)):
        if value <= 40 and (value > limit or (grade == 1 and value >= limit)):
            return grade
    if value <= 40:
        return 0
    for earlier, other in reversed(readings[:place]):
        if other <= 40 and earlier.at < placed.at:
            return 3
        if other > 40 and placed.at - earlier.at >= timedelta(hours=24):
            return 4
    return 3


def fever_pieces(study: Study, events: list[Event], outcome: FeverOutcome) -> list[Piece]:
    """Readings of 38.0 and more; each is over at the first later reading below, or in 72 h."""
    rounded = [(at, tenth(value)) for at, value in readings(events, outcome.concept)]
    found = []
    for place, (placed, value) in enumerate(rounded):
        if value < 38:
            continue
        below = [later for later, other in rounded[place + 1 :] if other < 38]
        over = reading_ends(outcome, placed, below, by_days=study.model.study.resolution == "day")
        own = "before" if placed.is_day else None
        found.append(Piece(placed, placed, fever_grade(place, rounded), over, own))
    return found


def vital_limit(
    study: Study, events: list[Event], outcome: VitalLimitOutcome, window: Window
) -> int | None:
    age = age_months(events, window.unit)
    for row in study.limits[outcome.limits]:
        if age is not None and int(row["from_months"]) <= age < int(row["until_months"]):
            return int(row["high"])
    return None


def confirmed_pieces(
    study: Study, events: list[Event], outcome: VitalLimitOutcome, window: Window
) -> list[Piece]:
    """Readings above the limit and the child's own, that another one half an hour away confirms.

    Those known by their day are not read: half an hour cannot be told between days.
    """
    limit = vital_limit(study, events, outcome, window)
    if limit is None:
        return []
    all_readings = [one for one in readings(events, outcome.concept) if not one[0].is_day]
    before = [(at, value) for at, value in all_readings if at.at < window.index.start_at]
    own = before[-1][1] if before else None
    rise = 1 + exact(outcome.rise_percent) / 100
    settled = window.index.start_at + timedelta(minutes=outcome.settle_minutes)
    high = [
        placed
        for placed, value in all_readings
        if window.holds(placed)
        and not (window.index.is_day_known and placed.first == window.unit.index_date)
        and placed.at >= settled
        and value > limit
        and (own is None or value >= own * rise)
    ]
    apart = timedelta(minutes=outcome.confirm_minutes)
    by_days = study.model.study.resolution == "day"
    return [
        Piece(
            one,
            one,
            None,
            reading_ends(outcome, one, lower_after(all_readings, one, limit), by_days=by_days),
        )
        for one in high
        if any(abs(other.at - one.at) >= apart for other in high)
    ]


def lower_after(readings: list[tuple[When, Fraction]], high: When, limit: int) -> list[When]:
    return [placed for placed, value in readings if placed.at > high.at and value <= limit]


def pieces_of(study: Study, events: list[Event], outcome: Episodic, window: Window) -> list[Piece]:
    found = reports(events, outcome)
    if isinstance(outcome, FeverOutcome):
        found += fever_pieces(study, events, outcome)
    if isinstance(outcome, VitalLimitOutcome):
        found += confirmed_pieces(study, events, outcome, window)
    return sorted(found, key=lambda one: one.when.at)
