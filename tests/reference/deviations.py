"""Where the product is known to leave the window rules, and how to make patients that avoid it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

Raw = tuple[str, dict[str, Any]]
REPORTED = {"AdverseEventReported", "DiagnosisRecorded"}

#: Where the product is known to leave the rules: tests/unit/test_reference_regressions.py has the
#: smallest patient of each. Whoever mends one strikes it here, and it is made from then on.
KNOWN = frozenset(
    {
        "day events on the date of two units",
        "day results after a late infusion",
        "index-date results as later baseline by days",
        "premedication known by its day",
        "encounters of an infusion known by its day",
        "table limits in mEq/L",
        "courses of days over a clock change",
        "a day and an hour over three days later",
        "reported tachycardia before readings that confirm it",
        "two temperatures of one moment",
        "comparators of ratios",
        "excluded days of the next infusion",
        "readings of a reported event",
        "ends whose date in UTC is another",
        "stated ends before later evidence",
    }
)


def without_deviations(events: list[Raw], avoid: frozenset[str], *, is_late: bool) -> list[Raw]:
    """The events without those that meet a known deviation.

    Args:
        events: a patient's events.
        avoid: names out of KNOWN.
        is_late: an infusion begins in the last half hour of a day.
    """
    if "a day and an hour over three days later" in avoid:
        events = [one for one in events if not reaches_far(one, events)]
    if "readings of a reported event" in avoid and is_long_fever(events):
        events = [one for one in events if one[1].get("code") != "R50.9"]
    ends = {"ends whose date in UTC is another", "stated ends before later evidence"}
    is_single = sum(one[0] in REPORTED for one in events) == 1
    if ends & avoid and not is_single:
        events = [one for one in events if one[0] not in REPORTED or not one[1].get("ended_at")]
    if is_late and "day results after a late infusion" in avoid:
        events = [one for one in events if not is_day_result(one)]
    if "two temperatures of one moment" in avoid:
        events = [
            one
            for place, one in enumerate(events)
            if not is_again(one, events[:place], "VitalSignMeasured")
        ]
    is_reported = any(row.get("code") == "R00.0" for _, row in events)
    if is_reported and "reported tachycardia before readings that confirm it" in avoid:
        events = [one for one in events if one[1].get("code") != "8867-4"]
    return events


def reaches_far(one: Raw, others: list[Raw]) -> bool:
    """Whether a piece known by its day has one known by its hour 72 to 96 hours after 00:00."""
    kinds = REPORTED | {"VitalSignMeasured"}
    if one[0] not in kinds or one[1]["time_precision"] != "day":
        return False
    at = one[1]["occurred_at"]
    return any(
        timedelta(hours=71) <= row["occurred_at"] - at <= timedelta(hours=97)
        for kind, row in others
        if kind in kinds and row["time_precision"] == "instant"
    )


def is_long_fever(events: list[Raw]) -> bool:
    """Whether reports and readings of fever lie far enough apart to be two events."""
    times = [row["occurred_at"] for _, row in events if row.get("code") in {"R50.9", "8310-5"}]
    return bool(times) and max(times) - min(times) > timedelta(days=2)


def is_day_result(one: Raw) -> bool:
    return one[0] == "LabResulted" and one[1]["time_precision"] == "day"


def is_again(one: Raw, earlier: list[Raw], kind: str) -> bool:
    return one[0] == kind and any(
        other == kind and row["occurred_at"] == one[1]["occurred_at"] for other, row in earlier
    )
