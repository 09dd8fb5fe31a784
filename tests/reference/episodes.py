"""Sections 5 and 8: symptoms, fever and vital limits of one unit's window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from math import floor

from studies.analytes import analytes
from studies.load import Study
from studies.outcomes import Episodic, FeverOutcome, VitalLimitOutcome
from tests.reference.clock import When, length, meets
from tests.reference.events import Event
from tests.reference.units import age_months
from tests.reference.windows import Window

CONTACTS = {
    "AdverseEventReported",
    "EncounterOccurred",
}
SEEN_AFTER_HOURS = 6


@dataclass
class Piece:
    """One piece of evidence of an outcome.

    Attributes:
        when: its onset, which says in which window it lies.
        span: from onset to end, which says how far apart it is from others.
        grade: its grade, if it has one.
        over: when it is taken to have ended, if ever.
        own_same_day: on which side of an infusion of its day it lies, whatever the outcome says:
            readings known by their day and problem lists lie before.
    """

    when: When
    span: When
    grade: int | None
    over: datetime | None
    own_same_day: str | None = None


@dataclass
class Found:
    """What an episodic outcome says of a window."""

    onset: When | None = None
    grade: int | None = None
    is_worsened: bool = False
    is_pre_existing: bool = False


def exact(number: float) -> Fraction:
    """A number as it was written down, without the error of binary."""
    return Fraction(str(number))


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


def reports(events: list[Event], outcome: Episodic) -> list[Piece]:
    """Reports and codes; one without an end ends when it is assumed to."""
    found = []
    for event in events:
        if event.when is None or event.span is None or not event.means(outcome.report_concepts):
            continue
        over = event.row.get("ended_at")
        if over is None and not event.means(outcome.chronic_concepts):
            over = event.span.at + timedelta(days=outcome.assume_resolved_days)
        own = "before" if event.row.get("category") == "problem-list" else None
        found.append(Piece(event.when, event.span, event.row.get("grade"), over, own))
    return found


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


def fever_pieces(events: list[Event], outcome: FeverOutcome) -> list[Piece]:
    """Readings of 38.0 and more; each is over at the first later reading below, or in 72 h."""
    rounded = [(at, tenth(value)) for at, value in readings(events, outcome.concept)]
    found = []
    for place, (placed, value) in enumerate(rounded):
        if value < 38:
            continue
        below = [later.at for later, other in rounded[place + 1 :] if other < 38]
        limit = placed.at + timedelta(hours=outcome.same_episode_gap_hours)
        over = min([*below, limit])
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
    before = [(at, value) for at, value in all_readings if at.at < window.unit.start_at]
    own = before[-1][1] if before else None
    rise = 1 + exact(outcome.rise_percent) / 100
    settled = window.unit.start_at + timedelta(minutes=outcome.settle_minutes)
    high = [
        placed
        for placed, value in all_readings
        if window.holds(placed)
        and not (window.unit.is_day_known and placed.first == window.unit.index_date)
        and placed.at >= settled
        and value > limit
        and (own is None or value >= own * rise)
    ]
    apart = timedelta(minutes=outcome.confirm_minutes)
    return [
        Piece(one, one, None, None)
        for one in high
        if any(abs(other.at - one.at) >= apart for other in high)
    ]


def pieces_of(study: Study, events: list[Event], outcome: Episodic, window: Window) -> list[Piece]:
    found = reports(events, outcome)
    if isinstance(outcome, FeverOutcome):
        found += fever_pieces(events, outcome)
    if isinstance(outcome, VitalLimitOutcome):
        found += confirmed_pieces(study, events, outcome, window)
    return sorted(found, key=lambda one: one.when.at)


def are_near(one: Piece, later: Piece, hours: float, *, by_days: bool) -> bool:
    """At most the gap apart; where a day is all that is known of either, by dates."""
    if by_days or one.when.is_day or later.when.is_day:
        return (later.when.first - one.span.last).days <= length(hours, "day")
    return later.when.at - one.span.until <= timedelta(hours=hours)


def episodes_of(pieces: list[Piece], gap: float, *, by_days: bool) -> list[list[Piece]]:
    """Pieces at most the gap apart are one event."""
    found: list[list[Piece]] = []
    for piece in pieces:
        if found and any(are_near(one, piece, gap, by_days=by_days) for one in found[-1]):
            found[-1].append(piece)
        else:
            found.append([piece])
    return found


def worst_of(grades: list[int | None]) -> int | None:
    return max((one for one in grades if one is not None), default=None)


def worst(pieces: list[Piece]) -> int | None:
    return worst_of([one.grade for one in pieces])


def is_ongoing(earlier: list[Piece], onset: When) -> bool:
    """Whether an earlier event had not ended when a later one began."""
    return any(piece.over is None or piece.over > onset.at for piece in earlier)


def somewhere(pieces: list[Piece], window: Window) -> list[Piece]:
    """Without pieces of an excluded day, which still tie the others to one event."""
    return [one for one in pieces if seen_by(window, one).side(one.when) != "nowhere"]


def seen_by(window: Window, piece: Piece) -> Window:
    """The window with the piece's own rule for the infusion's day."""
    return replace(window, same_day=piece.own_same_day or window.same_day)


def judge_one(place: int, episodes: list[list[Piece]], window: Window) -> Found | None:
    """Whether one event is treatment-emergent; None if nothing of it is in the window."""
    pieces = somewhere(episodes[place], window)
    inside = [one for one in pieces if seen_by(window, one).holds(one.when)]
    past = [one for one in pieces if seen_by(window, one).is_past(one.when)]
    if not inside:
        return None
    grade, first = worst(inside), inside[0].when
    if past:
        was = worst(past)
        if grade is None or was is None or grade <= was:
            return Found(is_pre_existing=True, grade=grade)
        worse = next(one.when for one in inside if (one.grade or 0) > was)
        return Found(worse, grade, is_worsened=True)
    others = [somewhere(other, window) for other in episodes[:place]]
    ongoing = [worst(other) for other in others if is_ongoing(other, first)]
    graded = [was for was in ongoing if was is not None]
    if grade is not None and graded and grade <= max(graded):
        return Found(is_pre_existing=True, grade=grade)
    return Found(first, grade)


def judge(episodes: list[list[Piece]], window: Window, min_grade: int) -> Found:
    """Treatment-emergent events of a window: the first one's onset, and the worst grade."""
    each = [judge_one(place, episodes, window) for place in range(len(episodes))]
    found = [one for one in each if one and (one.grade is None or one.grade >= min_grade)]
    is_pre_existing = any(one.is_pre_existing for one in found)
    events = [(one.onset, one) for one in found if one.onset is not None]
    if not events:
        return Found(is_pre_existing=is_pre_existing)
    onset, first = min(events, key=lambda one: one[0].at)
    grade = worst_of([one.grade for _, one in events])
    return Found(onset, grade, first.is_worsened, is_pre_existing)


def is_seen(study: Study, events: list[Event], window: Window) -> bool:
    """A reading, contact or report from six hours after the end to the window's end.

    A vital sign of the study is a reading where it has a number in a known unit. A diagnosis code
    is a report where an outcome of the study reads it as one.
    """
    outcomes = [one for one in study.model.outcome if isinstance(one, Episodic)]
    since = max(window.lo, window.unit.end + length(SEEN_AFTER_HOURS, window.axis))
    codes = {name for one in outcomes for name in one.report_concepts}
    contacts = [
        one
        for one in events
        if one.type in CONTACTS
        or (one.type == "VitalSignMeasured" and is_reading(one))
        or (one.type == "DiagnosisRecorded" and one.means(list(codes)))
    ]
    times = [one.span if one.type == "EncounterOccurred" else one.when for one in contacts]
    return any(one is not None and meets(one.on(window.axis), since, window.cut) for one in times)


def judge_episodic(study: Study, events: list[Event], outcome: Episodic, window: Window) -> Found:
    pieces = pieces_of(study, events, outcome, window)
    min_grade = outcome.min_grade if isinstance(outcome, FeverOutcome) else 1
    by_days = study.model.study.resolution == "day"
    gap = outcome.same_episode_gap_hours
    return judge(episodes_of(pieces, gap, by_days=by_days), window, min_grade)
