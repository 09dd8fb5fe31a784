"""An attacker who knows the rule to the letter: other histories of a ward that tell the same.

Whoever can run the rule on any history knows all that follows from what was told: from reasons,
from which values are merged, from figures that stayed, from rows that are there. A count is safe
from him if histories with other counts tell the very same on every night. They are searched by
integer programs (scipy's `milp`), and each is proven by running the rule on all its nights.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from pipelines.disclosure.plan import plan
from pipelines.disclosure.release import CROSSED, Column, Release, StudyCounts
from pipelines.disclosure.rule import Row, is_now
from tests.attack_kit import FATES, Ward

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Children of a kind on each night: nights by kinds.
History = Ints
Rule = Callable[[StudyCounts, int, Release | None], Release]
#: From one fate up to another: events, others and units of every denominator, and what they leave.
Fates = tuple[int, int]
RANGES: tuple[Fates, ...] = tuple((i, j) for i in range(4) for j in range(i + 1, 5))
#: How far other histories are searched, one after the other: near ones differ by little.
_RADII = (60, 3, 1, 6, 2, 4, 5)
_SECONDS = 5.0


@dataclass(frozen=True)
class Target:
    """A number of children on a night."""

    night: int
    cell: str
    fates: Fates


@dataclass(frozen=True)
class Limit:
    """What a number of children on a night must be; `is_told` if that was told."""

    night: int
    form: Floats
    low: float
    high: float
    group: str = ""
    is_told: bool = False


def drawn(
    seed: int, n_nights: int, changes: Sequence[int] = (0, 0, 0, 1, 1, -1)
) -> tuple[Ward, History]:
    """A ward and how many children of each kind it has on each night."""
    luck = random.Random(seed)  # noqa: S311 - invented wards
    ward = Ward.drawn(luck)
    nights = []
    for number in range(n_nights):
        if number:
            for kind in ward.kinds():
                ward.n[kind] = max(0, ward.n[kind] + luck.choice(changes))
        nights.append([ward.n[kind] for kind in ward.kinds()])
    return ward, np.array(nights)


def counts_of(ward: Ward, night: Sequence[int] | Ints) -> StudyCounts:
    """Return the counts of a night; values that nobody has have no row."""
    there = replace(ward, n=dict(zip(ward.kinds(), map(int, night), strict=True)))
    found = there.counts()
    had: set[tuple[str, str]] = set()
    for (a, b, _), n in there.n.items():
        if n:
            had |= {("A", a), ("B", b), (f"A{CROSSED}B", f"{a}{CROSSED}{b}")}
    return replace(
        found,
        strata={
            stratum: {
                column: {value: row for value, row in rows.items() if (stratum, value) in had}
                for column, rows in columns.items()
            }
            for stratum, columns in found.strata.items()
        },
    )


def nights_told(
    ward: Ward, history: History, thresholds: Sequence[int], rule: Rule = plan
) -> Iterator[tuple[Release, Any]]:
    """Yield of each night what is told, and all that is seen: rows that are masked as well."""
    release = None
    for night, threshold in zip(history, thresholds, strict=True):
        counts = counts_of(ward, night)
        release = rule(counts, threshold, release)
        rows = {
            (stratum, value)
            for stratum, columns in counts.strata.items()
            for values in columns.values()
            for value in values
        }
        yield release, (release.whole, release.divisions, release.few, rows)


class Knowing:
    """Who was told a history night by night, and can run the rule."""

    def __init__(
        self,
        ward: Ward,
        history: History,
        thresholds: Sequence[int],
        *,
        rule: Rule = plan,
    ) -> None:
        self._ward, self._history, self._thresholds = ward, history, thresholds
        self._rule = rule
        self._place = {kind: number for number, kind in enumerate(ward.kinds())}
        self._cells = _cells(ward)
        told = list(nights_told(ward, history, thresholds, rule))
        self._releases, self._seen = [one for one, _ in told], [seen for _, seen in told]
        limits = [one for night in range(len(history)) for one in self._limits(night)]
        self._soft = np.array([not one.is_told for one in limits])
        names = {name: number for number, name in enumerate({one.group for one in limits})}
        self._groups = np.array([names[one.group] for one in limits])
        self._known = self._matrix(limits)
        #: Histories that tell the same, the true one first.
        self._proven = [history]

    # What is asked ----------------------------------------------------------------------------

    def targets(self, nights: Sequence[int]) -> dict[Target, int]:
        """Return the numbers of children that are small on some nights."""
        found = {}
        for night, cell, fates in product(nights, self._cells, RANGES):
            count = int(self._form(self._cells[cell], fates) @ self._history[night])
            if 0 < count < self._thresholds[night]:
                found[Target(night, cell, fates)] = count
        return found

    def possible(
        self, nights: Sequence[int], *, n_tries: int = 60, n_each: int = 8
    ) -> dict[Target, set[int]]:
        """Return what each small count can be for him: values of histories that tell the same.

        Args:
            nights: whose small counts are asked for.
            n_tries: how many histories are searched for all of them at once.
            n_each: and then for each value of each that is still narrow.
        """
        luck = np.random.default_rng(len(self._history))
        true = self.targets(nights)
        found = {target: {count} for target, count in true.items()}
        for number in range(n_tries):
            narrow = [one for one in true if not self.is_wide(one, found[one])]
            if not narrow:
                return found
            cost = luck.normal(0, 0.01, self._history.shape)
            for one in narrow:
                sign = luck.choice([-1, 1]) * luck.random()
                cost[one.night] += sign * self._form(self._cells[one.cell], one.fates)
            self._add(found, self._search(cost.ravel(), _RADII[number % len(_RADII)]))
        for one in true:
            self._ask_alone(one, true[one], found, luck, n_each)
        return found

    def is_wide(self, target: Target, values: set[int]) -> bool:
        """Whether values are as many and as far apart as they must be."""
        width = math.ceil(self._thresholds[target.night] / 2)
        return max(values) - min(values) >= width and len(values) >= width

    def _ask_alone(
        self,
        target: Target,
        count: int,
        found: dict[Target, set[int]],
        luck: np.random.Generator,
        n_each: int,
    ) -> None:
        width = math.ceil(self._thresholds[target.night] / 2)
        for value in sorted(range(count + 2 * width), key=lambda one: (abs(one - count), one)):
            for number in range(n_each):
                if self.is_wide(target, found[target]):
                    return
                if value in found[target]:
                    break
                other = self._search_with(target, value, luck, is_near=number % 2 == 0)
                if other is None:
                    break
                self._add(found, other)

    def _add(self, found: dict[Target, set[int]], other: History | None) -> None:
        if other is not None and self._tells_the_same(other):
            self._proven.append(other)
            for one, values in found.items():
                values.add(int(self._form(self._cells[one.cell], one.fates) @ other[one.night]))

    def _tells_the_same(self, other: History) -> bool:
        told = nights_told(self._ward, other, self._thresholds, self._rule)
        return all(seen == mine for (_, seen), mine in zip(told, self._seen, strict=True))

    # Where he looks ---------------------------------------------------------------------------

    def _limits(self, night: int) -> Iterator[Limit]:
        """Yield what makes it likely that a night tells the same: each count stays in its class."""
        now, threshold = self._history[night], self._thresholds[night]
        releases = self._releases[max(0, night - 1) : night + 1]
        places = dict(self._cells)
        for stratum, merged in {
            (name, one.merged) for release in releases for name, one in release.divisions.items()
        }:
            if merged and CROSSED not in stratum:
                at = "AB".index(stratum)
                places[f"{stratum} merged {sorted(merged)}"] = frozenset(
                    pair for pair in self._cells["all"] if pair[at] in merged
                )
        # What is neither of two values: with both margins it leaves a crossed count its least.
        every = self._cells["all"]
        for a, b in every:
            places[f"neither {a} nor {b}"] = frozenset(
                (c, d) for c, d in every if c != a and d != b
            )
        read = self._read(night)
        is_crossed = self._releases[night].divisions.keys() >= {"A", "B"}
        for (name, cell), fates in product(places.items(), RANGES):
            form = self._form(cell, fates)
            is_read = name == "all" or (fates in read and (CROSSED not in name or is_crossed))
            if is_read:
                yield Limit(night, form, *_class(float(form @ now), threshold), name)
            elif fates == (0, len(FATES)) and name in self._cells:
                some = float(form @ now) > 0  # whether there is a row at all
                yield Limit(night, form, float(some), math.inf if some else 0.0, name)
        yield from self._sizes(night)
        for release in releases:
            yield from self._told(night, release, places)

    def _read(self, night: int) -> set[Fates]:
        """Return the sums that the rule reads of strata: of columns that are told as they are."""
        counts, whole = counts_of(self._ward, self._history[night]), self._releases[night].whole
        told = [column for column, row in whole.items() if is_now(row, counts.whole[column])]
        ends = {0} | {end for column in told for end in _ends(column)}
        return {(a, b) for a, b in product(ends, ends) if a < b}

    def _sizes(self, night: int) -> Iterator[Limit]:
        """Yield that values keep their order by size: by that they are merged."""
        for values in (self._ward.a, self._ward.b):
            units = {one: self._form(self._cells[one], (0, 3)) for one in values}
            ordered = sorted(values, key=lambda one: (units[one] @ self._history[night], one))
            for one, other in pairwise(ordered):
                least = 0.0 if one < other else 1.0
                yield Limit(night, units[other] - units[one], least, math.inf)

    def _told(
        self, night: int, release: Release, places: Mapping[str, frozenset[tuple[str, str]]]
    ) -> Iterator[Limit]:
        """Yield how far the counts are from a release: its own is true where it is told anew."""
        for place, column, row in _rows(release):
            events, units = _ends(column)
            for fates, was in (
                ((0, events), row["n_events"] or 0),
                ((0, units), row["n_units"] or 0),
                ((events, units), (row["n_units"] or 0) - (row["n_events"] or 0)),
            ):
                form = self._form(places[place], fates)
                change = float(form @ self._history[night]) - was
                low, high = _class(change, self._thresholds[night])
                is_true = change == 0 and release is self._releases[night]
                if is_true or release is not self._releases[night]:
                    yield Limit(night, form, was + low, was + high, place, is_true)

    def _form(self, cell: frozenset[tuple[str, str]], fates: Fates) -> Floats:
        form = np.zeros(len(self._place))
        for (a, b), fate in product(cell, FATES[fates[0] : fates[1]]):
            form[self._place[a, b, fate]] = 1
        return form

    # How he solves ----------------------------------------------------------------------------

    def _matrix(self, limits: Sequence[Limit]) -> optimize.LinearConstraint:
        n_nights, n_kinds = self._history.shape
        forms = sparse.lil_array((len(limits), n_nights * n_kinds))
        for number, one in enumerate(limits):
            forms[number, one.night * n_kinds : (one.night + 1) * n_kinds] = one.form
        n_changes = (n_nights - 1) * n_kinds
        changes = sparse.eye_array(n_changes, n_nights * n_kinds, k=n_kinds) - sparse.eye_array(
            n_changes, n_nights * n_kinds
        )
        steps = np.full(n_changes, 1.0)
        return optimize.LinearConstraint(
            sparse.vstack([forms, changes], format="csr"),
            np.append([one.low for one in limits], -steps),
            np.append([one.high for one in limits], steps),
        )

    def _search(self, cost: Floats, radius: int) -> History | None:
        """Return a history of which every count stays in its class; None where none is found."""
        true = self._history.ravel()
        bounds = optimize.Bounds(np.maximum(0, true - radius), true + radius)
        return self._solved(cost, [self._known], bounds, np.full(true.size, fill_value=True))

    def _search_with(
        self, target: Target, value: int, luck: np.random.Generator, *, is_near: bool
    ) -> History | None:
        """Return a history with a count as wished, for which few others leave their class.

        Near: for which little of what the rule reads moves, whatever class it is then in. It goes
        on from those that are proven and have the count next to the wish.
        """
        true, known = self._history.ravel(), self._known
        forms: Any = known.A
        form = self._form(self._cells[target.cell], target.fates)
        at = np.flatnonzero(self._soft)
        low, high = known.lb, known.ub
        if is_near:
            gaps = [abs(int(form @ one[target.night]) - value) for one in self._proven]
            nearest = [one for one, gap in zip(self._proven, gaps, strict=True) if gap == min(gaps)]
            were = forms @ nearest[luck.integers(len(nearest))].ravel()
            low, high = low.copy(), high.copy()
            low[at] = high[at] = were[at]
        slack = sparse.csr_array(
            (np.ones(at.size), (at, np.arange(at.size))), shape=(known.lb.size, at.size)
        )
        wish = np.zeros(true.size + 2 * at.size)
        n_kinds = len(self._place)
        wish[target.night * n_kinds : (target.night + 1) * n_kinds] = form
        # Which counts leave their class is tried at random, a whole row of them at a time.
        dear = np.exp(luck.normal(0, 2, self._groups.max() + 1))[self._groups[at]]
        limits = [
            optimize.LinearConstraint(sparse.hstack([forms, slack, -slack]), low, high),
            optimize.LinearConstraint(wish, value, value),
        ]
        bounds = optimize.Bounds(
            np.append(np.maximum(0, true - _RADII[0]), np.zeros(2 * at.size)),
            np.append(true + _RADII[0], np.full(2 * at.size, math.inf)),
        )
        cost = np.concatenate([luck.normal(0, 0.001, true.size), dear, dear])
        whole = np.arange(true.size + 2 * at.size) < true.size
        return self._solved(cost, limits, bounds, whole)

    def _solved(
        self,
        cost: Floats,
        limits: Sequence[optimize.LinearConstraint],
        bounds: optimize.Bounds,
        whole: NDArray[np.bool_],
    ) -> History | None:
        found = optimize.milp(
            cost,
            constraints=limits,
            integrality=whole.astype(np.int64),
            bounds=bounds,
            options={"time_limit": _SECONDS, "mip_rel_gap": 0.05},
        )
        if found.x is None:
            return None
        counts = np.round(found.x[: self._history.size]).astype(np.int64)
        return counts.reshape(self._history.shape)


def _cells(ward: Ward) -> dict[str, frozenset[tuple[str, str]]]:
    every = frozenset(product(ward.a, ward.b))
    return {
        "all": every,
        **{a: frozenset(pair for pair in every if pair[0] == a) for a in ward.a},
        **{b: frozenset(pair for pair in every if pair[1] == b) for b in ward.b},
        **{f"{a}{CROSSED}{b}": frozenset({(a, b)}) for a, b in every},
    }


def _ends(column: Column) -> tuple[int, int]:
    """Return up to which fates children have the event, and are units."""
    return 1 if column.outcome == "severe" else 2, 3 if column.denominator == "complete" else 4


def _rows(release: Release) -> Iterator[tuple[str, Column, Row]]:
    for column, row in release.whole.items():
        yield "all", column, row
    for stratum, division in release.divisions.items():
        for column, rows in division.rows.items():
            for value, row in rows.items():
                yield value, column, row
            if division.merged and CROSSED not in stratum:
                merged = f"{stratum} merged {sorted(division.merged)}"
                yield merged, column, division.rest[column]


def _class(count: float, threshold: int) -> tuple[float, float]:
    """Return within what a count stays none, small, or none of both."""
    if count < 0:
        low, high = _class(-count, threshold)
        return -high, -low
    if count == 0:
        return 0, 0
    return (1, threshold - 1) if count < threshold else (threshold, math.inf)
