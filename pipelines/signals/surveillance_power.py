"""What a planned surveillance can find: asked before the first look, when its end is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.signals.surveillance import (
    Look,
    Pair,
    Plan,
    Reference,
    SequentialTest,
    crossing_chances,
)


@dataclass(frozen=True)
class PlannedPower:
    """What becomes of a surveillance where the risk is a multiple of its reference.

    Attributes:
        power: chance of a signal by the last look.
        expected: events expected under the reference when the signal comes, on average of those
            that come; None without a chance of one.
        threshold: events from which on the last look signals.
        n_looks: looks that are taken.
    """

    power: float
    expected: float | None
    threshold: int
    n_looks: int

    def __str__(self) -> str:
        when = "" if self.expected is None else f", on average at {self.expected:.1f} expected"
        return (
            f"a signal with a chance of {self.power:.1%}{when}; {self.n_looks} looks, the last one "
            f"signals from {self.threshold} events on"
        )


def planned_power(
    plan: Plan, reference: Reference, units: Sequence[Pair], multiple: float
) -> PlannedPower:
    """Return the exact chance that looks at so many units signal, by recursion.

    Events of the units are taken as Poisson with `multiple` times the rates of the reference,
    which is taken to have hit the truth: its own error is in the boundary alone.

    Args:
        plan: what the study fixes beforehand.
        reference: known rates, or counts that estimate them.
        units: per look the units at risk so far, first in record and later; rising.
        multiple: of the risk.

    Errors:
        ValueError: no look is taken at these units, or no boundary spends the plan's alpha.
    """
    test = SequentialTest(plan, reference)
    looks: list[Look] = [found for one in units if (found := test.look(one, 0)) is not None]
    if not looks:
        msg = "no look is taken at so few units; give more, or lower first_look_expected"
        raise ValueError(msg)
    chances = crossing_chances(
        [one.threshold for one in looks], [multiple * one.expected for one in looks]
    )
    power = float(chances.sum())
    when = sum(chance * one.expected for chance, one in zip(chances, looks, strict=True))
    return PlannedPower(
        power, float(when) / power if power > 0 else None, looks[-1].threshold, len(looks)
    )
