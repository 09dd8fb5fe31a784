"""Sixty nights of surveillance over invented children, at the level of counts, again and again.

The looks are those of the product. What is shown of one drug stands here; of several, beside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.signals.surveillance import (
    Look,
    Plan,
    Reference,
    SequentialTest,
    crossing_chances,
)
from tests.surveillance_world import (
    FROM_NIGHT,
    HARD,
    MULTIPLE,
    N_NIGHTS,
    Night,
    Story,
    World,
    dispersion,
    tell,
)

PLAN = Plan(alpha=0.05, max_expected=20, min_events=3, first_look_expected=1)
SEEDS = (130, 131)
N_HOSPITALS = 600


def surveil(
    reference: Reference, nights: Sequence[Night], plan: Plan = PLAN
) -> tuple[int | None, float]:
    """Return the night of the signal (from 1; None without one), and the error told as spent.

    The error is that of all nights: after a signal the looks go on as if nothing had been seen.
    """
    test, signal, spent = SequentialTest(plan, reference), None, 0.0
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

#: Risk of the exact lines' children: so rare that events are Poisson.
RARE = 0.0005


@dataclass(frozen=True)
class Plain:
    """Nights of equal size, of children who are all alike and come once, against a known rate.

    Attributes:
        a_night: events expected a night.
        plan: of the surveillance.
        multiple: of the risk from night 30 on.
    """

    a_night: float = 0.3
    plan: Plan = PLAN
    multiple: float = 1.0

    @property
    def units(self) -> int:
        """Units a night."""
        return round(self.a_night / RARE)

    def looks(self) -> list[Look]:
        """Return the looks at these nights; thresholds do not depend on events."""
        test = SequentialTest(self.plan, Reference((RARE, None)))
        found = (test.look((self.units * (night + 1), 0), 0) for night in range(N_NIGHTS))
        return [one for one in found if one is not None]

    def chances(self) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
        """Return the nights of the looks and the exact chance that each is the first to signal."""
        looks = self.looks()
        night = np.array([one.units[0] // self.units for one in looks])
        means = (self.units * RARE * self._raised()).cumsum()
        thresholds = [one.threshold for one in looks]
        return night, crossing_chances(thresholds, list(means[night - 1]))

    def simulate(self, n: int, seed: int, dispersed: float = 1.0) -> NDArray[np.int_]:
        """Return, for so many hospitals, the night of the signal; 0 without one.

        Args:
            n: hospitals.
            seed: of the draws.
            dispersed: variance over mean of a night's count, which nights of their own size and
                nothing that a child does bring about.
        """
        rng = np.random.default_rng(seed)
        risk, size = RARE * self._raised(), (n, N_NIGHTS)
        if dispersed == 1:
            events = rng.binomial(self.units, risk, size=size)
        else:
            shape = self.units * risk / (dispersed - 1)
            events = rng.negative_binomial(shape, 1 / dispersed, size=size)
        looks = self.looks()
        night = np.array([one.units[0] // self.units for one in looks])
        over = events.cumsum(axis=1)[:, night - 1] >= [one.threshold for one in looks]
        return np.where(over.any(axis=1), night[over.argmax(axis=1)], 0)

    def _raised(self) -> NDArray[np.float64]:
        is_late = np.arange(1, N_NIGHTS + 1) >= FROM_NIGHT
        return np.asarray(1 + (self.multiple - 1) * is_late, dtype=np.float64)


def exact_line(n: int, seed: int, plain: Plain | None = None, what: str = "") -> Line:
    """Return how often and when plain nights signal, beside the exact figures."""
    plain = plain or Plain()
    night, chances = plain.chances()
    power = float(chances.sum())
    found = plain.simulate(n, seed)
    if plain.multiple == 1:
        name = what or "no excess; children who come once, known rate"
        return Line(name, n, float((found > 0).mean()), power, True)
    nights = found[found > 0]
    return Line(
        what or "doubled from night 30; children who come once, known rate",
        n,
        float((found > 0).mean()),
        power,
        True,
        float(nights.mean()),
        float(chances @ night / power),
        float(nights.std() / math.sqrt(len(nights))),
    )


def dispersed_line(n: int, seed: int) -> Line:
    """Return what nothing here covers: nights with a size of their own, such as of an epidemic."""
    found = Plain().simulate(n, seed, dispersed=1.5)
    what = "no excess; *nights whose counts scatter, dispersion 1.5 a night, known rate*"
    return Line(what, n, float((found > 0).mean()), PLAN.alpha, False, is_judged=False)


def hospital_lines(world: World, n: int, seed: int) -> Iterator[Line]:
    """Yield what becomes of hospitals whose children come again, by how they are watched."""
    rng = np.random.default_rng(seed)
    stories = [tell(world, rng) for _ in range(n)]
    known = Reference((world.rate_first, world.rate_later))
    label = "doubled from night 30" if world.is_doubled else "no excess"
    label += f"; children who come again, dispersion {dispersion(world)[0]:.2f}"
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


def lines(seeds: Sequence[int], n: int) -> Iterator[Line]:
    """Yield the lines of the table, for each seed."""
    for seed in seeds:
        yield exact_line(20 * n, seed)
        yield exact_line(20 * n, seed + 1000, Plain(multiple=MULTIPLE))
        yield dispersed_line(20 * n, seed + 1500)
        yield from hospital_lines(HARD, n, seed)
        yield from hospital_lines(replace(HARD, is_doubled=True), n // 2, seed + 2000)
