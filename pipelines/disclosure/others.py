"""The other tables of counts: told where what they hang together with is, and nothing is small.

Bins of hours and pairs of infusions are often one child. Of onset only the days of all units are
told, of each outcome all bins or none: a bin left out would follow from the others.

A group of rows moves only while each row of `signals.counts` that it hangs together with is told as
it is now. Then what lies between is held against what could be known before, and where such a row
moves on alone, what lies between changes by no more than the row itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import pyarrow as pa

from pipelines.disclosure.groups import (
    TABLES,
    Counts,
    Group,
    Key,
    days_of,
    differences,
    groups_of,
    key_names,
    left,
    may_clash,
    needed,
    numbers,
    options,
    own,
    partners,
    place_of,
    present,
)
from pipelines.disclosure.known import Beside, Known, Told, joined, moves_by_little
from pipelines.disclosure.release import Label
from pipelines.disclosure.rule import Row, has_small
from pipelines.signals.counts import SHARED

__all__ = ["Key", "Told", "key_names", "told_others"]


def told_others(
    tables: Mapping[str, pa.Table], told: Told
) -> tuple[dict[str, dict[Key, Row]], dict[str, Mapping[Label, Sequence[int]]]]:
    """Return the rows of the other count tables that may be told, by table and key.

    And by table what else is known of them: see `Release.known`.

    Args:
        tables: rows of one study at one site, by the table's name in the warehouse.
        told: what is told of `signals.counts`.
    """
    found: dict[str, dict[Key, Row]] = {}
    known: dict[str, Mapping[Label, Sequence[int]]] = {}
    for name in TABLES:
        table = _Table(name, tables.get(name), told)
        table.move()
        found[name] = {key: row for group in table.kept.values() for key, row in group.items()}
        known[name] = table.known()
    return found, known


class _Table:
    """The groups of a table: as they are now, as they were told last, and as they are told."""

    def __init__(self, name: str, table: pa.Table | None, told: Told) -> None:
        self._name, self._told = name, told
        self._now = {} if table is None else present(name, table, told.counts)
        self._last = groups_of(name, told.last.other.get(name, {}))
        # What was told before counts, too: it stands beside what is told now.
        self.kept = dict(self._last)
        self._known = Known(told.last.known.get(name, {}))

    def move(self) -> None:
        """Tell groups as they are now, where that gives nothing away."""
        for owner, group in self._now.items():
            if not self._has_partners(owner):
                continue
            for option in options(self._name, group, self._told.threshold):
                if self._may_be_told(owner, option):
                    self.kept[owner] = option
                    break

    def _has_partners(self, owner: Key) -> bool:
        """Whether all that a group hangs together with is told as it is now."""
        told = self._told
        return all(told.row(*one) is not None for one in needed(self._name, owner)) and all(
            told.part(one, part) is not None
            for one, names in partners(self._name, owner, told.counts).items()
            for part in names
            if one not in needed(self._name, owner) and told.release.row(*one) is not None
        )

    def _may_be_told(self, owner: Key, group: Group) -> bool:
        counts = own(self._name, group)
        return not (
            has_small((one or 0 for one in counts.values()), self._told.threshold)
            or self._moves_by_little(("own", *owner), counts, self._own_was(owner), set(counts))
            or self._leaves_few(owner, group)
            or any(
                self._clashes(owner, group, other)
                for other in self.kept
                if may_clash(self._name, owner, other, self._told.counts)
            )
        )

    # Beside rows of signals.counts ----------------------------------------------------------------

    def _leaves_few(self, owner: Key, group: Group) -> bool:
        """Whether little is left between a group and the rows beside it, or has come or gone."""
        threshold, before = self._told.threshold, self._last_known(owner)
        for one, part, count in self._counts_beside(owner):
            days = days_of(self._name, group, before or {})
            now = left(self._name, group, one, part, count, days)
            if has_small(now.values(), threshold):
                return True
            if before is None:
                continue
            known = self._known.was(_label(owner, one, part), self._was_told(one, part))
            then = [left(self._name, before, one, part, was, days) for was in known]
            if any(
                moves_by_little(value, [was[label] for was in then if label in was], threshold)
                for label, value in now.items()
            ):
                return True
        return False

    def _last_known(self, owner: Key) -> Group | None:
        """Return a group as it was told last; what was left out then, as it was before."""
        group = self._last.get(owner)
        if group is None or self._name != SHARED.name:
            return group
        [(key, row)] = group.items()
        known = {one: self._known.was(("own", *owner, one), n) for one, n in row.items()}
        return {key: {one: values[-1] if values else None for one, values in known.items()}}

    def _counts_beside(self, owner: Key) -> Iterator[tuple[Beside, str, int]]:
        """Yield the counts of rows beside a group that are told as they are now."""
        for one, names in partners(self._name, owner, self._told.counts).items():
            row = self._told.row(*one)
            for part in names:
                count = self._told.part(one, part) if row is None else row[part]
                if count is not None:
                    yield one, part, count

    def _was_told(self, beside: Beside, part: str) -> int | None:
        row = self._told.last.row(*beside)
        return None if row is None else row[part]

    # Beside other groups --------------------------------------------------------------------------

    def _clashes(self, owner: Key, group: Group, other: Key) -> bool:
        """Whether two groups of which one holds the other differ by little, or by little more."""
        pair, groups = _in_order(owner, other), {owner: group, other: self.kept[other]}
        now = differences(self._name, groups[pair[0]], groups[pair[1]])
        if has_small((one or 0 for one in now.values()), self._told.threshold):
            return True
        about = _of_pair(pair)
        return self._moves_by_little(about, now, self._apart(pair), self._true(other))

    def _apart(self, pair: tuple[Key, Key]) -> Counts | None:
        """Return how two groups differed as they were told last; None if they were not both."""
        a, b = (self._last.get(one) for one in pair)
        return None if a is None or b is None else differences(self._name, a, b)

    def _true(self, owner: Key) -> set[Label]:
        """Return the numbers of a group, as it is told, that are so now."""
        told, now = (
            numbers(self._name, one) for one in (self.kept[owner], self._now.get(owner, {}))
        )
        return {one for one in {**told, **now} if told.get(one, 0) == now.get(one, 0)}

    def _has_moved(self, owner: Key) -> bool:
        return self.kept[owner] != self._last.get(owner)

    # What is known from then on -------------------------------------------------------------------

    def _own_was(self, owner: Key) -> Counts | None:
        return own(self._name, self._last[owner]) if owner in self._last else None

    def _moves_by_little(
        self, about: Label, now: Counts, before: Counts | None, true: Collection[Label]
    ) -> bool:
        """Whether one of several numbers has changed by little since it was known.

        Args:
            about: the beginning of their labels.
            now: the numbers.
            before: as they were told last; one that is not there was none.
            true: which of them can be known now, of those that are there.
        """
        if before is None:
            return False
        for label in {**now, **before}:
            value = now.get(label, 0)
            known = self._known.was((*about, *label), before.get(label, 0))
            is_known = value is not None and (label in true or label not in now)
            if is_known and moves_by_little(value or 0, known, self._told.threshold):
                return True
        return False

    def known(self) -> Mapping[Label, Sequence[int]]:
        """Return what can be known of groups from now on, beside what is told of them."""
        for owner, group in self.kept.items():
            self._keep_own(owner, group)
            self._keep_beside(owner)
        for pair in self._pairs():
            self._keep_apart(pair)
        return self._known.now

    def _keep_own(self, owner: Key, group: Group) -> None:
        """Keep what was told of a count that is not told any more."""
        before = self._own_was(owner) or {}
        for label, count in own(self._name, group).items():
            about = ("own", *owner, *label)
            known = self._known.was(about, before.get(label))
            self._known.keep(about, known if count is None else (count,), count)

    def _keep_beside(self, owner: Key) -> None:
        """Keep the counts beside a group that were true while it was, since it moved."""
        there = {(one, part): count for one, part, count in self._counts_beside(owner)}
        for one, names in partners(self._name, owner, self._told.counts).items():
            row = self._told.release.row(*one)
            for part in names:
                label, count = _label(owner, one, part), there.get((one, part))
                known: Sequence[int] = ()
                if not self._has_moved(owner) or not self._left(owner, one, part):
                    known = self._known.was(label, self._was_told(one, part))
                if count is not None and self._is_true_beside(owner, one, part):
                    known = joined(known, count)
                self._known.keep(label, known, None if row is None else row[part])

    def _is_true_beside(self, owner: Key, beside: Beside, part: str) -> bool:
        """Whether all of a group is so now that is told of it beside a row's count."""
        told, now = self.kept[owner], self._now.get(owner)
        if now is None:
            return False
        days = days_of(self._name, told, now)
        one, other = (left(self._name, group, beside, part, 0, days) for group in (told, now))
        return bool(one) and one == other

    def _left(self, owner: Key, beside: Beside, part: str) -> Mapping[Label, int]:
        return left(self._name, self.kept[owner], beside, part, 0)

    def _pairs(self) -> Iterator[tuple[Key, Key]]:
        """Yield each two groups of which one holds the other."""
        places: dict[Any, list[Key]] = defaultdict(list)
        for owner in self.kept:
            places[place_of(self._name, owner)].append(owner)
        for owners in places.values():
            for a, b in combinations(owners, 2):
                if may_clash(self._name, a, b, self._told.counts):
                    yield _in_order(a, b)

    def _keep_apart(self, pair: tuple[Key, Key]) -> None:
        """Keep how two groups differed when both were true, since one of them has moved."""
        told = differences(self._name, *(self.kept[one] for one in pair))
        before = self._apart(pair)
        known_now = self._true(pair[0]) & self._true(pair[1])
        has_moved = any(self._has_moved(one) for one in pair)
        for label in {**told, **(before or {})}:
            value, about = told.get(label, 0), (*_of_pair(pair), *label)
            known = self._known.was(about, None if before is None else before.get(label, 0))
            if value is not None and (label in known_now or label not in told):
                known = (value,) if has_moved else joined(known, value)
            self._known.keep(about, known, value)


def _label(owner: Key, beside: Beside, part: str) -> Label:
    column, stratum, value = beside
    about = column.outcome, column.window_name, column.denominator, stratum, value
    return ("beside", *owner, *about, part)


def _of_pair(pair: tuple[Key, Key]) -> Label:
    return ("apart", *pair[0], *pair[1])


def _in_order(a: Key, b: Key) -> tuple[Key, Key]:
    return (a, b) if a < b else (b, a)
