"""Where each zone's offset changes, found once by asking `zoneinfo` (see `zones`)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from pipelines.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.resources.abc import Traversable

Micros = npt.NDArray[np.int64]

_MICRO = 1_000_000
_DAY = 86_400
#: The Gregorian calendar, weekdays included, repeats after 400 years: 146,097 days.
_CYCLE = 146_097 * _DAY * _MICRO


def _epoch(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp())


#: No zone has a transition before; until 2040 zones list single ones, possibly days apart.
_FIRST, _LISTED_UNTIL = _epoch(1800), _epoch(2040)
#: From here on every zone follows a yearly rule, so later years are read 400 years earlier.
_WRAP, _LAST = _epoch(2439) * _MICRO, _epoch(2440)


@dataclass(frozen=True)
class Steps:
    """An offset that changes in steps, all in microseconds.

    Attributes:
        at: the times from which a new offset counts, ascending (n).
        offset: local minus UTC before, between and after them (n + 1).
    """

    at: Micros
    offset: Micros

    def offset_at(self, times: Micros) -> Micros:
        """Return the offset in force at each time; years after the table repeat its last 400."""
        cycles = np.maximum(0, (times - _WRAP) // _CYCLE + 1)
        found: Micros = self.offset[np.searchsorted(self.at, times - cycles * _CYCLE, side="right")]
        return found


@dataclass(frozen=True)
class Transitions:
    """A zone's offset as seen from UTC, and from its own wall clock with fold 0 and fold 1."""

    utc: Steps
    wall: tuple[Steps, Steps]


@cache
def known_zones() -> frozenset[str]:
    """Return the names of all zones that the pinned `tzdata` package knows."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("utf-8").split())


def tzdata_version() -> str:
    """Return the IANA release in force, such as 2026a."""
    data = resources.files("tzdata").joinpath("zoneinfo", "tzdata.zi")
    return data.read_text("utf-8").split(maxsplit=3)[2]  # first line: "# version 2026a"


def load_zone(zone: str) -> ZoneInfo:
    """Return a zone from the pinned `tzdata` package.

    Errors:
        ConfigError: there is no such zone.
    """
    if zone not in known_zones():
        raise ConfigError(
            "There is no such IANA time zone.",
            where=f"zone {zone!r}",
            remedy="Write one like Europe/Berlin or America/New_York.",
        )
    with _file(zone).open("rb") as stream:
        return ZoneInfo.from_file(stream, key=zone)


def _file(zone: str) -> Traversable:
    return resources.files("tzdata").joinpath("zoneinfo", *zone.split("/"))


@cache
def transitions(zone: str) -> Transitions:
    """Return a zone's changes of offset from 1800 to 2440.

    Source: PEP 495; the walls are `zoneinfo`'s own: a change at instant t counts on the wall from
    t + max(offset before, offset after) with fold 0, and from t + min(...) with fold 1.
    """
    tz = load_zone(zone)
    # A day between probes: no zone ever changed its offset and took it back within one. Yearly
    # rules keep theirs for weeks.
    probes = [*range(_FIRST, _LISTED_UNTIL, _DAY), *range(_LISTED_UNTIL, _LAST, 7 * _DAY)]
    utc = _steps(lambda second: _offset(datetime.fromtimestamp(second, tz)), probes)
    before, after = utc.offset[:-1], utc.offset[1:]
    first = Steps(utc.at + np.maximum(before, after), utc.offset)
    second = Steps(utc.at + np.minimum(before, after), utc.offset)
    return Transitions(utc, (_at_junction(first, zone, tz, 0), _at_junction(second, zone, tz, 1)))


def _offset(moment: datetime) -> int:
    """Return the offset of an aware time in seconds (zones always have one, in whole seconds)."""
    delta = moment.utcoffset() or timedelta()
    return delta.days * _DAY + delta.seconds


def _steps(offset: Callable[[int], int], probes: Sequence[int]) -> Steps:
    """Find the seconds at which `offset` changes, given probes at most one change apart."""
    seen = [offset(probe) for probe in probes]
    changed = [i for i in range(1, len(seen)) if seen[i] != seen[i - 1]]
    at = [_bisect(offset, probes[i - 1], probes[i]) for i in changed]
    offsets = [seen[0], *(seen[i] for i in changed)]
    return Steps(np.array(at, np.int64) * _MICRO, np.array(offsets, np.int64) * _MICRO)


def _bisect(offset: Callable[[int], int], low: int, high: int) -> int:
    """Return the first second after `low` at which the offset is no longer that of `low`."""
    start = offset(low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if offset(middle) == start else (low, middle)
    return high


def _at_junction(wall: Steps, zone: str, tz: ZoneInfo, fold: int) -> Steps:
    """Take the wall steps around a zone's last listed transition from `zoneinfo` itself.

    There `zoneinfo` goes over to the yearly rule, which can see a fold that UTC does not have
    (Nuuk, 28 October 2023). Equality with `zoneinfo` is the rule of this module.
    """
    last = _last_listed(zone)
    if last is None:
        return wall

    def offset(second: int) -> int:
        return _offset(datetime.fromtimestamp(second, UTC).replace(tzinfo=tz, fold=fold))

    low, high = last - 2 * _DAY, last + 2 * _DAY
    near = _steps(offset, range(low, high + 1, 900))
    left, right = (int(np.searchsorted(wall.at, end * _MICRO)) for end in (low, high))
    at = np.concatenate([wall.at[:left], near.at, wall.at[right:]])
    offsets = [wall.offset[:left], near.offset, wall.offset[right + 1 :]]
    return Steps(at, np.concatenate(offsets))


def _last_listed(zone: str) -> int | None:
    """Return the last instant listed in a zone's file, in seconds; None where it lists none.

    Source: RFC 8536, section 3: a second header and 64-bit times follow the 32-bit part.
    """
    data = _file(zone).read_bytes()
    isutc, isstd, leap, times, types, chars = struct.unpack(">6l", data[20:44])
    header = 44 + times * 5 + types * 6 + chars + leap * 8 + isstd + isutc
    count: int = struct.unpack(">l", data[header + 32 : header + 36])[0]
    end = header + 44 + 8 * count
    return int(struct.unpack(">q", data[end - 8 : end])[0]) if count else None
