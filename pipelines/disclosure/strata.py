"""How strata are told: which values are merged, and which columns are divided.

The rule is that of `plan`. Whatever is told of a stratum, rows and what is left for merged values,
is fit to be told by itself, beside columns that hang together, and after what was told before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.disclosure.between import Between
from pipelines.disclosure.nested import Links
from pipelines.disclosure.release import (
    CROSSED,
    Column,
    Division,
    Release,
    Rows,
    StudyCounts,
    Values,
)
from pipelines.disclosure.rule import (
    COUNTED,
    Row,
    added,
    gaps,
    has_small,
    is_now,
    may_be_told,
    may_follow,
    may_stand_together,
    parts,
    tells_patients,
    without_patients,
)

#: A stratum's rows of one column, and what is left for the merged values.
Told = tuple[Mapping[str, Row], Row]


def ordered(counts: StudyCounts, last: Release) -> list[Column]:
    """Return all columns in order, those at the end that are no longer counted."""
    return [*counts.order, *(one for one in last.whole if one not in set(counts.order))]


class Strata:
    """How strata are told, given the rows of all units that are."""

    def __init__(self, counts: StudyCounts, threshold: int, last: Release, whole: Rows) -> None:
        self._counts, self._t, self._last = counts, threshold, last
        self._order = ordered(counts, last)
        self._links = Links(self._order, counts.nested)
        self._between = Between(counts, last, self._links, threshold)
        # Of a row that stays as it was, no stratum can be brought up to date either.
        self._current = [
            one for one in self._order if one in whole and is_now(whole[one], counts.whole.get(one))
        ]

    def one_way(self) -> dict[str, Division]:
        """Return the strata that are told; crossed ones as they were."""
        found = dict(self._last.divisions)
        for stratum in self._counts.strata:
            if CROSSED not in stratum:
                division = self._divided(stratum)
                if division is not None:
                    found[stratum] = division
        return found

    def _divided(self, stratum: str) -> Division | None:
        """Return how a stratum is told now; None where it stays as it was."""
        last = self._last.divisions.get(stratum, Division())
        columns = [one for one in self._current if self._is_free(one, stratum, last)]
        best, best_score = None, 0
        for merged in self._mergers(stratum, columns, last.merged):
            made = self._division(stratum, columns, merged, last)
            score = 0 if made is None else sum(len(rows) for rows in made.rows.values())
            if score > best_score:
                best, best_score = made, score
        return best

    def _is_free(self, column: Column, stratum: str, last: Division) -> bool:
        """Whether a column may be divided: not where it would join others that are crossed."""
        if column not in self._counts.strata[stratum]:
            return False
        return column in last.rows or not any(
            stratum in name.split(CROSSED)[:2] and CROSSED in name and column not in one.rows
            for name, one in self._last.divisions.items()
        )

    def _mergers(
        self, stratum: str, columns: Sequence[Column], already: frozenset[str]
    ) -> list[frozenset[str]]:
        """Return what might be merged: the smallest values, more and more of them.

        What was merged once stays merged: taken apart, it would tell of then.
        """
        size: dict[str, int] = {}
        for column in columns:
            for value, row in self._counts.strata[stratum][column].items():
                size[value] = max(size.get(value, 0), parts(row)[2])
        left = sorted((n, value) for value, n in size.items() if value not in already)
        return [already | {value for _, value in left[:number]} for number in range(len(left) + 1)]

    def _division(
        self, stratum: str, columns: Sequence[Column], merged: frozenset[str], last: Division
    ) -> Division | None:
        """Return a stratum told with these values merged; None where that can't follow `last`."""
        frozen = {column for column in last.rows if column not in columns}
        if frozen and merged != last.merged:
            return None
        kept: dict[Column, Told] = {c: (last.rows[c], last.rest[c]) for c in frozen}
        older = [column for column in columns if column in last.rows]
        for column in [*older, *(one for one in columns if one not in last.rows)]:
            for told in self._options(stratum, column, merged, last):
                if self._stands_with(column, told, kept) and all(
                    self._between.may_divide(stratum, (column, other), (told, kept[other]), link)
                    for other, link in self._links.of(column)
                    if other in kept and other not in frozen
                ):
                    kept[column] = told
                    break
            else:
                if column in last.rows:
                    return None
        return Division(
            merged,
            {column: rows for column, (rows, _) in kept.items()},
            {column: rest for column, (_, rest) in kept.items()},
        )

    def _options(
        self, stratum: str, column: Column, merged: frozenset[str], last: Division
    ) -> list[Told]:
        """Return how a column could be divided now, the best first."""
        whole = self._counts.whole[column]
        every = self._counts.strata[stratum][column]
        rows = {value: row for value, row in every.items() if value not in merged}
        rest = self._rest(whole, every, rows, merged)
        if rest is None or not all(may_be_told(row, self._t) for row in rows.values()):
            return []
        # Patients who have no unit of a value are a count as well, and so are those of several.
        lacking = [parts(whole)[3] - parts(row)[3] for row in rows.values()]
        options: list[Told] = []
        is_open = all(
            tells_patients(row, self._t)
            and self._last.may_tell_patients(row, (column, stratum, value), self._t)
            for value, row in rows.items()
        )
        if is_open and not has_small([*lacking, rest["n_patients"] or 0], self._t):
            options.append((rows, rest))
        silent = {value: without_patients(row) for value, row in rows.items()}
        options.append((silent, without_patients(rest)))
        if column not in last.rows:
            return options
        before = last.rows[column], last.rest[column]
        return [one for one in options if self._may_follow(one, before)]

    def _rest(self, whole: Row, every: Values, told: Values, merged: frozenset[str]) -> Row | None:
        """Return what is left for the merged values; None if it is small or one value alone."""
        sums = added(told.values())
        rest = {name: (whole[name] or 0) - (sums.get(name) or 0) for name in COUNTED}
        n_unknown = (whole["n_units"] or 0) - sum(row["n_units"] or 0 for row in every.values())
        if merged and len(merged) + (n_unknown != 0) < 2:
            return None
        if has_small((parts(rest))[:3], self._t):
            return None
        inside = added(every[value] for value in merged if value in every)
        if inside and not n_unknown and not may_be_told(inside, self._t):
            return None
        return rest

    def _may_follow(self, now: Told, before: Told) -> bool:
        """Whether nothing small has changed in any value, nor in what is left."""
        (new, rest), (old, old_rest) = now, before
        if not all(may_follow(new[value], old[value], self._t) for value in new if value in old):
            return False
        then = added([old_rest, *(row for value, row in old.items() if value not in new)])
        return not has_small(gaps(rest, then)[:3], self._t)

    def _stands_with(self, column: Column, told: Told, kept: Mapping[Column, Told]) -> bool:
        """Whether a column's rows give nothing away beside those of columns it is nested with."""
        rows, rest = told
        for other, link in self._links.of(column):
            if other not in kept:
                continue
            others, other_rest = kept[other]
            pairs = [(row, others[value]) for value, row in rows.items() if value in others]
            if not all(
                may_stand_together(a, b, self._t, link)
                for a, b in [(without_patients(rest), other_rest), *pairs]
            ):
                return False
        return True

    def crossed(self, divisions: Mapping[str, Division]) -> dict[str, Division]:
        """Return the crossed strata that can be told anew: for all columns of both, or for none."""
        found = {}
        for stratum, columns in self._counts.strata.items():
            first, _, second = stratum.partition(CROSSED)
            if not second or first not in divisions or second not in divisions:
                continue
            margins = [
                column
                for column in self._current
                if column in columns
                and all(self._is_told(column, name, divisions[name]) for name in (first, second))
            ]
            last = self._last.divisions.get(stratum, Division())
            made = self._division(stratum, margins, frozenset(), last) if margins else None
            if made and set(made.rows) == set(margins) and self._is_whole(made):
                found[stratum] = made
        return found

    def _is_told(self, column: Column, stratum: str, division: Division) -> bool:
        """Whether a column is divided by a stratum as it is now, with nothing merged."""
        now = self._counts.strata.get(stratum, {}).get(column, {})
        told = division.rows.get(column, {})
        return (
            not division.merged
            and bool(now)
            and now.keys() == told.keys()
            and all(is_now(row, now[value]) for value, row in told.items())
            and not any(parts(division.rest[column])[:3])
        )

    def _is_whole(self, division: Division) -> bool:
        return not any(any(parts(rest)[:3]) for rest in division.rest.values())
