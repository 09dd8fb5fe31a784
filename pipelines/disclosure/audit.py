"""How well small counts are known from what is told: bounds by linear programs, stratum by stratum.

The rule of `plan` is argued; this looks. Whoever is told some rows knows that values add up to all
units and crossed values to both margins, that outcomes of a window share their units, and which
columns hold which. Given that, each small count that is not told has a least and a greatest value.
A stratum that leaves one of them too narrow is not told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from pipelines.disclosure.release import CROSSED, Column, Release, StudyCounts
from pipelines.disclosure.rule import Row, is_now, is_small, parts

#: Units whose value of the stratum is not known.
UNKNOWN = "?"
_NOTHING: Row = {"n_units": 0, "n_events": 0, "n_patients": 0}

Floats = NDArray[np.float64]
_ENDS = (1.0, -1.0)
#: Events and other units of a cell.
Pair = tuple[int, int]


def too_narrow(counts: StudyCounts, release: Release, threshold: int) -> list[str]:
    """Return the strata that leave a small count less than half the threshold of small values.

    Args:
        counts: as they are now, unmasked.
        release: what would be told.
        threshold: smallest count that may be told.
    """
    crossed = [
        name
        for name in counts.strata
        if CROSSED in name and {name, *name.split(CROSSED)} & release.divisions.keys()
    ]
    covered = {part for name in crossed for part in name.split(CROSSED)}
    alone = [name for name in release.divisions if name in counts.strata and name not in covered]
    names = [*crossed, *(name for name in alone if CROSSED not in name)]
    return [name for name in names if _System(counts, release, name).is_narrow(threshold)]


class _System:
    """Everything that is known of one stratum, or of two that are crossed."""

    def __init__(self, counts: StudyCounts, release: Release, stratum: str) -> None:
        self._counts, self._release, self._stratum = counts, release, stratum
        self._columns = [
            one
            for one in release.whole
            if one in counts.strata[stratum] and is_now(release.whole[one], counts.whole.get(one))
        ]
        values = {v for c in self._columns for v in counts.strata[stratum][c]}
        self._values = [*sorted(values), UNKNOWN]
        self._place = {
            (column, value): number
            for number, (column, value) in enumerate(
                (c, v) for c in self._columns for v in self._values
            )
        }
        self._equal: list[tuple[dict[int, float], float]] = []
        self._less: list[dict[int, float]] = []
        for column in self._columns:
            self._know_sums(column)
        for a, b in combinations(self._columns, 2):
            self._know_pair(a, b)

    def is_narrow(self, threshold: int) -> bool:
        """Whether some small count can be known within less than half the threshold."""
        if not self._columns:
            return False
        limits = self._limits()
        sums = [which for which, count in self._hidden() if is_small(count, threshold)]
        # Two answers that differ as much show at once for most counts that they are wide.
        every = [at for which in sums for at in which]
        points = self._ends(every, limits) if sums else []
        for which in sums:
            if _is_wide(points, which, threshold):
                continue
            ends = self._ends(which, limits)
            if len(ends) < len(_ENDS) or not _is_wide(ends, which, threshold):
                return True
            points += ends
        return False

    def _true(self, column: Column, value: str) -> Pair:
        every = self._counts.strata[self._stratum][column]
        if value != UNKNOWN:
            return parts(every.get(value, _NOTHING))[:2]
        e, f = parts(self._counts.whole[column])[:2]
        told = [parts(row)[:2] for row in every.values()]
        return e - sum(one for one, _ in told), f - sum(one for _, one in told)

    def _hidden(self) -> Iterator[tuple[list[int], int]]:
        """Yield the counts that are not told: events, others, and both."""
        division = self._release.divisions.get(self._stratum)
        for column, value in self._place:
            if division is None or value not in division.rows.get(column, {}):
                e, f = self._true(column, value)
                at = 2 * self._place[column, value]
                yield from (([at], e), ([at + 1], f), ([at, at + 1], e + f))

    def _know_sums(self, column: Column) -> None:
        self._know(column, self._values, self._counts.whole[column])
        first, _, second = self._stratum.partition(CROSSED)
        for name in (self._stratum, first, second):
            division = self._release.divisions.get(name)
            now = self._counts.strata.get(name, {}).get(column, {})
            if division is None:
                continue
            for value, row in division.rows.get(column, {}).items():
                if is_now(row, now.get(value)) and (inside := self._inside(name, value)):
                    self._know(column, inside, row)

    def _inside(self, stratum: str, value: str) -> list[str]:
        """Return the values of the finest division that a value of this one holds."""
        if stratum == self._stratum:
            return [value]
        place = self._stratum.split(CROSSED).index(stratum)
        return [one for one in self._values[:-1] if one.split(CROSSED)[place] == value]

    def _know(self, column: Column, values: Sequence[str], row: Row) -> None:
        at = [2 * self._place[column, value] for value in values]
        e, f = parts(row)[:2]
        self._equal.append((dict.fromkeys(at, 1.0), float(e)))
        self._equal.append(({one + 1: 1.0 for one in at}, float(f)))

    def _know_pair(self, a: Column, b: Column) -> None:
        """Add what holds between two columns in every value: it is known from what they are."""
        mine = [self._true(a, value) for value in self._values]
        theirs = [self._true(b, value) for value in self._values]
        places = frozenset({(a.outcome, a.window_name), (b.outcome, b.window_name)})
        is_nested = len(places) == 1 or places in self._counts.nested
        if is_nested:
            self._order(a, b, [e for e, _ in mine], [e for e, _ in theirs], (1, 0))
        if a.window_name == b.window_name:
            self._order(a, b, [e + f for e, f in mine], [e + f for e, f in theirs], (1, 1))

    def _order(
        self,
        a: Column,
        b: Column,
        mine: Sequence[int],
        theirs: Sequence[int],
        weights: tuple[int, int],
    ) -> None:
        pairs = list(zip(mine, theirs, strict=True))
        if all(x <= y for x, y in pairs):
            self._add(a, b, weights)
        if all(x >= y for x, y in pairs):
            self._add(b, a, weights)

    def _add(self, inner: Column, outer: Column, weights: tuple[int, int]) -> None:
        for value in self._values:
            at, there = 2 * self._place[inner, value], 2 * self._place[outer, value]
            signs: dict[int, float] = {}
            for step, weight in enumerate(weights):
                if weight:
                    signs |= {at + step: 1.0, there + step: -1.0}
            self._less.append(signs)

    def _limits(self) -> dict[str, Any]:
        n = 2 * len(self._place)
        limits: dict[str, Any] = {
            "A_eq": _matrix([row for row, _ in self._equal], n),
            "b_eq": np.array([value for _, value in self._equal]),
        }
        if self._less:
            limits |= {"A_ub": _matrix(self._less, n), "b_ub": np.zeros(len(self._less))}
        return limits

    def _ends(self, which: Sequence[int], limits: Mapping[str, Any]) -> list[Floats]:
        """Return what all counts can be where the sum of some is least, and where it is greatest.

        One that is not solved is left out.
        """
        cost = np.zeros(2 * len(self._place))
        np.add.at(cost, list(which), 1.0)
        found = [optimize.linprog(sign * cost, **limits, method="highs") for sign in _ENDS]
        return [np.asarray(one.x) for one in found if one.status == 0]


def _is_wide(points: Sequence[Floats], which: Sequence[int], threshold: int) -> bool:
    """Whether a sum of counts takes at least half of the small values between some answers."""
    found = [float(one[which].sum()) for one in points]
    if not found:
        return False
    # That a stratum is not told for a column tells that a count in it is small.
    spread = min(max(found), threshold - 1) - max(min(found), 1)
    return spread >= math.ceil(threshold / 2) - 1e-6


def _matrix(rows: Sequence[Mapping[int, float]], n: int) -> sparse.csr_array:
    at = [(number, place, value) for number, row in enumerate(rows) for place, value in row.items()]
    lines, places, values = (list(one) for one in zip(*at, strict=True))
    return sparse.csr_array((values, (lines, places)), shape=(len(rows), n))
