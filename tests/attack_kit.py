"""An invented ward whose counts are told night after night, and somebody who wants the rest.

The attacker solves integer programs (scipy's `milp`) over the number of children of each kind on
each night on which anything was told. It knows every number that was told, on which nights each was
true, that a night changes each kind by one child at most, that each child has one infusion, and the
rule by which a row is left out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

import numpy as np
import pyarrow as pa
from scipy import optimize, sparse

from pipelines.disclosure.nested import Links, Nested
from pipelines.disclosure.release import Column, Division, Release, StudyCounts
from pipelines.disclosure.rule import Row, may_be_told
from pipelines.signals.counts import KEY_COLUMNS, MOMENT_COLUMNS

#: What a child had: the severe event, the mild one alone, none, or none before it was lost.
FATES = ("severe", "mild", "none", "lost")
COLUMNS = tuple(
    Column(outcome, "risk", denominator)
    for outcome, denominator in product(("any", "severe"), ("complete", "all"))
)
NESTED: Nested = frozenset({frozenset({("any", "risk"), ("severe", "risk")})})
Kind = tuple[str, str, str]
#: A count: of column, stratum and value, which of events, others and units.
Cell = tuple[Column, str, str, str]
PARTS = ("events", "others", "units")


@dataclass
class Ward:
    """How many children of each kind there are: by two strata and fate."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    n: dict[Kind, int] = field(default_factory=dict)

    @classmethod
    def drawn(cls, luck: random.Random) -> Ward:
        ward = cls(("a1", "a2", "a3", "a4")[: luck.choice((2, 3, 4))], ("b1", "b2"))
        weight = {name: luck.choice((0.1, 0.6, 1.0, 2.0)) for name in ward.a + ward.b}
        share = dict(zip(FATES, luck.choice(_SHARES), strict=True))
        for kind in ward.kinds():
            mean = 60 * weight[kind[0]] * weight[kind[1]] * share[kind[2]]
            ward.n[kind] = luck.randint(0, round(2 * mean))
        return ward

    def kinds(self) -> list[Kind]:
        return list(product(self.a, self.b, FATES))

    def night(self, luck: random.Random) -> None:
        """Add or take away a child of each kind, or do not."""
        for kind in self.kinds():
            self.n[kind] = max(0, self.n[kind] + luck.choice(_CHANGES))

    def cells(self) -> Iterator[tuple[Column, str, str, set[Kind], set[Kind]]]:
        """Yield every row: who is counted in it, and who of them had the event."""
        strata = [("all", "all", self.kinds())]
        strata += [("A", a, [k for k in self.kinds() if k[0] == a]) for a in self.a]
        strata += [("B", b, [k for k in self.kinds() if k[1] == b]) for b in self.b]
        strata += [
            ("A x B", f"{a} x {b}", [k for k in self.kinds() if k[:2] == (a, b)])
            for a, b in product(self.a, self.b)
        ]
        for (stratum, value, kinds), column in product(strata, COLUMNS):
            units = {k for k in kinds if column.denominator == "all" or k[2] != "lost"}
            had = {"severe"} if column.outcome == "severe" else {"severe", "mild"}
            yield column, stratum, value, units, {k for k in units if k[2] in had}

    def counts(self) -> StudyCounts:
        whole: dict[Column, Row] = {}
        strata: dict[str, dict[Column, dict[str, Row]]] = {}
        for column, stratum, value, units, events in self.cells():
            n, e = (sum(self.n[kind] for kind in kinds) for kinds in (units, events))
            # Each child has one infusion: squares are the counts themselves.
            row: Row = dict(zip(MOMENT_COLUMNS, (n, e, n, e, e, n, n), strict=True))
            if stratum == "all":
                whole[column] = row
            else:
                strata.setdefault(stratum, {}).setdefault(column, {})[value] = row
        return StudyCounts(whole, strata, COLUMNS, NESTED)


def as_table(counts: StudyCounts) -> pa.Table:
    """Return the counts as rows of `signals.counts`, without statuses."""
    rows = [(column, "all", "all", row) for column, row in counts.whole.items()]
    rows += [
        (column, stratum, value, row)
        for stratum, columns in counts.strata.items()
        for column, values in columns.items()
        for value, row in values.items()
    ]
    told = [
        ("study", "site", c.outcome, c.window_name, stratum, value, c.denominator, *row.values())
        for c, stratum, value, row in rows
    ]
    names = [*KEY_COLUMNS, *MOMENT_COLUMNS]
    return pa.Table.from_pylist([dict(zip(names, one, strict=True)) for one in told])


_SHARES = ((0.1, 0.2, 0.6, 0.1), (0.3, 0.3, 0.3, 0.1), (0.02, 0.1, 0.85, 0.03), (0.5, 0.2, 0.3, 0))
_CHANGES = (0, 0, 0, 1, 1, -1)


#: There are no more children of a kind than this.
MOST = 600
_MANY = float(MOST * 40)
#: Yes-or-no unknowns, for reasons of which one holds.
N_SWITCHES = 600


@dataclass(frozen=True)
class Night:
    """What was told on a night: rows that are true on it, by column, stratum and value."""

    number: int
    told: dict[tuple[Column, str, str], Row]
    few: Mapping[Column, int | None] = field(default_factory=dict)


def true_rows(release: Release, now: StudyCounts) -> dict[tuple[Column, str, str], Row]:
    """Return the rows of a release that are what they are this very night."""
    found = {
        (column, "all", "all"): row
        for column, row in release.whole.items()
        if all(row[name] == now.whole[column][name] for name in ("n_units", "n_events"))
    }
    for stratum, division in release.divisions.items():
        for column, rows in division.rows.items():
            is_now = all(
                value in now.strata[stratum][column]
                and all(
                    row[name] == now.strata[stratum][column][value][name]
                    for name in ("n_units", "n_events")
                )
                for value, row in rows.items()
            )
            if is_now and (column, "all", "all") in found:
                found |= {(column, stratum, value): row for value, row in rows.items()}
    return found


class Attacker:
    """What can be worked out of the last night."""

    def __init__(self, ward: Ward, nights: Sequence[Night], threshold: int) -> None:
        self._kinds = ward.kinds()
        self._nights = nights
        self._rows = {
            (column, stratum, value): (units, events)
            for column, stratum, value, units, events in ward.cells()
        }
        self._n_counts = len(self._kinds) * len(nights)
        self._n = self._n_counts + N_SWITCHES
        self._n_used = self._n_counts
        self._t = threshold
        self._a: list[np.ndarray] = []
        self._low: list[float] = []
        self._high: list[float] = []
        for place, night in enumerate(nights):
            for key, row in night.told.items():
                units, events = self._rows[key]
                self._know(self._sum(place, units), row["n_units"], row["n_units"])
                self._know(self._sum(place, events), row["n_events"], row["n_events"])
            for column, n in night.few.items():
                units, events = self._rows[column, "all", "all"]
                self._know(self._sum(place, events), 1, threshold - 1)
                if n is not None:
                    self._know(self._sum(place, units), n, n)
            if place:
                span = night.number - nights[place - 1].number
                for kind in self._kinds:
                    change = self._sum(place, {kind}) - self._sum(place - 1, {kind})
                    self._know(change, -span, span)

    # The rule itself ------------------------------------------------------------------------

    def know_the_rule(self, release: Release) -> None:
        """Add that each row of the one night there is, and that is not told, has a reason."""
        for column in COLUMNS:
            if column in release.few:
                continue
            if column not in release.whole:
                mine = self._parts(column, "all", ["all"])
                self._is_not_small(mine[0])
                self._one_is_small([*mine, *self._gaps(column, release.whole, "all", ["all"])])
                continue
            for stratum, division in release.divisions.items():
                if column not in division.rows:
                    self._know_why_not_divided(column, stratum, division)

    def _know_why_not_divided(self, column: Column, stratum: str, division: Division) -> None:
        values = sorted(v for c, s, v in self._rows if c == column and s == stratum)
        merged = [value for value in values if value in division.merged]
        groups = [[value] for value in values if value not in merged]
        reasons: list[np.ndarray] = []
        for group in [*groups, *([merged] if merged else [])]:
            reasons += self._parts(column, stratum, group)
            reasons += self._gaps(column, division.rows, stratum, group)
        self._one_is_small(reasons)

    def _parts(self, column: Column, stratum: str, values: Sequence[str]) -> list[np.ndarray]:
        """Return events, others and units of some values together."""
        found = [np.zeros(self._n) for _ in range(3)]
        for value in values:
            units, events = self._rows[column, stratum, value]
            for row, kinds in zip(found, (events, units - events, units), strict=True):
                row += self._sum(0, kinds)
        return found

    def _gaps(
        self, column: Column, told: Iterable[Column], stratum: str, values: Sequence[str]
    ) -> list[np.ndarray]:
        """Return all differences from told columns that must not be small."""
        e, f, n = self._parts(column, stratum, values)
        found = []
        for other, link in Links(COLUMNS, NESTED).of(column):
            if other in told:
                oe, of, on = self._parts(other, stratum, values)
                found += [n - oe, on - e]
                found += [e - oe] if link.has_events else []
                found += [f - of] if link.has_others else []
                found += [n - on] if link.has_units else []
        return [*found, *(-one for one in found)]

    def _is_not_small(self, row: np.ndarray) -> None:
        switch = self._switch()
        self._know(row - switch * _MANY, -math.inf, 0)
        self._know(row - switch * self._t, 0, math.inf)

    def _one_is_small(self, rows: Sequence[np.ndarray]) -> None:
        total = np.zeros(self._n)
        for row in rows:
            switch = self._switch()
            total += switch
            self._know(row - switch * _MANY, 1 - _MANY, math.inf)
            self._know(row + switch * _MANY, -math.inf, self._t - 1 + _MANY)
        self._know(total, 1, math.inf)

    def _switch(self) -> np.ndarray:
        row = np.zeros(self._n)
        row[self._n_used] = 1
        self._n_used += 1
        return row

    @cached_property
    def _most(self) -> np.ndarray:
        most = np.ones(self._n)
        most[: self._n_counts] = MOST
        return most

    @cached_property
    def _known(self) -> sparse.csr_array:
        return sparse.csr_array(np.array(self._a))

    def _sum(self, place: int, kinds: set[Kind]) -> np.ndarray:
        row = np.zeros(self._n)
        for kind in kinds:
            row[place * len(self._kinds) + self._kinds.index(kind)] = 1
        return row

    def _know(self, row: np.ndarray, low: float | None, high: float | None) -> None:
        self._a.append(row)
        self._low.append(float(low or 0))
        self._high.append(float(high or 0))

    def range(self, kinds: set[Kind], place: int = -1) -> tuple[int, int]:
        """Return the least and the greatest that a number of children can be, on a night."""
        row = self._sum(range(len(self._nights))[place], kinds)
        return round(self._solve(row)), round(-self._solve(-row))

    def can_be(self, kinds: set[Kind], value: int, place: int = -1) -> bool:
        row = self._sum(range(len(self._nights))[place], kinds)
        return not np.isnan(self._solve(row, (row, value)))

    def _solve(self, cost: np.ndarray, fixed: tuple[np.ndarray, int] | None = None) -> float:
        limits = [optimize.LinearConstraint(self._known, self._low, self._high)] if self._a else []
        if fixed:
            limits.append(optimize.LinearConstraint(fixed[0], fixed[1], fixed[1]))
        found = optimize.milp(
            cost,
            constraints=limits,
            integrality=np.ones(self._n, dtype=np.int64),
            bounds=optimize.Bounds(0, self._most),
        )
        return float(found.fun) if found.status == 0 else float("nan")


def primary_only(counts: StudyCounts, threshold: int) -> dict[tuple[Column, str, str], Row]:
    """Return the rows that hold nothing small by themselves: all that a naive rule leaves out."""
    rows = {(column, "all", "all"): row for column, row in counts.whole.items()}
    rows |= {
        (column, stratum, value): row
        for stratum, columns in counts.strata.items()
        for column, values in columns.items()
        for value, row in values.items()
    }
    return {key: row for key, row in rows.items() if may_be_told(row, threshold)}


def small(ward: Ward, threshold: int) -> dict[str, set[Kind]]:
    """Return the groups of children that are fewer than the threshold, by what they are."""
    found: dict[str, set[Kind]] = {}
    for column, stratum, value, units, events in ward.cells():
        name = f"{column} {stratum}={value}"
        found |= {f"{name} events": events, f"{name} others": units - events}
        found |= {f"{name} units": units}
        found |= {
            f"{stratum}={value} {fate}": {kind for kind in units if kind[2] == fate}
            for fate in FATES
        }
    return {
        name: kinds
        for name, kinds in found.items()
        if 0 < sum(ward.n[kind] for kind in kinds) < threshold
    }
