"""What may be told of a table of counts: no small number, nor one that subtraction gives.

Every number of a profile passes through here. The rules are those of published tables: a cell
below the threshold is left out (primary), and where what is left out could be told from a total,
the smallest cell beside it is left out too (secondary).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Value = tuple[str | None, ...]


@dataclass(frozen=True)
class Tally:
    """How often a value is there.

    Attributes:
        value: its parts (code system and code, say); None parts are not there.
        n_rows: how many rows hold it.
        n_patients: of how many patients; equal to `n_rows` where no patient is told.
    """

    value: Value
    n_rows: int
    n_patients: int

    @property
    def is_missing(self) -> bool:
        """Whether it stands for rows without a value."""
        return all(part is None for part in self.value)

    def reaches(self, min_cell: int) -> bool:
        """Whether both counts may be told."""
        return min(self.n_rows, self.n_patients) >= min_cell


@dataclass(frozen=True)
class Shown:
    """What of a column's values may be told.

    Attributes:
        values: those that may, most frequent first.
        has_more: whether others are there.
    """

    values: tuple[Tally, ...]
    has_more: bool


def disclose(
    tallies: Sequence[Tally],
    min_cell: int,
    patients_of: Callable[[Sequence[Value]], int],
    *,
    limit: int | None = None,
    wanted: Callable[[Value], bool] = lambda _: False,
    may_tell: Callable[[Value], bool] = lambda _: True,
) -> Shown:
    """Return the values that may be told.

    Args:
        tallies: every value of the column, rows without one included, so that they sum to a
            total that may be known.
        min_cell: smallest count that is told.
        patients_of: number of patients (rows where none is told) of several values together.
        limit: how many values are told at most.
        wanted: values that are told beyond the limit where they reach the threshold.
        may_tell: values that may be told at all, however frequent they are.
    """
    ranked = sorted(tallies, key=_order)
    told = [one for one in ranked if one.reaches(min_cell) and may_tell(one.value)]
    if limit is not None:
        told = [one for n, one in enumerate(told) if n < limit or wanted(one.value)]
    while told and not _is_covered(ranked, told, min_cell, patients_of):
        told.remove(min(told, key=lambda one: (one.is_missing, one.n_rows, one.n_patients)))
    values = tuple(one for one in told if not one.is_missing)
    more = {one.value for one in ranked if not one.is_missing} - {one.value for one in values}
    return Shown(values, bool(more))


def _order(one: Tally) -> tuple[int, list[str]]:
    return -one.n_rows, [part or "" for part in one.value]


def _is_covered(
    ranked: Sequence[Tally],
    told: Sequence[Tally],
    min_cell: int,
    patients_of: Callable[[Sequence[Value]], int],
) -> bool:
    """Whether what is left out is nothing, or too much for a total to give any of it away."""
    names = {one.value for one in told}
    left = [one for one in ranked if one.value not in names]
    if not left:
        return True
    if len(left) < 2 or sum(one.n_rows for one in left) < min_cell:
        return False
    if max(one.n_patients for one in left) >= min_cell:
        return True
    if sum(one.n_patients for one in left) < min_cell:
        return False
    return patients_of([one.value for one in left]) >= min_cell


#: Texts that are a person's rather than a code: times, addresses, long or unprintable texts.
_PERSONAL = re.compile(r"\d{4}-\d\d-\d\d|\d\d?[./]\d\d?[./]\d{2,4}|@|^\+?[\d ()-]{13,}$")


def is_wordlike(value: Value, longest: int = 60) -> bool:
    """Whether every part of a value may be told, if enough patients share it."""
    return all(
        part is None or (len(part) <= longest and part.isprintable() and not _PERSONAL.search(part))
        for part in value
    )


def share(n_rows: int, n_patients: int, total: int, missing_patients: int, min_cell: int) -> str:
    """Return the share of rows that hold something, as coarse as the threshold.

    Counts are rounded down to a multiple of the threshold first, so that the share of a known
    total leaves at least that many possibilities.

    Args:
        n_rows: rows that hold it.
        n_patients: patients of those rows.
        total: all rows.
        missing_patients: patients of the other rows.
        min_cell: smallest count that is told.
    """
    if n_rows == 0:
        return "none"
    if n_rows == total:
        return "all"
    if min(n_rows, n_patients) < min_cell:
        return "few"
    if min(total - n_rows, missing_patients) < min_cell:
        return "nearly all"
    # the last step takes in what is left of another, so that it is no narrower than the others
    last = (total - 2 * min_cell + 1) // min_cell * min_cell
    rounded = min(n_rows // min_cell * min_cell, max(last, min_cell))
    percent = 100 * rounded // total
    return f"{min(max(percent, 1), 99)} %"


def count(n_rows: int, n_patients: int, min_cell: int) -> int | None:
    """Return a count that may be told; None where it may not (0 may)."""
    return n_rows if n_rows == 0 or min(n_rows, n_patients) >= min_cell else None
