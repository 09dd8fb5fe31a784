"""Times as a spec table says them: `day 2`, `day 2 14:00`, `+12 h`, `end +72 h -1 s`, `2024-02`.

Day 0 is the local date of the index; `+12 h` counts from the start of the row's first infusion, and
`end +72 h` from its end. Local time is read with zoneinfo, not with the product's own function.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAY_0 = date(2024, 3, 1)
ZONE = "Australia/Adelaide"

_CLOCK = r"\d\d:\d\d(?::\d\d)?"
_DATE = r"\d{4}-\d\d-\d\d"
_STEPS = r"[+-]\d+(?:\.\d+)? (?:s|min|h|d)\b(?: [+-]\d+(?:\.\d+)? (?:s|min|h|d)\b)*"
#: A time, for use inside the pattern of a clause.
TIME = (
    rf"day -?\d+(?: {_CLOCK})?|{_DATE}(?: {_CLOCK})?|\d{{4}}(?:-\d\d)?"
    rf"|(?:start|end)(?: {_STEPS})?|{_STEPS}"
)
UNTIMED = r"without a (?:start|date)"
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_PRECISION = {4: "year", 7: "month", 10: "day"}


class SpecError(ValueError):
    """A spec file says something that its grammar does not have."""


@dataclass(frozen=True)
class Time:
    """Naive UTC and how exactly it is known; None: it is not."""

    at: datetime | None
    precision: str | None


@dataclass
class Clock:
    """What the times of one row are relative to."""

    zone: str = ZONE
    day_0: date = DAY_0
    start: datetime | None = None
    end: datetime | None = None

    def utc(self, local: datetime) -> datetime:
        """Naive UTC of a local time."""
        return local.replace(tzinfo=ZoneInfo(self.zone)).astimezone(UTC).replace(tzinfo=None)

    def local(self, moment: datetime) -> datetime:
        """Local wall clock of naive UTC."""
        return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)

    def read(self, text: str) -> Time:
        """Read a time; SpecError where it is none."""
        if re.fullmatch(UNTIMED, text):
            return Time(None, None)
        if match := re.fullmatch(rf"(start|end)?(?: ?({_STEPS}))?", text):
            return Time(self._anchored(match[1] or "start", match[2] or ""), "instant")
        if match := re.fullmatch(rf"day (-?\d+)(?: ({_CLOCK}))?", text):
            return self._dated(self.day_0 + timedelta(days=int(match[1])), match[2])
        if match := re.fullmatch(rf"({_DATE})(?: ({_CLOCK}))?", text):
            return self._dated(date.fromisoformat(match[1]), match[2])
        if re.fullmatch(r"\d{4}(-\d\d)?", text):
            day = date.fromisoformat((text + "-01-01")[:10])
            return Time(self._dated(day, None).at, _PRECISION[len(text)])
        msg = f"no time: {text!r}"
        raise SpecError(msg)

    def instant(self, text: str) -> datetime:
        """Read a time that must not be missing, as naive UTC."""
        found = self.read(text).at
        if found is None:
            msg = f"a time is needed, not {text!r}"
            raise SpecError(msg)
        return found

    def day_of(self, moment: datetime) -> int:
        """Number of the local day of naive UTC, the index's own being 0."""
        return (self.local(moment).date() - self.day_0).days

    def _dated(self, day: date, clock: str | None) -> Time:
        at = datetime.combine(day, time.fromisoformat(clock) if clock else time())
        return Time(self.utc(at), "instant" if clock else "day")

    def _anchored(self, anchor: str, steps: str) -> datetime:
        moment = self.start if anchor == "start" else self.end
        if moment is None:
            msg = "name the infusion before times that count from it"
            raise SpecError(msg)
        for sign, number, unit in re.findall(r"([+-])([\d.]+) (\w+)", steps):
            moment += (1 if sign == "+" else -1) * timedelta(seconds=float(number) * _UNITS[unit])
        return moment
