"""What one synthetic hospital has of its own: its clock, its laboratory, how its children react."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.simulate import codes
from pipelines.simulate.clock import CLOCKS, WallClock


@dataclass(frozen=True)
class Traits:
    """How a hospital differs from the one that was published.

    Attributes:
        zone: that its clocks show; one of `clock.CLOCKS`.
        si_share: of its patients, those whose calcium and phosphate are reported in mmol/L.
        risk_factor: times the published risks of a side effect. The named hospital has those.
        is_closed: its record ends after every window: nobody is transferred, infused again within
            one, too old or without an indication. The named hospital's always does.
    """

    zone: str = codes.ZONE
    si_share: float = 0.3
    risk_factor: float = 1.0
    is_closed: bool = False

    @property
    def wall(self) -> WallClock:
        """Its clock."""
        return CLOCKS[self.zone]
