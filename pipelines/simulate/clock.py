"""The hospital's wall clock, in minutes since 1970 as its clocks showed them.

Scenarios live in a frame: the wall clock of the unit's start, running on evenly. A unit whose
window crosses a clock change is rendered through `Crossing`, so that elapsed time stays true.
The rule is written here and not taken from the code that the pipeline converts with, so that one
cannot repeat the other's mistake.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

HOUR = 60
DAY = 24 * HOUR
EPOCH = dt.date(1970, 1, 1)
FIRST_YEAR, LAST_YEAR = 1985, 2021
STANDARD_OFFSET = -5 * HOUR


def day_number(date: dt.date) -> int:
    """Return days since 1970."""
    return (date - EPOCH).days


def _sunday(year: int, month: int, nth: int) -> int:
    first = dt.date(year, month, 1)
    return day_number(first) + (6 - first.weekday()) % 7 + 7 * (nth - 1)


def spring_days() -> Ints:
    """Return the days on which the clocks of New York went forward at 02:00 (rule of 2007)."""
    return np.array([_sunday(year, 3, 2) for year in range(2007, LAST_YEAR)], dtype=np.int64)


def autumn_days() -> Ints:
    """Return the days on which the clocks of New York went back at 02:00 (rule of 2007)."""
    return np.array([_sunday(year, 11, 1) for year in range(2007, LAST_YEAR)], dtype=np.int64)


def to_utc(local: Ints) -> Ints:
    """Turn wall-clock minutes of 2007 to 2020 into UTC minutes.

    Times in the doubled hour count as the first of the two; the missing hour must not be asked.
    """
    springs = spring_days() * DAY + 2 * HOUR
    autumns = autumn_days() * DAY + 2 * HOUR
    year = np.searchsorted(springs, local, side="right")
    is_summer = (year > 0) & (local < autumns[np.maximum(year, 1) - 1])
    return local - STANDARD_OFFSET - np.where(is_summer, HOUR, 0)


def crosses_change(first_day: Ints, last_day: Ints) -> npt.NDArray[np.bool_]:
    """Tell which spans of days (inclusive) hold a clock change."""
    changes = np.sort(np.concatenate([spring_days(), autumn_days()]))
    found = np.searchsorted(changes, first_day, side="left")
    inside = np.minimum(found, len(changes) - 1)
    return (found < len(changes)) & (changes[inside] <= last_day)


def years_after(days: Ints, years: int) -> Ints:
    """Return the day on which so many years are completed (29 February counts as 1 March)."""
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    within = (dates - months).astype(np.int64)
    target = months + np.timedelta64(12 * years, "M")
    first_of_month: Ints = target.astype("datetime64[D]").astype(np.int64)
    return np.asarray(first_of_month + within)
