"""Sections 5 and 8: which pieces of evidence are one event, and which events are of a window."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import floor
from typing import Any, Literal

from studies.load import Study
from studies.outcomes import Episodic, FeverOutcome
from tests.reference.clock import Axis, When, length, meets, micros, midnight
from tests.reference.events import Event
from tests.reference.follow_up import is_code_read
from tests.reference.pieces import End, Piece, is_reading, pieces_of
from tests.reference.stretches import Stretches
from tests.reference.windows import Window

CONTACTS = {
    "AdverseEventReported",
    "EncounterOccurred",
}
Gap = float | Literal["none"]


@dataclass
class Found:
    """What an episodic outcome says of a window.

    Attributes:
        evidence: rows of the reports that count as evidence of its events.
        n_events, n_events_uncleaned: events of the window, with and without clean windows.
        taken: stretches that clean windows take from the time at risk.
    """

    onset: When | None = None
    grade: int | None = None
    is_worsened: bool = False
    is_pre_existing: bool = False
    is_in_clean_window: bool = False
    evidence: list[dict[str, Any]] = field(default_factory=list)
    n_events: int = 0
    n_events_uncleaned: int = 0
    taken: Stretches = field(default_factory=list)


@dataclass
class Episode:
    """Pieces that are one event, wherever they lie."""

    pieces: list[Piece]

    @property
    def onset(self) -> When:
        return self.pieces[0].when

    @property
    def grade(self) -> int | None:
        return worst(self.pieces)

    @property
    def end(self) -> End | None:
        """The latest end of its pieces, a day later than its hours; None if one never ends."""
        ends = [one.over for one in self.pieces]
        known = [one for one in ends if one is not None]
        latest = max(known, key=lambda one: (one.day, one.is_day, one.at), default=None)
        return latest if len(known) == len(ends) else None


def are_near(one: Piece, later: Piece, gap: Gap, *, by_days: bool) -> bool:
    """At most the gap apart; where a day is all that is known of either, by dates."""
    if gap == "none":
        return False
    if by_days or one.when.is_day or later.when.is_day:
        return (later.when.first - one.span.last).days <= length(gap, "day")
    return later.when.at - one.span.until <= timedelta(hours=gap)


def episodes_of(pieces: list[Piece], gap: Gap, *, by_days: bool) -> list[list[Piece]]:
    """Pieces at most the gap apart are one event; a chronic code told again begins none."""
    found: list[list[Piece]] = []
    for piece in pieces:
        is_told_again = (
            gap != "none"
            and piece.is_chronic
            and any(one.is_chronic for group in found for one in group)
        )
        if found and (
            is_told_again or any(are_near(one, piece, gap, by_days=by_days) for one in found[-1])
        ):
            found[-1].append(piece)
        else:
            found.append([piece])
    return found


def worst_of(grades: list[int | None]) -> int | None:
    return max((one for one in grades if one is not None), default=None)


def worst(pieces: list[Piece]) -> int | None:
    return worst_of([one.grade for one in pieces])


def is_ongoing(earlier: Episode, onset: When) -> bool:
    """Whether an earlier event had not ended when a later one began."""
    return earlier.end is None or earlier.end.at > onset.at


def keeps_clean(earlier: Episode, later: When, days: float, axis: Axis) -> bool:
    """Whether a later onset lies in the clean window of an earlier event."""
    onset, end = earlier.onset, earlier.end
    if axis == "day" or onset.is_day or later.is_day or (end is not None and end.is_day):
        if onset.first >= later.first:
            return False
        return end is None or later.first <= end.day + timedelta(days=floor(days))
    if onset.at >= later.at:
        return False
    return end is None or later.at <= end.at + timedelta(days=days)


def taken_by(earlier: Episode, days: float, window: Window, zone: str) -> tuple[int, int]:
    """The time after an event's onset, up to so long after its end; whole days of what is one."""
    onset, end = earlier.onset, earlier.end
    until = None if end is None else end.day + timedelta(days=floor(days) + 1)
    if window.axis == "day":
        return onset.first.toordinal() + 1, window.hi if until is None else until.toordinal()
    lo, _ = onset.on("instant")
    if end is None or until is None:
        return lo, window.hi
    by_days = onset.is_day or end.is_day
    return lo, micros(midnight(until, zone) if by_days else end.at + timedelta(days=days))


def somewhere(pieces: list[Piece], window: Window) -> list[Piece]:
    """Without what an excluded day or the next unit has; it still ties the others to one event."""
    end = max(window.cut, window.lo)
    return [
        one
        for one in pieces
        if (seen := seen_by(window, one)).side(one.when) != "nowhere"
        and (seen.holds(one.when) or one.when.on(window.axis)[0] < end)
    ]


def seen_by(window: Window, piece: Piece) -> Window:
    """The window with the piece's own rule for the infusion's day."""
    return replace(window, same_day=piece.own_same_day or window.same_day)


def is_above(grade: int | None, others: list[int | None]) -> bool:
    """Whether a grade is above all others; what has none is not exceeded."""
    return grade is not None and all(one is not None and grade > one for one in others)


def judge_one(
    pieces: list[Piece], earlier: list[Episode], window: Window, clean: list[Episode]
) -> Found | None:
    """Whether one event is treatment-emergent; None if nothing of it is in the window."""
    inside = [one for one in pieces if seen_by(window, one).holds(one.when)]
    if not inside:
        return None
    past = [one for one in pieces if is_past(one, inside[0], window)]
    grade, first = worst(inside), inside[0].when
    rows = [one.row for one in inside if one.row is not None]
    if past:
        was = worst(past)
        if grade is None or was is None or grade <= was:
            return Found(is_pre_existing=True, grade=grade)
        if clean and not is_above(grade, [one.grade for one in clean]):
            return Found(is_in_clean_window=True, grade=grade, evidence=rows)
        was = max(was, worst_of([one.grade for one in clean]) or 0)
        worse = next(one.when for one in inside if (one.grade or 0) > was)
        return Found(worse, grade, is_worsened=True, evidence=rows)
    ongoing = [one.grade for one in earlier if is_ongoing(one, first)]
    graded = [was for was in ongoing if was is not None]
    if grade is not None and graded and grade <= max(graded):
        return Found(is_pre_existing=True, grade=grade)
    if clean and not is_above(grade, [one.grade for one in clean]):
        return Found(is_in_clean_window=True, grade=grade, evidence=rows)
    was = worst_of([one.grade for one in clean])
    if was is not None:
        first = next(one.when for one in inside if (one.grade or 0) > was)
    return Found(first, grade, is_worsened=bool(clean), evidence=rows)


def is_past(piece: Piece, first: Piece, window: Window) -> bool:
    """Whether a piece lies before the window, or before its first in what the window lost."""
    if seen_by(window, piece).is_past(piece.when):
        return True
    return window.is_yielded(piece.when) and piece.when.at < first.when.at


def judge(
    groups: list[list[Piece]],
    window: Window,
    min_grade: int,
    clean_days: float | None,
    zone: str,
) -> Found:
    """Treatment-emergent events of a window: the first one's onset, and the worst grade."""
    keeping = [one for one in map(Episode, groups) if one.grade is None or one.grade >= min_grade]
    each = []
    for place, group in enumerate(groups):
        clean = [
            other
            for other in keeping
            if clean_days is not None and keeps_clean(other, group[0].when, clean_days, window.axis)
        ]
        # Of two events at one moment neither is earlier.
        earlier = [
            Episode(kept)
            for one in groups[:place]
            if one[0].when.at < group[0].when.at and (kept := somewhere(one, window))
        ]
        each.append(judge_one(somewhere(group, window), earlier, window, clean))
    found = [one for one in each if one and (one.grade is None or one.grade >= min_grade)]
    events = [one for one in found if one.onset is not None]
    in_clean = sum(one.is_in_clean_window for one in found)
    result = Found(
        is_pre_existing=any(one.is_pre_existing for one in found),
        is_in_clean_window=in_clean > 0,
        n_events=len(events),
        n_events_uncleaned=len(events) + in_clean,
        taken=[
            taken_by(one, clean_days, window, zone) for one in keeping if clean_days is not None
        ],
    )
    if not events:
        return result
    first = min(events, key=lambda one: one.onset.at if one.onset else window.unit.start_at)
    return replace(
        result,
        onset=first.onset,
        grade=worst_of([one.grade for one in events]),
        is_worsened=first.is_worsened,
        evidence=[row for one in events for row in one.evidence],
    )


def is_seen(study: Study, events: list[Event], window: Window) -> bool:
    """A reading, contact or report from some hours after the end to the window's end.

    A vital sign of the study is a reading where it has a number in a known unit. A diagnosis code
    is a report where an outcome of the study reads it as one.
    """
    last = max(one.end for one in window.members)
    settled = last + length(study.model.follow_up.seen_after_hours, window.axis)
    # A window that ends before (`control`) is watched from its own start.
    since = window.lo if window.hi <= settled else max(window.lo, settled)
    if since >= window.hi:
        since = window.lo
    contacts = [
        one
        for one in events
        if one.type in CONTACTS
        or (one.type == "VitalSignMeasured" and is_reading(one))
        or (one.type == "DiagnosisRecorded" and is_code_read(study, one))
    ]
    times = [stay_of(one) if one.type == "EncounterOccurred" else one.when for one in contacts]
    return any(one is not None and meets(one.on(window.axis), since, window.cut) for one in times)


def stay_of(event: Event) -> When | None:
    """A stay, which is over at the end that is told, also where its start is a day."""
    ended_at = event.row.get("ended_at")
    if event.span is None or ended_at is None or ended_at <= event.span.at:
        return event.span
    return replace(event.span, until=ended_at)


def judge_episodic(study: Study, events: list[Event], outcome: Episodic, window: Window) -> Found:
    pieces = pieces_of(study, events, outcome, window)
    min_grade = outcome.min_grade if isinstance(outcome, FeverOutcome) else 1
    by_days = study.model.study.resolution == "day"
    groups = episodes_of(pieces, outcome.same_episode_gap_hours, by_days=by_days)
    zone = str(events[0].row["zone"])
    return judge(groups, window, min_grade, outcome.clean_window_days, zone)
