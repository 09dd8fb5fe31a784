"""Deciding what is told: primary and complementary suppression at once, before any rounding.

The rule is simple, so that it can be argued and attacked (decision 160):

1. A column (outcome, window, denominator) is told only if nothing small is in its row of all units,
   nor in its difference from a told column that it holds or that holds it.
2. A stratum is told with the same values left out for all columns: those are merged, and their sum
   must itself be fit to be told. A column with something small in any other value is not divided
   by that stratum.
3. Two crossed strata are told for every column that is told by both of them, with nothing merged,
   or for none.
4. A stratum that leaves a small count too narrow a range (`audit`) is not told all the same.
5. What was told before stays as it was until what has changed since can be told.

Every number that is told, and every sum or difference of numbers that are told, is 0 or at least
the threshold. Where only the number of patients stands in the way, that alone is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines.disclosure.audit import too_narrow
from pipelines.disclosure.between import Between
from pipelines.disclosure.nested import Links
from pipelines.disclosure.release import (
    ALL,
    CROSSED,
    Column,
    Release,
    Rows,
    StudyCounts,
    Where,
)
from pipelines.disclosure.rule import (
    Row,
    is_now,
    is_small,
    may_be_told,
    may_follow,
    may_stand_together,
    tells_patients,
    without_patients,
)
from pipelines.disclosure.strata import Strata, ordered


def plan(counts: StudyCounts, threshold: int, last: Release | None = None) -> Release:
    """Return what may be told of a study's counts after `last` was.

    Args:
        counts: as they are now, unmasked.
        threshold: smallest count that may be told.
        last: what was told before; its figures stay where the change is small.
    """
    before = last or Release(threshold)
    whole = _Whole(counts, threshold, before).rows()
    planner = Strata(counts, threshold, before, whole)
    divisions = planner.one_way()
    few = {
        column: _units_told_elsewhere(column, row, whole)
        for column, row in counts.whole.items()
        if column not in whole and is_small(row["n_events"] or 0, threshold)
    }
    told = Release(threshold, whole, {**divisions, **planner.crossed(divisions)}, few=few)
    release = _wide_enough(counts, told, before)
    between = Between(counts, before, Links(ordered(counts, before), counts.nested), threshold)
    silent = _patients_told_before(release, before)
    return replace(release, apart=between.apart(release), patients=silent)


def _patients_told_before(release: Release, last: Release) -> dict[Where, int]:
    """Return the numbers of patients that were told last of rows which tell none now."""
    found = {}
    places = [(column, ALL, ALL) for column in release.whole]
    for name, division in release.divisions.items():
        places += [(c, name, value) for c, rows in division.rows.items() for value in rows]
    for where in places:
        now, before = release.row(*where), last.row(*where)
        if now is None or now["n_patients"] is not None:
            continue
        told = last.patients.get(where) if before is None else before["n_patients"]
        told = last.patients.get(where) if told is None else told
        if told is not None:
            found[where] = told
    return found


def _wide_enough(counts: StudyCounts, release: Release, last: Release) -> Release:
    """Return a release without the new strata that tell too much of a small count."""
    while True:
        new = {n for n, one in release.divisions.items() if one != last.divisions.get(n)}
        if not new:
            return release
        for name in too_narrow(counts, release, release.threshold):
            # What is crossed tells most; its margins go where that is not enough.
            gone = {name} & new or set(name.split(CROSSED)) & new
            if gone:
                break
        else:
            return release
        left = {n: one for n, one in release.divisions.items() if n not in gone}
        back = {n: last.divisions[n] for n in gone if n in last.divisions}
        release = replace(release, divisions={**left, **back})


def _units_told_elsewhere(column: Column, row: Row, whole: Rows) -> int | None:
    """Return a column's units if another one's of its window, which are told, are as many."""
    is_known = any(
        (one.window_name, one.denominator) == (column.window_name, column.denominator)
        and told["n_units"] == row["n_units"]
        for one, told in whole.items()
    )
    return row["n_units"] if is_known else None


class _Whole:
    """Which rows of all units are told."""

    def __init__(self, counts: StudyCounts, threshold: int, last: Release) -> None:
        self._counts, self._t, self._last, self._known = counts, threshold, last, last.whole
        self._order = ordered(counts, last)
        self._links = Links(self._order, counts.nested)
        self._between = Between(counts, last, self._links, threshold)

    def rows(self) -> dict[Column, Row]:
        """Return known rows, brought up to date where that gives nothing away, and new ones."""
        options = {column: self._options(column) for column in self._order}
        fresh = [column for column in self._order if options[column]]
        while True:
            told = {**self._known, **{column: options[column][0] for column in fresh}}
            clashing = self._first_clash(told, fresh)
            if clashing is None:
                return told
            options[clashing].pop(0)
            if not options[clashing]:
                fresh.remove(clashing)

    def _options(self, column: Column) -> list[Row]:
        """Return how a row could be told now, the best first."""
        row = self._counts.whole.get(column)
        if row is None or not may_be_told(row, self._t):
            return []
        known = self._known.get(column)
        return [
            one
            for one in (row, without_patients(row))
            if tells_patients(one, self._t)
            if self._last.may_tell_patients(one, (column, ALL, ALL), self._t)
            if known is None or may_follow(one, known, self._t)
        ]

    def _first_clash(self, told: Rows, fresh: Sequence[Column]) -> Column | None:
        """Return the later one of the first pair that clashes."""
        place = {column: number for number, column in enumerate(fresh)}
        for column in fresh:
            for other, link in self._links.of(column):
                if other not in told or place.get(other, -1) > place[column]:
                    continue
                both = told[column], told[other]
                if not may_stand_together(*both, self._t, link):
                    return column
                pair = column, other
                is_one_instant = is_now(told[other], self._counts.whole.get(other))
                if is_one_instant and not self._between.may_move(pair, both, link):
                    return column
        return None
