"""What lies between two columns that hang together, night after night.

Of 650 units 500 were not lost; some nights later of 680 there were 528. Each has risen by enough to
be told, and yet it is told that two more were lost. So both move only if what lies between them has
changed by nothing or by enough since it was last known, however many nights only one has moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipelines.disclosure.nested import Links
from pipelines.disclosure.release import ALL, Apart, Column, Place, Release, StudyCounts
from pipelines.disclosure.rule import Link, Row, has_small, is_now, left, without_patients

Pair = tuple[Column, Column]
#: Rows of a column by value, and what is left for those that are merged.
Divided = tuple[Mapping[str, Row], Row]
#: In place of a value: all that are merged, and units of unknown value.
REST = ""


@dataclass(frozen=True)
class Between:
    """Counts as they are, what was told before, and how columns hang together."""

    counts: StudyCounts
    last: Release
    links: Links

    threshold: int

    def may_move(self, columns: Pair, rows: tuple[Row, Row], link: Link) -> bool:
        """Whether two rows of all units, of one instant, may be told after what was before."""
        return self._may_follow(columns, rows, link, self._was(columns, link, (ALL, ALL)))

    def may_divide(
        self, stratum: str, columns: Pair, told: tuple[Divided, Divided], link: Link
    ) -> bool:
        """Whether two columns, of one instant, may be divided so after what was told before."""
        (rows, rest), (others, other_rest) = told
        both = without_patients(rest), other_rest
        if not self._may_follow(columns, both, link, self._rest_was(columns, link, stratum, rows)):
            return False
        return all(
            self._may_follow(
                columns, (row, others[value]), link, self._was(columns, link, (stratum, value))
            )
            for value, row in rows.items()
            if value in others
        )

    def _may_follow(
        self, columns: Pair, rows: tuple[Row, Row], link: Link, was: list[int] | None
    ) -> bool:
        if was is None:
            return True
        now = left(*(rows if columns[0] < columns[1] else rows[::-1]), link)
        changes = (new - old for new, old in zip(now, was, strict=False))  # patients may lack
        return not has_small(changes, self.threshold)

    def _was(self, columns: Pair, link: Link, place: Place) -> list[int] | None:
        """Return what was last known to be between two columns; None if they were not both told."""
        a, b = sorted(columns)
        known = self.last.apart.get((a, b, *place))
        if known is not None:
            return list(known)
        rows = _row(self.last, a, place), _row(self.last, b, place)
        return None if rows[0] is None or rows[1] is None else left(rows[0], rows[1], link)

    def _rest_was(
        self, columns: Pair, link: Link, stratum: str, values: Mapping[str, Row]
    ) -> list[int] | None:
        """Return the same of what is merged now, where only these values are not."""
        division = self.last.divisions.get(stratum)
        if division is None or any(one not in division.rows for one in columns):
            return None
        gone = [value for value in division.rows[columns[0]] if value not in values]
        parts = [self._was(columns, link, (stratum, value)) for value in (REST, *gone)]
        return [
            sum(one) for one in zip(*(part for part in parts if part is not None), strict=False)
        ]

    def apart(self, release: Release) -> Apart:
        """Return what was last known between columns of which only one has moved since."""
        found: dict[tuple[Column, Column, str, str], list[int]] = {}
        for a, b, link, place in self._pairs(release):
            if self._is_now(release, a, place) and self._is_now(release, b, place):
                continue
            was = self._was((a, b), link, place)
            if place[1] == REST:
                values = release.divisions[place[0]].rows[a]
                was = self._rest_was((a, b), link, place[0], values)
            rows = _row(release, a, place), _row(release, b, place)
            if was is None or rows[0] is None or rows[1] is None:
                continue
            if left(rows[0], rows[1], link) != was:
                found[a, b, *place] = was
        return found

    def _pairs(self, release: Release) -> Iterator[tuple[Column, Column, Link, Place]]:
        places: dict[Column, list[Place]] = {one: [(ALL, ALL)] for one in release.whole}
        for stratum, division in release.divisions.items():
            for column, rows in division.rows.items():
                places.setdefault(column, []).extend((stratum, one) for one in (*rows, REST))
        for a, mine in places.items():
            for b, link in self.links.of(a):
                if a < b and b in places:
                    theirs = set(places[b])
                    yield from ((a, b, link, place) for place in mine if place in theirs)

    def _is_now(self, release: Release, column: Column, place: Place) -> bool:
        stratum, value = place
        if stratum == ALL:
            return is_now(release.whole[column], self.counts.whole.get(column))
        now = self.counts.strata.get(stratum, {}).get(column, {})
        rows = release.divisions[stratum].rows[column]
        if value != REST:
            return is_now(rows[value], now.get(value))
        is_whole = column in release.whole and self._is_now(release, column, (ALL, ALL))
        return is_whole and all(is_now(row, now.get(one)) for one, row in rows.items())


def _row(release: Release, column: Column, place: Place) -> Row | None:
    stratum, value = place
    if stratum != ALL and value == REST:
        division = release.divisions.get(stratum)
        return None if division is None else division.rest.get(column)
    return release.row(column, stratum, value)
