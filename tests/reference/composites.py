"""Section 8: composites, from the rows of their components."""

from __future__ import annotations

from dataclasses import replace

from studies.outcomes import CompositeOutcome
from tests.reference.episodes import worst_of
from tests.reference.rows import Judged, Patient, Row


def merged_row(row: Row, earlier: list[Row]) -> Row:
    """The row that a row was merged into, else itself."""
    if row.merged_into is None:
        return row
    return next(
        one
        for one in earlier
        if (one.unit, one.outcome, one.window) == (row.merged_into, row.outcome, row.window)
    )


def is_unknown(component: Row) -> bool:
    """Nobody looked, nobody was at risk, or a grade was reached with nothing to compare it with."""
    return not component.has_event and (
        not component.is_known or component.at_risk_days <= 0 or component.is_unlike
    )


def composite(row: Row, patient: Patient, outcome: CompositeOutcome, earlier: list[Row]) -> Judged:
    """At least so many groups; what is unknown may still be anything."""
    groups = [
        [
            component
            for one in earlier
            if one.unit == row.unit and one.window == row.window and one.outcome in names
            for component in [merged_row(one, earlier)]
        ]
        for names in outcome.of
    ]
    true = [group for group in groups if any(one.has_event for one in group)]
    unknown = [
        group for group in groups if group not in true and any(is_unknown(one) for one in group)
    ]
    has_event = len(true) >= outcome.at_least
    is_known = has_event or len(true) + len(unknown) < outcome.at_least
    onset = min(
        (one.onset for group in true for one in group if one.onset is not None and one.has_event),
        key=lambda it: it.at,
        default=None,
    )
    members = [one for group in true for one in group if one.has_event]
    row = replace(
        row,
        onset=onset if has_event else None,
        grade=worst_of([one.grade for one in members]) if has_event else None,
        is_determined=is_known,
        is_worsened=has_event and any(one.is_worsened for one in members),
        has_event=has_event,
        is_known=is_known,
        is_closed=all(one.is_closed for group in groups for one in group),
        n_events=int(has_event),
        n_events_uncleaned=int(has_event),
    )
    told = {number for one in members for number in one.evidence}
    return Judged(row, [one.row for one in patient.events if id(one.row) in told])
