"""What all made-up patients share: a moment near an edge, and how it is written down."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from zoneinfo import ZoneInfo

from tests.linkage_cases import ZONE, Patient
from tests.reference.edges import EDGES, HOUR, SHIFTS


def text(moment: datetime) -> str:
    """A UTC moment on the wall clock of the zone."""
    local = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(ZONE))
    return local.replace(tzinfo=None).isoformat(" ")


class Timed:
    """A patient whose events are timed by starts and ends of infusions."""

    def __init__(self, key: str, random: Random) -> None:
        self.random = random
        self.patient = Patient(key)
        #: Starts and ends of infusions: what everything else is timed by.
        self.anchors: list[datetime] = []

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def near(self, lo: float = -1e9, hi: float = 1e9) -> datetime:
        """A moment on or beside an edge, `lo` to `hi` hours from a start or an end."""
        hours = self.random.choice([one for one in EDGES if lo <= one <= hi])
        return self.random.choice(self.anchors) + hours * HOUR + self.random.choice(SHIFTS)

    def time(self, *, day: float = 0.15, lo: float = -1e9, hi: float = 1e9) -> str:
        """Such a moment as text; a share of them known by the day only."""
        moment = text(self.near(lo, hi))
        return moment[:10] if self.chance(day) else moment
