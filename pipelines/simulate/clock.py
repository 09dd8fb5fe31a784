"""The wall clocks of hospitals, in minutes since 1970 as its clocks showed them.

Scenarios live in a frame: the wall clock of the unit's start, running on evenly. A unit whose
window crosses a clock change is rendered through `Crossing`, so that elapsed time stays true.
The rule is written here and not taken from the code that the pipeline converts with, so that one
cannot repeat the other's mistake.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

HOUR = 60
DAY = 24 * HOUR
EPOCH = dt.date(1970, 1, 1)
FIRST_CHANGES, LAST_YEAR = 2007, 2021


def day_number(date: dt.date) -> int:
    """Return days since 1970."""
    return (date - EPOCH).days


@dataclass(frozen=True)
class Rule:
    """When clocks change: on a Sunday of a month (-1: its last one), at an hour that they show."""

    spring: tuple[int, int, int]
    autumn: tuple[int, int, int]


#: The rules in force since 2007, and since 1996 (at 01:00 UTC, so an hour later in Berlin).
NORTH_AMERICA = Rule((3, 2, 2), (11, 1, 2))
UNITED_KINGDOM = Rule((3, -1, 1), (10, -1, 2))
CENTRAL_EUROPE = Rule((3, -1, 2), (10, -1, 3))


@dataclass(frozen=True)
class WallClock:
    """What the clocks of a zone show, from 2007 to 2020.

    Attributes:
        zone: IANA name.
        standard_minutes: ahead of UTC, outside daylight saving time.
        rule: when they change; None where they do not.
    """

    zone: str
    standard_minutes: int
    rule: Rule | None = None

    def springs(self) -> Ints:
        """Return the minutes at which the clocks go forward by an hour, as they show it before."""
        return _changes(self.rule.spring if self.rule else None)

    def autumns(self) -> Ints:
        """Return the minutes at which they go back by an hour, as they show it before."""
        return _changes(self.rule.autumn if self.rule else None)

    def to_utc(self, local: Ints) -> Ints:
        """Turn wall-clock minutes into UTC minutes.

        Times in the doubled hour are the first of the two; the missing hour must not be asked.
        """
        if self.rule is None:
            return local - self.standard_minutes
        year = np.searchsorted(self.springs(), local, side="right")
        is_summer = (year > 0) & (local < self.autumns()[np.maximum(year, 1) - 1])
        return local - self.standard_minutes - np.where(is_summer, HOUR, 0)

    def crosses_change(self, first_day: Ints, last_day: Ints) -> npt.NDArray[np.bool_]:
        """Tell which spans of days (inclusive) hold a clock change."""
        changes = np.sort(np.concatenate([self.springs(), self.autumns()])) // DAY
        if not len(changes):
            return np.zeros(np.shape(first_day), dtype=np.bool_)
        found = np.searchsorted(changes, first_day, side="left")
        inside = np.minimum(found, len(changes) - 1)
        return (found < len(changes)) & (changes[inside] <= last_day)


def _changes(when: tuple[int, int, int] | None) -> Ints:
    if when is None:
        return np.zeros(0, dtype=np.int64)
    month, nth, hour = when
    days = [_sunday(year, month, nth) for year in range(FIRST_CHANGES, LAST_YEAR)]
    return np.array(days, dtype=np.int64) * DAY + hour * HOUR


def _sunday(year: int, month: int, nth: int) -> int:
    if nth < 0:  # the last one: the first of the next month, less a week
        return _sunday(year, month + 1, 1) - 7
    first = dt.date(year, month, 1)
    return day_number(first) + (6 - first.weekday()) % 7 + 7 * (nth - 1)


CLOCKS = {
    clock.zone: clock
    for clock in (
        WallClock("America/New_York", -5 * HOUR, NORTH_AMERICA),
        WallClock("America/Chicago", -6 * HOUR, NORTH_AMERICA),
        WallClock("America/St_Johns", -3 * HOUR - 30, NORTH_AMERICA),
        WallClock("Europe/London", 0, UNITED_KINGDOM),
        WallClock("Europe/Berlin", HOUR, CENTRAL_EUROPE),
        WallClock("Asia/Kolkata", 5 * HOUR + 30),
    )
}


def years_after(days: Ints, years: int) -> Ints:
    """Return the day on which so many years are completed (29 February counts as 1 March)."""
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    within = (dates - months).astype(np.int64)
    target = months + np.timedelta64(12 * years, "M")
    first_of_month: Ints = target.astype("datetime64[D]").astype(np.int64)
    return np.asarray(first_of_month + within)
