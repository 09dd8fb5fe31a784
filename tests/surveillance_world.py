"""Invented children of a hospital, at the level of counts, and what is told of them night by night.

Children come and go; each is infused every so many nights, and has a tendency of its own, so that
events of one child belong together. What a night knows is what has been told by then: some events
are told late, some were none and are taken back, some infusions are taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.signals.surveillance import Pair

N_NIGHTS, N_BASELINE, N_BEFORE = 60, 140, 160
#: Nights between two infusions of a child, and the most infusions of one.
GAP, MOST = 10, 24
#: The risk of one drug is this multiple from this night on, where it is.
MULTIPLE, FROM_NIGHT = 2.0, 30

Counts = NDArray[np.int_]
Bools = NDArray[np.bool_]
#: Units (first, later) at risk and events so far, as known at a night.
Night = tuple[Pair, int]


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


#: The world that is asked for: repeated infusions, corrections, and children who differ by so much
#: that a hospital's number of events has 1.5 times the variance of a Poisson variable.
HARD = World(spread=2.25, late=0.05, false=0.01, gone=0.01)


@dataclass(frozen=True)
class Story:
    """What was told in one hospital.

    Attributes:
        baseline: first events and units at risk before night 1, each of first and later infusions.
        nights: each night, up to the first event of a child.
        all_nights: each night, all infusions and events of a child.
    """

    baseline: tuple[Pair, Pair]
    nights: list[Night]
    all_nights: list[Night]


@dataclass(frozen=True)
class Drawn:
    """What happens to children, a row a child, a column an infusion, and when it is told.

    Attributes:
        night: of the infusion; those of surveillance are 0 to 59.
        given, event: whether it was, and had an event.
        told: night on which the event is.
        is_false: whether an event is told that is taken back.
        gone: night on which the infusion is taken back.
    """

    night: Counts
    given: Bools
    event: Bools
    told: Counts
    is_false: Bools
    gone: Counts

    def known(self, at: int, *, only_first: bool) -> tuple[Counts, Counts, Counts, Counts]:
        """Return units and events by ordinal of baseline and surveillance, as known at a night."""
        here = self.given & (self.night <= at) & (at < self.gone)
        is_seen = (self.event & (self.told <= at)) | (self.is_false & (at < self.night + 5))
        seen = here & is_seen
        if only_first:
            before: Counts = np.cumsum(seen, axis=1) - seen
            here, seen = here & (before == 0), seen & (before == 0)
        old, new = self.night < 0, self.night >= 0
        parts = (here & old, seen & old, here & new, seen & new)
        first, second, third, fourth = (_by_ordinal(one) for one in parts)
        return first, second, third, fourth

    def nights(self, *, only_first: bool) -> Iterator[Night]:
        """Yield units and events of each night of surveillance."""
        for at in range(N_NIGHTS):
            _, _, units, events = self.known(at, only_first=only_first)
            yield _pair(units), int(events.sum())


def draw(world: World, rng: np.random.Generator) -> Drawn:
    """Invent the children of one hospital."""
    n = rng.poisson(world.children_a_night * (N_BEFORE + N_BASELINE + N_NIGHTS))
    start = rng.integers(-N_BEFORE - N_BASELINE, N_NIGHTS, size=n)
    ordinal = np.arange(MOST)
    night = start[:, None] + GAP * ordinal
    planned = rng.geometric(1 / world.mean_infusions, size=n)
    given = (ordinal < planned[:, None]) & (night >= -N_BASELINE) & (night < N_NIGHTS)
    own = rng.gamma(1 / world.spread, world.spread, size=n) if world.spread else np.ones(n)
    rate = np.where(ordinal == 0, world.rate_first, world.rate_later) * own[:, None]
    if world.is_doubled:
        rate = np.where(night >= FROM_NIGHT - 1, MULTIPLE * rate, rate)
    event = given & (rng.random(night.shape) < np.minimum(rate, 0.95))
    drawn = rng.random((3, *night.shape))
    return Drawn(
        night=night,
        given=given,
        event=event,
        told=night + np.where(drawn[0] < world.late, 5, 0),
        is_false=given & ~event & (drawn[1] < world.false),
        gone=np.where(drawn[2] < world.gone, night + 10, 10**6),
    )


def tell(world: World, rng: np.random.Generator) -> Story:
    """Invent one hospital."""
    drawn = draw(world, rng)
    units, events, _, _ = drawn.known(0, only_first=True)
    return Story(
        (_pair(events), _pair(units)),
        list(drawn.nights(only_first=True)),
        list(drawn.nights(only_first=False)),
    )


@lru_cache
def dispersion(world: World, seed: int = 1, n_hospitals: int = 4000) -> tuple[float, float]:
    """Return variance over mean of hospitals' events in the sixty nights, in two ways.

    Of the true events of all infusions, told or not. First: in the long run, for children come as
    a Poisson process: mean square over mean of the events of a child. Second, which scatters more:
    of the counts of so many hospitals, to which children come at random. One night alone has a
    ratio of 1: no child is infused twice on a night.
    """
    rng = np.random.default_rng(seed)
    counts, squares, total = [], 0.0, 0.0
    for _ in range(n_hospitals // 1000):
        many = draw(replace(world, children_a_night=1000 * world.children_a_night), rng)
        of_child = (many.event & (many.night >= 0)).sum(axis=1)
        where = rng.integers(1000, size=len(of_child))
        counts.append(np.bincount(where, weights=of_child, minlength=1000))
        squares, total = squares + float((of_child**2).sum()), total + float(of_child.sum())
    told = np.concatenate(counts)
    return squares / total, float(told.var() / told.mean())


def _by_ordinal(what: Bools) -> Counts:
    return np.array([what[:, 0].sum(), what[:, 1:].sum()])


def _pair(counts: Counts) -> Pair:
    return int(counts[0]), int(counts[1])
