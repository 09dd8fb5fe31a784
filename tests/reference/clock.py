"""When something happened, on the two axes: UTC microseconds, and local dates counted in days.

Everything is a half-open stretch of whole numbers. An instant is `(t, t)`, a day known only as
such is `(00:00, 24:00)`; on the day axis everything fills its days.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import ceil
from typing import Any, Literal
from zoneinfo import ZoneInfo

Axis = Literal["instant", "day"]
Stretch = tuple[int, int]
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive means UTC in every table
HOUR = 3_600_000_000


def micros(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1)


def instant_of(number: int) -> datetime:
    return EPOCH + timedelta(microseconds=number)


def local_date(instant: datetime, zone: str) -> date:
    return instant.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date()


def midnight(day: date, zone: str) -> datetime:
    """Naive UTC of the start of a local day."""
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class When:
    """A time as it is known: from `at` to `until`, `is_day` if only the day is known.

    `is_guess`: it stands at its issue time, or its source says that it is no better: no hour.
    """

    at: datetime
    until: datetime
    first: date
    last: date
    is_day: bool
    is_guess: bool = False

    def as_day(self, zone: str) -> When:
        """The whole day, where that is all: a guess that is told as midnight."""
        at, until = midnight(self.first, zone), midnight(self.first + timedelta(days=1), zone)
        if not self.is_guess or self.at != at:
            return self
        return When(at, until, self.first, self.first, is_day=True)

    def on(self, axis: Axis) -> Stretch:
        if axis == "instant":
            return micros(self.at), micros(self.until)
        return self.first.toordinal(), self.last.toordinal() + 1


def when(row: dict[str, Any], ended_at: datetime | None = None) -> When | None:
    """Place an event; with `ended_at` it lasts until then. None: no time that links."""
    at, zone = row["occurred_at"], row["zone"]
    if at is None and row["event_type"] == "LabResulted":
        at = row.get("resulted_at")
    is_issued = at is not None and row["occurred_at"] is None
    if at is None or not (is_issued or row["time_precision"] in {"instant", "day"}):
        return None
    first = local_date(at, zone)
    is_day = row["time_precision"] == "day" and row["occurred_at"] is not None
    until = midnight(first + timedelta(days=1), zone) if is_day else at
    last = first
    if ended_at is not None and ended_at > at:
        until, last = max(until, ended_at), local_date(ended_at, zone)
    is_guess = is_issued or "imprecise_time" in (row.get("flags") or [])
    return When(at, until, first, last, is_day, is_guess)


def vague_days(row: dict[str, Any]) -> tuple[date, date] | None:
    """First and last day of the month or year that is all that is known of an event's time."""
    if row["occurred_at"] is None or row["time_precision"] not in {"month", "year"}:
        return None
    day = local_date(row["occurred_at"], row["zone"])
    if row["time_precision"] == "year":
        return date(day.year, 1, 1), date(day.year, 12, 31)
    return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])


def length(hours: float, axis: Axis) -> int:
    """Hours on an axis: microseconds, or days by rounding up."""
    return round(hours * HOUR) if axis == "instant" else ceil(hours / 24)


def meets(one: Stretch, lo: int, hi: int) -> bool:
    """Whether an event is in `[lo, hi)`: a point lies in it, a stretch shares time with it."""
    at, until = one
    if lo >= hi:
        return False
    if at == until:
        return lo <= at < hi
    return at < hi and until > lo


def age_in_months(born: date, day: date) -> int:
    """Completed months; one born on the 31st completes a shorter month on the 1st of the next."""
    months = (day.year - born.year) * 12 + day.month - born.month
    return months if day.day >= born.day else months - 1
