"""Numbers and names as the page writes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

NBSP = "\u00a0"
#: Where there is no number.
DASH = "\u2013"
#: What stands where a number may not.
HIDDEN = "not shown"

DENOMINATORS = {
    "all": "closed, eligible infusions at risk, those whose follow-up ended early counted as "
    "without event",
    "complete": "closed, eligible infusions that were followed to the end of the window",
    "observed": "infusions after which anybody looked: a reading, a contact or a report",
    "tested": "infusions with a usable laboratory result in the window",
    "tested_with_baseline": "infusions with a result in the window and one before",
    "determined": "infusions of which the composite can be told",
}
STRATA = {
    "ordinal": "first and later infusions in the record",
    "drug": "drug",
    "indication_type": "type of osteoporosis",
    "setting": "setting",
    "premedicated": "premedication",
}
_VALUES = {
    ("ordinal", "first"): "first in record",
    ("ordinal", "later"): "later",
    ("premedicated", "yes"): "premedicated",
    ("premedicated", "no"): "not premedicated",
}
NOTES = {
    "no units": "no infusion",
    "nothing published": "nothing published",
}


def value_words(stratum: str, value: str) -> str:
    """Return a stratum's value in words."""
    return _VALUES.get((stratum, value), value)


def percent(share: float | None) -> str:
    """Return a proportion as per cent with one decimal; two below 0.1 %."""
    if share is None:
        return DASH
    hundred = 100 * share
    # A risk of 0.04 % is not 0.0 %.
    digits = 2 if 0 < hundred < 0.1 else 1
    return f"{hundred:.{digits}f}{NBSP}%"


def interval(low: float | None, high: float | None) -> str:
    """Return an interval of proportions, per cent written once."""
    if low is None or high is None:
        return DASH
    return f"{percent(low).removesuffix(NBSP + '%')} to {percent(high)}"


def count(number: float | None) -> str:
    """Return a count with separators."""
    return DASH if number is None else f"{int(number):,}"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with a fixed count of decimals."""
    return DASH if value is None else f"{value:.{digits}f}"


def day(when: datetime | date | None) -> str:
    """Return a date as people write it."""
    return f"{when.day} {when:%B %Y}" if when else "not known"


def as_of(when: str) -> str:
    """Return of when a figure is that was not told anew tonight; empty where it was."""
    return f"As of data to {when}." if when else ""


def instant(when: datetime | None) -> str:
    """Return a UTC instant as people write it."""
    return f"{day(when)}, {when:%H:%M} UTC" if when else "not known"


def many(how_many: int, one: str, more: str = "") -> str:
    """Return a count with its noun."""
    return f"{how_many:,} {one if how_many == 1 else more or one + 's'}"


def listed(names: list[str]) -> str:
    """Return names as people list them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def hours(offset: float) -> str:
    """Return an offset in hours, in days where it is some whole days."""
    size = abs(offset)
    is_days = size >= 96 and size % 24 == 0
    text = f"{size / 24:.0f} days" if is_days else f"{size:g} hours"
    return text.removesuffix("s") if text in {"1 hours", "1 days"} else text


def window_words(window: Mapping[str, Any]) -> str:
    """Return a window of `reference.window` in words."""
    return f"from {_edge(window, 'start')} to {_edge(window, 'end')}"


def _edge(window: Mapping[str, Any], side: str) -> str:
    anchor, offset = window[f"{side}_anchor"], window[f"{side}_offset_hours"]
    if not offset:
        return f"the {anchor} of the infusion"
    return f"{hours(offset)} {'after' if offset > 0 else 'before'} its {anchor}"
