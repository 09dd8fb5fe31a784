"""What groups of rows of the other tables tell: their counts, and what is left beside others.

A group is told as a whole, as of one instant. Which rows make one, which rows of `signals.counts`
stand beside it, and what follows from both by subtraction, is said here table by table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from pipelines.disclosure.known import Beside
from pipelines.disclosure.release import ALL, Column, Label, StudyCounts
from pipelines.disclosure.rule import Row, is_small
from pipelines.signals.counts import COUNT_TABLES, ONSET, PAIRED, SELF_CONTROLLED, SHARED

Key = tuple[Any, ...]
#: Rows that are told together or not at all, by key.
Group = dict[Key, dict[str, int | None]]
#: Counts by label; None: not told.
Counts = Mapping[Label, int | None]
#: What of a row stands beside a group, by row.
Partners = Mapping[Beside, tuple[str, ...]]

#: The tables that are told in groups.
TABLES = (SHARED.name, PAIRED.name, ONSET.name, SELF_CONTROLLED.name)
#: A day before all others.
_BEFORE = -2


def key_names(name: str) -> tuple[str, ...]:
    """Return the columns of a key within one study at one site."""
    return tuple(one for one in COUNT_TABLES[name].keys if one not in {"study_id", "site_id"})


def groups_of(name: str, rows: Mapping[Key, Row]) -> dict[Key, Group]:
    """Return rows by what they are about (`owner`)."""
    found: dict[Key, Group] = {}
    for key, row in rows.items():
        found.setdefault(_owner(name, key), {})[key] = dict(row)
    return found


def present(name: str, table: pa.Table, counts: StudyCounts) -> dict[Key, Group]:
    """Return the groups of a table as it is now, those first that matter most."""
    keys, sums = key_names(name), COUNT_TABLES[name].sums
    rows = {
        tuple(row[key] for key in keys): {one: row[one] for one in sums}
        for row in table.to_pylist()
    }
    if name == SELF_CONTROLLED.name:
        return groups_of(name, {key: row for key, row in rows.items() if key[1] == ALL})
    if name == ONSET.name:
        days = {key: row for key, row in rows.items() if (key[2], key[4]) == (ALL, "day")}
        return groups_of(name, days)
    place = {column: number for number, column in enumerate(counts.order)}
    groups = groups_of(name, rows)
    ordered = sorted(groups, key=lambda one: place.get(_column(name, one), len(place)))
    return {owner: groups[owner] for owner in ordered}


def _owner(name: str, key: Key) -> Key:
    """Return what the rows are about that are told together with this one."""
    if name == ONSET.name:
        return key[:-1]
    return (*key[:2], *key[3:]) if name == PAIRED.name else key


def _column(name: str, owner: Key) -> Column:
    return Column(*owner) if name == PAIRED.name else Column(owner[0], owner[1], owner[-1])


def options(name: str, group: Group, threshold: int) -> Iterator[Group]:
    """Yield how a group could be told, the best first."""
    if name != SHARED.name:
        yield group
        return
    [(key, row)] = group.items()
    if not is_small(row["n_patients"] or 0, threshold):
        yield group
        yield {key: {**row, "n_patients": None, "n_again": None}}


def needed(name: str, owner: Key) -> Partners:
    """Return the rows without which a group is not told, and which of their counts it is among."""
    if name == SHARED.name:
        column, stratum, value, contrast, other = _column(name, owner), *owner[2:6]
        sides = [value, other] if contrast == "pair" else [value]
        return {(column, stratum, side): ("n_patients",) for side in sides}
    if name == PAIRED.name:
        return {(Column(*owner), "ordinal", "first"): ("n_units", "n_events")}
    if name == ONSET.name:
        return {(Column(owner[0], owner[1], "all"), ALL, ALL): ("n_units", "n_events")}
    sides = ["risk", "control"]
    return {(Column(owner[0], side, "all"), ALL, ALL): ("n_events",) for side in sides}


def partners(name: str, owner: Key, counts: StudyCounts) -> Partners:
    """Return the rows that a group hangs together with: those that it needs, and others."""
    found = dict(needed(name, owner))
    if name == ONSET.name:
        # Days that are added up stand beside the events of the other windows.
        for one in sorted(counts.whole):
            if (one.outcome, one.denominator) == (owner[0], "all"):
                found.setdefault((one, ALL, ALL), ("n_events",))
    return found


def own(name: str, group: Group) -> dict[Label, int | None]:
    """Return the counts of a group, and what follows from them by subtraction."""
    if name == PAIRED.name:
        return {(key[2], which): n for key, row in group.items() for which, n in _pairs(row)}
    found: dict[Label, int | None] = {
        (*(key[-1:] if name == ONSET.name else ()), which): n
        for key, row in group.items()
        for which, n in row.items()
        if not which.endswith("_us")
    }
    if name == SELF_CONTROLLED.name:
        n = found["n_patients",] or 0
        for which in ("n_cut_by_next", "n_cut_by_end"):
            found["not", which] = n - (found[which,] or 0)
    return found


def _pairs(row: Row) -> Iterator[tuple[str, int]]:
    """Yield the counts of a row of pairs, and what follows from them by subtraction."""
    had = {name: count or 0 for name, count in row.items()}
    pairs = [had[f"n_{name}"] for name in ("both", "first_only", "second_only", "neither")]
    none = had["n_first"] - had["n_event"]
    seconds = had["n_event_again"] + had["n_none_again"]
    yield from had.items()
    yield "event, not again", had["n_event"] - had["n_event_again"]
    yield "none", none
    yield "none, not again", none - had["n_none_again"]
    yield "again, in no pair", seconds - sum(pairs)
    yield "event again, in no pair", had["n_event_again"] - pairs[0] - pairs[1]


def left(
    name: str, group: Group, beside: Beside, part: str, count: int, days: Iterable[int] = ()
) -> dict[Label, int]:
    """Return what is left between a group and a count of a row beside it.

    Args:
        name: of the group's table.
        group: its rows.
        beside: the row.
        part: which count of it.
        count: how many that are.
        days: those on which days added up are held against it; the step of one that the group has
            no bin of is that of the day before.
    """
    rows = list(group.values())
    if name == SHARED.name:
        n = rows[0]["n_patients"]
        return {} if n is None else {("alone",): count - n}
    if name == PAIRED.name:
        return {(part,): count - _total(rows, "n_first" if part == "n_units" else "n_event")}
    if name == SELF_CONTROLLED.name:
        return {(part,): count - _total(rows, f"n_{beside[0].window_name}_events")}
    found: dict[Label, int] = {}
    owner = next(iter(group))
    if (beside[0].outcome, beside[0].window_name) == owner[:2]:
        found[part,] = count - _total(rows, "n_left" if part == "n_units" else "n_events")
    if part == "n_events":
        found |= {("by", day): _so_far(group, day) - count for day in (_BEFORE, *days)}
    return found


def days_of(name: str, *groups: Group) -> set[int]:
    """Return the days of some groups; none where their table has none."""
    return {key[-1] for one in groups for key in one} if name == ONSET.name else set()


def _so_far(group: Group, day: int) -> int:
    return _total((row for key, row in group.items() if key[-1] <= day), "n_events")


def differences(name: str, group: Group, other: Group) -> dict[Label, int | None]:
    """Return how two groups differ, place by place; nothing where they have no place in common.

    What stands in other places, such as two values of a stratum, is no part of one another. A row
    that only one of them has is none in the other.
    """
    mine, theirs = numbers(name, group), numbers(name, other)
    if name != ONSET.name and not mine.keys() & theirs.keys():
        return {}
    found: dict[Label, int | None] = {}
    for label in {**mine, **theirs}:
        a, b = mine.get(label, 0), theirs.get(label, 0)
        found[label] = None if a is None or b is None else a - b
    return found


def _place(name: str, key: Key) -> Key:
    """Return where a row stands, whatever its outcome, window and denominator."""
    whose = ("outcome", "window_name", "denominator")
    return tuple(v for n, v in zip(key_names(name), key, strict=True) if n not in whose)


def may_clash(name: str, a: Key, b: Key, counts: StudyCounts) -> bool:
    """Whether one of two groups holds the other: outcomes, windows or denominators."""
    one, two = ((key[0], "risk" if name == SELF_CONTROLLED.name else key[1]) for key in (a, b))
    if a == b or place_of(name, a) != place_of(name, b):
        return False
    return one[0] == two[0] or frozenset({one, two}) in counts.nested


def place_of(name: str, owner: Key) -> Key:
    """Return where a group stands: groups of two places have no row in common."""
    return owner[2:6] if name == SHARED.name else ()


def numbers(name: str, group: Group) -> dict[Label, int | None]:
    """Return the numbers of a group by where they stand; one that is not there is none."""
    return {
        (*_place(name, key), which): count
        for key, row in group.items()
        for which, count in row.items()
        if not which.endswith("_us")
    }


def _total(rows: Iterable[Row], name: str) -> int:
    return sum(row[name] or 0 for row in rows)
