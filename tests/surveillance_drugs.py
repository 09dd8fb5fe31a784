"""Three drugs of a hospital, a pair each: the risk of one is doubled from night 30 on.

Alpha is shared by the three. What is asked: is the doubling found, and when; and do the drugs
beside it that have not changed signal no more often than is told? `python -m
tests.surveillance_drugs SEED...` prints all lines of docs/validation.md for other seeds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.signals.surveillance import Plan, Reference
from tests.surveillance_nights import (
    HEADER,
    N_HOSPITALS,
    SEEDS,
    Line,
    Plain,
    exact_line,
    lines,
    surveil,
)
from tests.surveillance_world import HARD, MULTIPLE, N_NIGHTS, dispersion, tell


@dataclass(frozen=True)
class Drug:
    """A drug of the plain world.

    Attributes:
        name: as the table says.
        a_night: events expected a night without an excess.
        multiple: of its risk from night 30 on.
    """

    name: str
    a_night: float
    multiple: float = 1.0

    @property
    def plain(self) -> Plain:
        """Its nights, with a third of alpha, watched to the sixtieth."""
        expected = N_NIGHTS * self.a_night
        plan = Plan(alpha=0.05 / 3, max_expected=expected, min_events=3, first_look_expected=1)
        return Plain(self.a_night, plan, self.multiple)


#: 72 events expected of the first and the second, 18 of the third, in sixty nights.
DRUGS = (Drug("doubled", 1.2, MULTIPLE), Drug("unchanged", 1.2), Drug("unchanged, rare", 0.3))


def plain_lines(n: int, seed: int) -> Iterator[Line]:
    """Yield a line a drug, and one of any false signal beside the doubled drug."""
    false, claimed = np.zeros(n, dtype=bool), 1.0
    for number, drug in enumerate(DRUGS):
        what = f"three drugs, children who come once, known rate; the {drug.name} one"
        yield exact_line(n, seed + number, drug.plain, what)
        if drug.multiple == 1:
            false |= drug.plain.simulate(n, seed + number) > 0
            claimed *= 1 - float(drug.plain.chances()[1].sum())
    what = "three drugs, children who come once, known rate; any unchanged one"
    yield Line(what, n, float(false.mean()), 1 - claimed, True)


def hard_lines(n: int, seed: int) -> Iterator[Line]:
    """Yield the same for children who come again, corrections, and rates that were estimated."""
    rng = np.random.default_rng(seed)
    label = f"three drugs, children who come again, dispersion {dispersion(HARD)[0]:.2f}"
    label += ", corrections, estimated rate"
    false = np.zeros(n, dtype=bool)
    for drug in DRUGS:
        # As many events in sixty nights as in the plain world, more or less: .23 a night of .85.
        children = HARD.children_a_night * drug.a_night / 0.23
        world = replace(HARD, children_a_night=children, is_doubled=drug.multiple > 1)
        stories = (tell(world, rng) for _ in range(n))
        found = [
            surveil(Reference.of_counts(*one.baseline), one.nights, drug.plain.plan)
            for one in stories
        ]
        nights = [night for night, _ in found if night is not None]
        false |= np.array([night is not None for night, _ in found]) & (drug.multiple == 1)
        yield Line(
            f"{label}; the {drug.name} one",
            n,
            len(nights) / n,
            0.05 / 3 if drug.multiple == 1 else 0.5,
            False,
            float(np.mean(nights)) if drug.multiple > 1 and nights else None,
            is_judged=drug.multiple == 1,
        )
    yield Line(f"{label}; any unchanged one", n, float(false.mean()), 2 * 0.05 / 3, False)


def every_line(seeds: Sequence[int], n: int) -> Iterator[Line]:
    """Yield the lines of the whole table: one drug, then three, for each seed."""
    yield from lines(seeds, n)
    for seed in seeds:
        yield from plain_lines(20 * n, seed)
        yield from hard_lines(n // 3, seed)


if __name__ == "__main__":  # pragma: no cover - a person runs it
    sys.stdout.write(HEADER + "\n")
    for line in every_line([int(one) for one in sys.argv[1:]] or SEEDS, N_HOSPITALS):
        sys.stdout.write(f"{line}{'' if line.is_kept else ' not kept'}\n")
