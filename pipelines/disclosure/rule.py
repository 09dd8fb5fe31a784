"""What may be told of a row of counts, and of two rows that are set against each other.

A count from 1 to the threshold less one is small. So is one that follows by subtraction: units
without the event, the difference of two rows of which one holds the other, what has changed since a
row was last told. Counts are of people: a sum over few children is small however large it is.

Source of the terms: Hundepool and others 2012, Statistical Disclosure Control, chapter 4 (threshold
and dominance rules, complementary suppression).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: Sums of a row by column name; a column that does not apply is None.
Row = Mapping[str, int | None]

#: Parts of a row that are counts of units and patients; the others are sums, and time at risk.
COUNTED = ("n_units", "n_events", "n_patients")
_MOMENTS = ("sum_e2", "sum_en", "sum_n2")

#: Below it a count that is known to be small would be known within too little.
SMALLEST_THRESHOLD = 5


def is_small(count: int, threshold: int) -> bool:
    """Whether a count, or a difference of counts, is one that must not be told."""
    return 0 < abs(count) < threshold


def has_small(counts: Iterable[int], threshold: int) -> bool:
    """Whether any of several counts is small."""
    return any(is_small(one, threshold) for one in counts)


def parts(row: Row) -> tuple[int, int, int, int]:
    """Return events, units without, units and patients of a row (0 where they are not told)."""
    n, e, g = (row[name] or 0 for name in COUNTED)
    return e, n - e, n, g


def gaps(one: Row, other: Row) -> tuple[int, ...]:
    """Return the differences of the parts that both rows tell."""
    n_told = 3 if one["n_patients"] is None or other["n_patients"] is None else 4
    return tuple(a - b for a, b in zip(parts(one)[:n_told], parts(other)[:n_told], strict=True))


def without_patients(row: Row) -> dict[str, int | None]:
    """Return a row that does not say how many patients it is about."""
    return {**row, "n_patients": None}


def tells_patients(row: Row, threshold: int) -> bool:
    """Whether a row may say how many patients it is about.

    Units beyond the first of each patient are a count: of later infusions. And where no patient had
    two events, events are the patients who had one.
    """
    e, _f, n, g = parts(row)
    found = [n - g] if row["n_patients"] is not None else []
    if found and e and row.get("sum_e2") == e:
        found.append(g - e)
    return not has_small(found, threshold)


def coarse(row: Row, threshold: int) -> Row:
    """Return a row that does not say how few patients have more than one event, or unit.

    From events and their squares over patients it follows how many pairs of events are of one
    patient: two fevers of one child are one. Fewer pairs than the threshold are told as so many;
    intervals made from that are wider, not narrower.
    """
    e, n = row["n_events"] or 0, row["n_units"] or 0
    e2, en, n2 = (row.get(name) for name in _MOMENTS)
    if e2 is None or en is None or n2 is None:
        return row
    least = 2 * threshold
    if is_small(en - e, least):
        e2 = en = e + least
    elif is_small(e2 - e, least):
        e2 = e + least
    if is_small(n2 - n, least):
        n2 = n + least
    # Who had the event is among the units: the sums stay in their order.
    return {**row, "sum_e2": e2, "sum_en": en, "sum_n2": max(n2, en)}


def is_coarse(row: Row, threshold: int) -> bool:
    """Whether a told row's sums over patients may be coarser than they are (`coarse`)."""
    e, n = row["n_events"] or 0, row["n_units"] or 0
    e2, n2 = row.get("sum_e2"), row.get("sum_n2")
    return 2 * threshold in ((e2 or e) - e, (n2 or n) - n)


def is_now(told: Row, now: Row | None) -> bool:
    """Whether a told row is the present one, with or without its number of patients."""
    return now is not None and told in (now, without_patients(now))


def may_be_told(row: Row, threshold: int) -> bool:
    """Whether nothing in a row by itself is small, nor comes from too few patients.

    How many patients had the events is not counted; from sums over patients it is at least
    e**2 / sum(e**2) (Cauchy and Schwarz), and that must reach the threshold.
    """
    if has_small(parts(row), threshold):
        return False
    if any(row.get(name) is None for name in _MOMENTS):
        return True
    e, f, _n, _g = parts(row)
    e2, en, n2 = (row[name] or 0 for name in _MOMENTS)
    return not (_is_of_few(e, e2, threshold) or _is_of_few(f, n2 - 2 * en + e2, threshold))


def _is_of_few(total: int, squares: int, threshold: int) -> bool:
    return total > 0 and total * total < threshold * squares


@dataclass(frozen=True)
class Link:
    """How two columns hang together.

    Attributes:
        has_events: one holds the events of the other.
        has_units: one holds the units of the other, and its patients.
        has_others: one holds the units without an event of the other.
    """

    has_events: bool = False
    has_units: bool = False
    has_others: bool = False


def may_stand_together(one: Row, other: Row, threshold: int, link: Link) -> bool:
    """Whether two rows of one stratum value give away no small difference.

    Whatever hangs together, the events of one may lie among the units of the other: what is left
    of these must not be small.
    """
    return not has_small(left(one, other, link), threshold)


def left(one: Row, other: Row, link: Link) -> list[int]:
    """Return what is known of two rows by subtraction; patients, if both tell them, are last."""
    e, f, *n = gaps(one, other)
    return [
        (one["n_units"] or 0) - (other["n_events"] or 0),
        (other["n_units"] or 0) - (one["n_events"] or 0),
        *([e] if link.has_events else ()),
        *([f] if link.has_others else ()),
        *(n if link.has_units else ()),
    ]


def may_follow(new: Row, old: Row, threshold: int) -> bool:
    """Whether a row may be told after an earlier state of it was: no small change can be seen.

    A row of which only sums or times have changed is no other row: it may not be told again.
    """
    if all(new.get(name) == old.get(name) for name in {*new, *old}):
        return True
    changes = gaps(new, old)
    if has_small(changes, threshold) or not any(changes):
        return False
    # As many events as before, in other patients: some went, some came.
    return changes[0] != 0 or new.get("sum_e2") == old.get("sum_e2")


def added(rows: Iterable[Row]) -> dict[str, int | None]:
    """Return the sum of rows; a column that is None in one is None."""
    total: dict[str, int | None] = {}
    for row in rows:
        for name, value in row.items():
            before = total.get(name, 0)
            total[name] = None if value is None or before is None else before + value
    return total


def fewest_patients(n_units: int, sum_n2: int) -> int:
    """Return how many patients n units are of at least, whose squares over patients add up so."""
    return math.ceil(n_units * n_units / sum_n2) if sum_n2 else 0
