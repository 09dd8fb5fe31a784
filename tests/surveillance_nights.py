"""Sixty nights of surveillance over invented children, at the level of counts, again and again.

Children come and go; each is infused every so many nights, and has a tendency of its own, so that
events of one child belong together. What a night knows is what has been told by then: some events
are told late, some were none and are taken back, some infusions are taken back. The looks are
those of the product. `python -m tests.surveillance_nights SEED...` prints them for other seeds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipelines.signals.surveillance import (
    Look,
    Pair,
    Plan,
    Reference,
    SequentialTest,
    crossing_chances,
)

N_NIGHTS, N_BASELINE, N_BEFORE = 60, 140, 160
#: Nights between two infusions of a child, and the most infusions of one.
GAP, MOST = 10, 24
#: The risk of one drug is this multiple from this night on, where it is.
MULTIPLE, FROM_NIGHT = 2.0, 30
PLAN = Plan(alpha=0.05, max_expected=20, min_events=3, first_look_expected=1)
SEEDS = (130, 131)
N_HOSPITALS = 600

Counts = NDArray[np.int_]


@dataclass(frozen=True)
class World:
    """Children of a hospital, and what is told of them.

    Attributes:
        children_a_night: that come to their first infusion.
        mean_infusions: of a child.
        rate_first, rate_later: risk of an infusion, first in record and later.
        spread: variance of a child's own factor (gamma, mean 1); 0: all are alike.
        late: share of events that are told five nights late.
        false: share of infusions with an event that is taken back five nights later.
        gone: share of infusions that are taken back ten nights later.
        is_doubled: whether the risk is doubled from night 30 on.
    """

    children_a_night: float = 0.85
    mean_infusions: float = 10.0
    rate_first: float = 0.09
    rate_later: float = 0.04
    spread: float = 0.0
    late: float = 0.0
    false: float = 0.0
    gone: float = 0.0
    is_doubled: bool = False


@dataclass(frozen=True)
class Story:
    """What was told in one hospital.

    Attributes:
        baseline: first events and units at risk before night 1, each of first and later infusions.
        nights: units (first, later) at risk and first events so far, as known each night.
        all_nights: units (first, later) and events, all of a child's.
        n_events: all events of the nights, however many a child has.
    """

    baseline: tuple[Pair, Pair]
    nights: list[tuple[Pair, int]]
    all_nights: list[tuple[Pair, int]]
    n_events: int


def tell(world: World, rng: np.random.Generator) -> Story:
    """Invent one hospital."""
    n_all = N_BEFORE + N_BASELINE + N_NIGHTS
    n = rng.poisson(world.children_a_night * n_all)
    start = rng.integers(-N_BEFORE - N_BASELINE, N_NIGHTS, size=n)
    ordinal = np.arange(MOST)
    night = start[:, None] + GAP * ordinal  # surveillance is of nights 0 to 59
    planned = rng.geometric(1 / world.mean_infusions, size=n)
    given = (ordinal < planned[:, None]) & (night >= -N_BASELINE) & (night < N_NIGHTS)
    own = rng.gamma(1 / world.spread, world.spread, size=n) if world.spread else np.ones(n)
    rate = np.where(ordinal == 0, world.rate_first, world.rate_later) * own[:, None]
    if world.is_doubled:
        rate = np.where(night >= FROM_NIGHT - 1, MULTIPLE * rate, rate)
    event = given & (rng.random(night.shape) < np.minimum(rate, 0.95))
    drawn = rng.random((3, *night.shape))
    told = night + np.where(drawn[0] < world.late, 5, 0)
    is_false = given & ~event & (drawn[1] < world.false)
    gone = np.where(drawn[2] < world.gone, night + 10, 10**6)

    def known(at: int, *, only_first: bool) -> tuple[Counts, Counts, Counts, Counts]:
        """Return units and events by ordinal of baseline and surveillance, as known at a night."""
        here = given & (night <= at) & (at < gone)
        seen = here & ((event & (told <= at)) | (is_false & (at < night + 5)))
        if only_first:
            before = np.cumsum(seen, axis=1) - seen
            here, seen = here & (before == 0), seen & (before == 0)

        def counted(what: NDArray[np.bool_]) -> Counts:
            return np.array([what[:, 0].sum(), what[:, 1:].sum()])

        old, new = night < 0, night >= 0
        return counted(here & old), counted(seen & old), counted(here & new), counted(seen & new)

    def nights(*, only_first: bool) -> Iterator[tuple[Pair, int]]:
        for at in range(N_NIGHTS):
            _, _, units, events = known(at, only_first=only_first)
            yield _pair(units), int(events.sum())

    units, events, _, _ = known(0, only_first=True)
    return Story(
        (_pair(events), _pair(units)),
        list(nights(only_first=True)),
        list(nights(only_first=False)),
        int((event & (night >= 0)).sum()),
    )


def _pair(counts: Counts) -> Pair:
    return int(counts[0]), int(counts[1])


def surveil(reference: Reference, nights: Sequence[tuple[Pair, int]]) -> tuple[int | None, float]:
    """Return the night of the signal (from 1; None without one), and the error told as spent.

    The error is that of all nights: after a signal the looks go on as if nothing had been seen.
    """
    test, signal, spent = SequentialTest(PLAN, reference), None, 0.0
    for number, (units, events) in enumerate(nights, start=1):
        found = test.look(units, events)
        if found is None:
            continue
        spent = found.alpha_spent
        if found.decision == "signal":
            signal = number
            break
    return signal, spent


# What is shown ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        what: the world and the reference.
        n: hospitals.
        found: share with a signal.
        claimed: exact or claimed figure.
        is_exact: whether the figure is exact: then both sides are judged, else the upper one.
        night: mean night of the signal; None where there is none.
        claimed_night: its exact expectation; None where there is none.
        night_error: Monte-Carlo standard error of the mean night.
        is_judged: whether the product claims anything; else it shows what others do.
    """

    what: str
    n: int
    found: float
    claimed: float
    is_exact: bool
    night: float | None = None
    claimed_night: float | None = None
    night_error: float = 0.0
    is_judged: bool = True

    @property
    def error(self) -> float:
        """Monte-Carlo standard error of the share, at the claimed figure."""
        return math.sqrt(self.claimed * (1 - self.claimed) / self.n)

    @property
    def is_kept(self) -> bool:
        """Whether the claim is kept within three standard errors; the night, too."""
        if (
            self.night is not None
            and self.claimed_night is not None
            and abs(self.night - self.claimed_night) > 3 * self.night_error
        ):
            return False
        if not self.is_judged:
            return True
        distance = self.found - self.claimed
        return (abs(distance) if self.is_exact else distance) <= 3 * self.error

    def __str__(self) -> str:
        sign = "" if self.is_exact else "at most "
        claimed = f"{sign}{self.claimed:.2%}" if self.is_judged else ""
        night = "" if self.night is None else f"{self.night:.1f}"
        if self.claimed_night is not None:
            night += f" ({self.claimed_night:.1f})"
        return (
            f"| {self.what} | {self.n:,} | {self.found:.2%} | {claimed} "
            f"| {self.error:.2%} | {night} |"
        )


HEADER = (
    "| world, reference | hospitals | with a signal | exact or claimed | Monte-Carlo error "
    "| mean night (exact) |\n|---|---:|---:|---:|---:|---:|"
)

#: Units a night of the exact lines, all of different children, and their risk.
_A_NIGHT, _RARE = 600, 0.0005


def exact_looks() -> list[Look]:
    """Looks at nights of equal size, of children who come once."""
    test = SequentialTest(PLAN, Reference((_RARE, None)))
    found = (test.look((_A_NIGHT * (night + 1), 0), 0) for night in range(N_NIGHTS))
    return [one for one in found if one is not None]


def exact_line(n: int, seed: int, multiple: float = 1.0) -> Line:
    """Return what happens to children who are all alike and come once, against a known rate."""
    looks = exact_looks()
    night = np.array([one.units[0] // _A_NIGHT for one in looks])
    raised = 1 + (multiple - 1) * (np.arange(1, N_NIGHTS + 1) >= FROM_NIGHT)
    means = (_A_NIGHT * _RARE * raised).cumsum()
    thresholds = [one.threshold for one in looks]
    chances = crossing_chances(thresholds, list(means[night - 1]))
    rng = np.random.default_rng(seed)
    events = rng.binomial(_A_NIGHT, _RARE * raised, size=(n, N_NIGHTS)).cumsum(axis=1)
    over = events[:, night - 1] >= np.array(thresholds)
    found = over.any(axis=1)
    power = float(chances.sum())
    if multiple == 1:
        return Line("no excess; children who come once, known rate", n, found.mean(), power, True)
    nights = night[over.argmax(axis=1)][found]
    return Line(
        "doubled from night 30; children who come once, known rate",
        n,
        float(found.mean()),
        power,
        True,
        float(nights.mean()),
        float(chances @ night / power),
        float(nights.std() / math.sqrt(len(nights))),
    )


def hospital_lines(world: World, n: int, seed: int) -> Iterator[Line]:
    """Yield what becomes of hospitals whose children come again, by how they are watched."""
    rng = np.random.default_rng(seed)
    stories = [tell(world, rng) for _ in range(n)]
    events = np.array([one.n_events for one in stories])
    dispersion = float(events.var() / events.mean())
    known = Reference((world.rate_first, world.rate_later))
    label = "doubled from night 30" if world.is_doubled else "no excess"
    label += f"; children who come again, dispersion {dispersion:.1f}"
    if world.late:
        label += ", corrections"
    ways: list[tuple[str, Callable[[Story], Reference], bool, bool]] = [
        ("estimated rate", _estimated, True, True),
        ("known rate", lambda _: known, True, True),
        ("*all events of a child, known rate*", lambda _: known, False, False),
        ("*estimated rate, taken as known*", _taken_as_known, True, False),
    ]
    for name, reference, only_first, is_ours in ways[: 1 if world.is_doubled else None]:
        found = [
            surveil(reference(one), one.nights if only_first else one.all_nights) for one in stories
        ]
        nights = [night for night, _ in found if night is not None]
        yield Line(
            f"{label}; {name}",
            n,
            len(nights) / n,
            float(np.mean([spent for night, spent in found if night is None] or [PLAN.alpha])),
            False,
            float(np.mean(nights)) if world.is_doubled and nights else None,
            is_judged=is_ours and not world.is_doubled,
        )


def _estimated(story: Story) -> Reference:
    return Reference.of_counts(*story.baseline)


def _taken_as_known(story: Story) -> Reference:
    return Reference(Reference.of_counts(*story.baseline).rates)


#: The world that the issue asks for: repeated infusions, dispersion 1.5, corrections.
HARD = World(spread=2.0, late=0.05, false=0.01, gone=0.01)


def lines(seeds: Sequence[int], n: int) -> Iterator[Line]:
    """Yield the lines of the table, for each seed."""
    for seed in seeds:
        yield exact_line(20 * n, seed)
        yield exact_line(20 * n, seed + 1000, MULTIPLE)
        yield from hospital_lines(HARD, n, seed)
        yield from hospital_lines(replace(HARD, is_doubled=True), n // 2, seed + 2000)


if __name__ == "__main__":  # pragma: no cover - a person runs it
    told = partial(sys.stdout.write)
    told(HEADER + "\n")
    for line in lines([int(one) for one in sys.argv[1:]] or SEEDS, N_HOSPITALS):
        told(f"{line}{'' if line.is_kept else ' not kept'}\n")
