"""Pairs that surveillance watches, and what of each may be told: units, then events.

Units are told as of one instant, which moves on only when the change of units, and of what units
leave, may be told. Whether it moves does not depend on events: what was seen must not decide when
it is looked at (docs/decisions/190). Events that may not be told then leave a range.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipelines.disclosure.known import Beside, Known, Told, joined, moves_by_little
from pipelines.disclosure.release import ALL, Column, Label
from pipelines.disclosure.rule import Row, has_small
from pipelines.disclosure.watched_events import Events

NAME = "signals.counts_watched"
UNITS = ("n_units_first", "n_units_later")
RANGE = ("n_events_low", "n_events_high")
#: Denominators whose units are among them all that are watched.
_HOLDING = ("complete", "all")
#: Counts of rows of these that stand beside events.
_PARTS = ("n_units", "n_events")

#: Outcome, window and what is watched.
Key = tuple[str, str, str]


class Pairs:
    """Pairs as they are now, as they were told last, and as they are told."""

    def __init__(self, rows: pa.Table, told: Told) -> None:
        self.now: dict[Key, Mapping[str, Any]] = {_key(row): row for row in rows.to_pylist()}
        self._told = told
        self._last: Mapping[Any, Row] = told.last.other.get(NAME, {})
        self.kept: dict[Any, Row] = dict(self._last)
        self._known = Known(told.last.known.get(NAME, {}))
        self._moved: set[Key] = set()

    def move(self, key: Key) -> None:
        """Tell a pair as it is now, if its units may be told so."""
        if self._units_may_be_told(key):
            self.kept[key] = self._snapshot(key)
            self._moved.add(key)

    # Units: whether they move does not hang on events ---------------------------------------------

    def _units_may_be_told(self, key: Key) -> bool:
        row, before = self.now[key], self._last.get(key)
        first, later = (row[name] for name in UNITS)
        counts = [first, later, row["n_patients_later"]]
        if before is not None:
            counts += [row[name] - (before[name] or 0) for name in UNITS]
        for one in _holding(row):
            if (known := self._told.release.row(*one)) is not None:
                counts.append((known["n_units"] or 0) - _watched_of(row, one))
        for other in self._nested_in(key):
            counts += [row[name] - (self.kept[other][name] or 0) for name in UNITS]
        return not has_small(counts, self._told.threshold) and not self._leave_few_units(key)

    def _leave_few_units(self, key: Key) -> bool:
        """Whether what units leave has changed by little since they were told.

        Of counts as they are, told or not: when those are told hangs on events.
        """
        threshold = self._told.threshold
        for label, count in self._units_left(key).items():
            if moves_by_little(count, self._known.was(label, None), threshold):
                return True
        units = {name: self.now[key][name] for name in UNITS}
        for other in self._nested_in(key):
            for name in UNITS:
                if self._is_true(other, name):
                    known = self._known.was(*self._apart(self._last, key, other, name))
                    change = _apart(key, other, units[name], self.kept[other][name])
                    if change is not None and moves_by_little(change, known, threshold):
                        return True
        return False

    def _units_left(self, key: Key) -> dict[Label, int]:
        """Return the complete units that are not watched: of all, of a drug, and by ordinal."""
        found: dict[Label, int] = {}
        for one in _holding(self.now[key]):
            row = self._told.now(*one)
            if one[0].denominator == "complete" and row is not None:
                left = (row["n_units"] or 0) - _watched_of(self.now[key], one)
                found["units", *key, *one[1:]] = left
        return found

    def _is_true(self, key: Key, name: str) -> bool:
        """Whether a number of a pair is told, and so now."""
        now, kept = self.now.get(key), self.kept.get(key)
        if now is None or kept is None or kept[name] is None:
            return False
        return bool(kept[name] == now[name])

    # Events: told, or a range ---------------------------------------------------------------------

    def _snapshot(self, key: Key) -> dict[str, int | None]:
        """Return a pair at this instant: its events, or the least and most that they can be."""
        row, before = self.now[key], self._last.get(key)
        events, units = row["n_events"], row["n_units_first"] + row["n_units_later"]
        last = None if before is None else before["told_events"]
        found: dict[str, int | None] = {
            "definition": definition(row),
            **{name: row[name] for name in UNITS},
            "n_events": None,
            **dict.fromkeys(RANGE),
            "told_events": last,
            "told_units": None if before is None else before.get("told_units"),
        }
        said, low, high = self._events(key, last).said(events)
        if said is None:
            return {**found, **dict(zip(RANGE, (low, high), strict=True))}
        known = {"told_events": events, "told_units": units}
        return {**found, "n_events": events, **dict.fromkeys(RANGE, events), **known}

    def _events(self, key: Key, last: int | None) -> Events:
        """Return what the events of a pair stand beside."""
        row = self.now[key]
        sides = self._sides(row)
        known = [*self._told_sides(row), *sides]
        nested = [self.kept[one]["n_events"] for one in self._nested_in(key)]
        return Events(
            units=row["n_units_first"] + row["n_units_later"],
            last=last,
            above=tuple(one["n_events"] or 0 for one in sides),
            sides=frozenset((one["n_units"] or 0, one["n_events"] or 0) for one in known),
            nested=tuple(one for one in nested if one is not None),
            steps=frozenset(self._steps(key, last)),
            has_range=key in self._last,
            threshold=self._told.threshold,
        )

    def _steps(self, key: Key, last: int | None) -> set[int]:
        """Return the numbers of events at which what lies beside them would not have changed.

        A number near one of them says that it has changed by little since it was known.
        """
        row, before, found = self.now[key], self._last.get(key), set[int]()
        units = None if before is None else before.get("told_units")
        if last is not None and units is not None:
            found.add(row["n_units_first"] + row["n_units_later"] - units + last)
        for one in _of_all(row):
            for part in _PARTS:
                if (count := self._told.part(one, part)) is not None:
                    known = self._known.was(*self._left(self._last, key, one, part))
                    found |= {count - left for left in known}
        for other in self._nested_in(key):
            if self._is_true(other, "n_events"):
                known = self._known.was(*self._apart(self._last, key, other, "n_events"))
                events = self.kept[other]["n_events"] or 0
                found |= {events + (was if key < other else -was) for was in known}
        return found

    def _told_sides(self, row: Mapping[str, Any]) -> list[Row]:
        """Return the rows of counts that are told and hold all units that are watched."""
        told = (self._told.release.row(*one) for one in _of_all(row))
        return [one for one in told if one is not None]

    def _sides(self, row: Mapping[str, Any]) -> list[Row]:
        """Return the same rows as they are now, told so or not."""
        found = []
        for one in _of_all(row):
            told, now = self._told.release.row(*one), self._told.now(*one)
            if told is not None:
                found.append(told if now is None else now)
        return found

    # Other pairs, and what is known from then on --------------------------------------------------

    def _nested_in(self, key: Key) -> list[Key]:
        """Return the other pairs that are told and of which one holds the events of the other."""
        place, nested = key[:2], self._told.counts.nested
        return [
            other
            for other in self.kept
            if other != key and (other[:2] == place or frozenset({other[:2], place}) in nested)
        ]

    def _left(
        self, rows: Mapping[Any, Row], key: Key, one: Beside, part: str
    ) -> tuple[Label, int | None]:
        """Return the label of what events leave of a count beside them, and how much is told so."""
        release = self._told.last if rows is self._last else self._told.release
        row, events = release.row(*one), rows[key]["n_events"] if key in rows else None
        count = None if row is None else row[part]
        left = None if count is None or events is None else count - events
        return ("beside", *key, one[0].denominator, *one[1:], part), left

    def _apart(
        self, rows: Mapping[Any, Row], a: Key, b: Key, name: str
    ) -> tuple[Label, int | None]:
        """Return the label of what lies between two pairs, and how much that is in some rows."""
        one, two = (rows[key][name] if key in rows else None for key in (a, b))
        return ("apart", *min(a, b), *max(a, b), name), _apart(a, b, one, two)

    def known(self) -> Mapping[Label, Sequence[int]]:
        """Return what can be known of pairs from now on, beside what is told of them."""
        for key in self.kept:
            self._keep_beside(key)
            for other in self._nested_in(key):
                if key < other:
                    self._keep_apart(key, other)
        return self._known.now

    def _keep_beside(self, key: Key) -> None:
        """Keep what units left when they were told, and counts that were true beside events."""
        now = self._units_left(key) if key in self._moved else {}
        for one in _holding(_named(key)):
            label: Label = ("units", *key, *one[1:])
            if one[0].denominator == "complete":
                known = (now[label],) if label in now else self._known.was(label, None)
                self._known.keep(label, known, None)
        for one in _of_all(_named(key)):
            for part in _PARTS:
                label, told = self._left(self.kept, key, one, part)
                known = self._known.was(*self._left(self._last, key, one, part))
                is_true = self._told.part(one, part) is not None and self._is_true(key, "n_events")
                if told is not None and is_true:
                    known = (told,) if key in self._moved else joined(known, told)
                self._known.keep(label, known, told)

    def _keep_apart(self, a: Key, b: Key) -> None:
        """Keep how two pairs differed when both were true, since one of them has moved."""
        has_moved = not self._moved.isdisjoint({a, b})
        for name in (*UNITS, "n_events"):
            label, told = self._apart(self.kept, a, b, name)
            known = self._known.was(*self._apart(self._last, a, b, name))
            if told is not None and self._is_true(a, name) and self._is_true(b, name):
                known = (told,) if has_moved else joined(known, told)
            self._known.keep(label, known, told)


def definition(row: Mapping[str, Any]) -> int:
    """Return a number for how a pair is defined; snapshots of another definition are not told."""
    return int(row["pair_hash"][:15], 16)


def _key(row: Mapping[str, Any]) -> Key:
    return row["outcome"], row["window_name"], row["watched"]


def _named(key: Key) -> Mapping[str, Any]:
    return dict(zip(("outcome", "window_name", "watched"), key, strict=True))


def _apart(a: Key, b: Key, one: int | None, two: int | None) -> int | None:
    """Return how much more the pair has that comes first, whichever was asked for first."""
    if one is None or two is None:
        return None
    return one - two if a < b else two - one


def _of_all(row: Mapping[str, Any]) -> Iterator[Beside]:
    """Yield the rows of counts that hold all units that are watched, by ordinal or not."""
    values = [(ALL, ALL)]
    if row["watched"] != ALL:
        values.append(("drug", row["watched"]))
    for denominator in _HOLDING:
        column = Column(row["outcome"], row["window_name"], denominator)
        yield from ((column, *one) for one in values)


def _holding(row: Mapping[str, Any]) -> Iterator[Beside]:
    """Yield the rows of counts that hold units that are watched: all of them, first, later."""
    yield from _of_all(row)
    for denominator in _HOLDING:
        column = Column(row["outcome"], row["window_name"], denominator)
        yield from ((column, "ordinal", value) for value in ("first", "later"))


def _watched_of(row: Mapping[str, Any], one: Beside) -> int:
    """Return the watched units that a row of counts holds."""
    names = (f"n_units_{one[2]}",) if one[1] == "ordinal" else UNITS
    return sum(row[name] for name in names)
