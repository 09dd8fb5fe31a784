"""The other tables of counts: told where what they hang together with is, and nothing is small.

Bins of hours and pairs of infusions are often one child. Of onset only the days of all units are
told, of each outcome all bins or none: a bin left out would follow from the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pyarrow as pa

from pipelines.disclosure.nested import Nested
from pipelines.disclosure.release import ALL, Column, Release, StudyCounts
from pipelines.disclosure.rule import Row, has_small, is_now, parts
from pipelines.signals.counts import COUNT_TABLES, ONSET, PAIRED, SELF_CONTROLLED, SHARED

Key = tuple[Any, ...]
#: Rows that are told together or not at all, by key.
Group = dict[Key, dict[str, int | None]]


@dataclass(frozen=True)
class Told:
    """What the rule knows: counts as they are, what is told of them, and what was told before."""

    counts: StudyCounts
    release: Release
    last: Release
    threshold: int

    def row(self, column: Column, stratum: str = ALL, value: str = ALL) -> Row | None:
        """Return a row that is told and is what it is now; else None."""
        told = self.release.row(column, stratum, value)
        if stratum == ALL:
            now = self.counts.whole.get(column)
        else:
            now = self.counts.strata.get(stratum, {}).get(column, {}).get(value)
        return now if told is not None and is_now(told, now) else None


def told_others(tables: Mapping[str, pa.Table], told: Told) -> dict[str, dict[Key, Row]]:
    """Return the rows of the other count tables that may be told, by table and key.

    Args:
        tables: rows of one study at one site, by the table's name in the warehouse.
        told: what is told of `signals.counts`.
    """
    found: dict[str, dict[Key, Row]] = {}
    for name, groups in (
        (SHARED.name, _shared),
        (PAIRED.name, _paired),
        (ONSET.name, _onset),
        (SELF_CONTROLLED.name, _self_controlled),
    ):
        # What was told before counts, too: it stands beside what is told now.
        kept: dict[Key, Group] = {}
        for key, row in told.last.other.get(name, {}).items():
            kept.setdefault(_owner(name, key), {})[key] = dict(row)
        if name in tables:
            for group in groups(_rows(name, tables[name]), told):
                owner = _owner(name, next(iter(group)))
                if _may_follow(group, kept.get(owner, {}), told.threshold) and not any(
                    _clash(name, group, other, told.threshold)
                    for key, other in kept.items()
                    if key != owner
                    and _is_nested(_where(name, owner), _where(name, key), told.counts.nested)
                ):
                    kept[owner] = group
        found[name] = {key: row for group in kept.values() for key, row in group.items()}
    return found


def key_names(name: str) -> tuple[str, ...]:
    """Return the columns of a key within one study at one site."""
    return tuple(one for one in COUNT_TABLES[name].keys if one not in {"study_id", "site_id"})


def _rows(name: str, table: pa.Table) -> Group:
    keys, sums = key_names(name), COUNT_TABLES[name].sums
    return {
        tuple(row[key] for key in keys): {one: row[one] for one in sums}
        for row in table.to_pylist()
    }


def _owner(name: str, key: Key) -> Key:
    """Return what the rows are about that are told together with this one."""
    if name == ONSET.name:
        return key[:-1]
    return (*key[:2], *key[3:]) if name == PAIRED.name else key


def _where(name: str, key: Key) -> tuple[str, str]:
    return (key[0], "risk") if name == SELF_CONTROLLED.name else (key[0], key[1])


def _is_nested(a: tuple[str, str], b: tuple[str, str], nested: Nested) -> bool:
    return a[0] == b[0] or frozenset({a, b}) in nested


def _may_follow(group: Group, before: Group, threshold: int) -> bool:
    """Whether nothing small has changed in rows that were told before."""
    return not (before and has_small(_gaps(group, before), threshold))


def _clash(name: str, group: Group, other: Group, threshold: int) -> bool:
    """Whether two outcomes, windows or denominators of which one holds the other differ little."""
    mine, theirs = ({_place(name, key): row for key, row in one.items()} for one in (group, other))
    # What stands in other places, such as two values of a stratum, is no part of one another.
    if name != ONSET.name and not mine.keys() & theirs.keys():
        return False
    return has_small(_gaps(mine, theirs), threshold)


def _gaps(some: Group, others: Group) -> Iterator[int]:
    """Yield the differences of all counts and sums, of rows that only one has as well."""
    for key in {*some, *others}:
        one, other = some.get(key, {}), others.get(key, {})
        for name in {*one, *other}:
            if not name.endswith("_us"):
                yield (one.get(name) or 0) - (other.get(name) or 0)


def _place(name: str, key: Key) -> Key:
    """Return where a row stands, whatever its outcome, window and denominator."""
    whose = ("outcome", "window_name", "denominator")
    return tuple(v for n, v in zip(key_names(name), key, strict=True) if n not in whose)


Groups = Iterator[Group]


def _shared(rows: Group, told: Told) -> Groups:
    """Yield who is on both sides of a comparison, where both sides are told."""
    for key, row in _headline_first(SHARED.name, rows, told):
        outcome, window, stratum, value, contrast, other, denominator = key
        column = Column(outcome, window, denominator)
        sides = [told.row(column, stratum, value)]
        if contrast == "pair":
            sides.append(told.row(column, stratum, other))
        if any(side is None for side in sides):
            continue
        sums = [count or 0 for name, count in row.items() if name.startswith("sum_")]
        n = row["n_patients"] or 0
        # Sums over few children are small however large they are.
        if has_small([n, *sums], told.threshold):
            continue
        alone = [parts(side)[3] - n for side in sides if side is not None]
        if has_small([row["n_again"] or 0, *alone], told.threshold):
            row = {**row, "n_patients": None, "n_again": None}
        yield {key: row}


def _paired(rows: Group, told: Told) -> Groups:
    """Yield first and second infusions of the same children, where the first ones are told.

    All classes of drugs at once: one that is left out would follow from the others.
    """
    groups: dict[Column, Group] = {}
    for key, row in _headline_first(PAIRED.name, rows, told):
        groups.setdefault(_column(PAIRED.name, key), {})[key] = row
    for column, group in groups.items():
        first = told.row(column, "ordinal", "first")
        if first is None:
            continue
        counts = [one for row in group.values() for one in _pairs(row)]
        counts.append(parts(first)[2] - _total(group.values(), "n_first"))
        counts.append(parts(first)[0] - _total(group.values(), "n_event"))
        if not has_small(counts, told.threshold):
            yield group


def _pairs(row: Row) -> list[int]:
    """Return the counts of a row of pairs, and what follows from them by subtraction."""
    had = {name: count or 0 for name, count in row.items()}
    pairs = [had[f"n_{name}"] for name in ("both", "first_only", "second_only", "neither")]
    none = had["n_first"] - had["n_event"]
    seconds = had["n_event_again"] + had["n_none_again"]
    return [
        *had.values(),
        had["n_event"] - had["n_event_again"],
        none,
        none - had["n_none_again"],
        seconds - sum(pairs),
        had["n_event_again"] - pairs[0] - pairs[1],
    ]


def _headline_first(name: str, rows: Group, told: Told) -> list[tuple[Key, dict[str, int | None]]]:
    place = {column: number for number, column in enumerate(told.counts.order)}
    return sorted(
        ((key, dict(row)) for key, row in rows.items()),
        key=lambda one: place.get(_column(name, one[0]), len(place)),
    )


def _column(name: str, key: Key) -> Column:
    had = dict(zip(key_names(name), key, strict=True))
    return Column(had["outcome"], had["window_name"], had["denominator"])


def _onset(rows: Group, told: Told) -> Groups:
    """Yield the days on which all units leave the risk, all bins of an outcome at once."""
    groups: dict[tuple[str, str], Group] = {}
    for key, row in rows.items():
        outcome, window, stratum, _, scale, _ = key
        if stratum == ALL and scale == "day":
            groups.setdefault((outcome, window), {})[key] = row
    for (outcome, window), group in groups.items():
        whole = told.row(Column(outcome, window, "all"))
        if whole is None:
            continue
        events, _, units, _ = parts(whole)
        counts = [count or 0 for row in group.values() for count in row.values()]
        counts.append(units - _total(group.values(), "n_left"))
        counts.append(events - _total(group.values(), "n_events"))
        # Days that are added up stand beside the events of shorter windows.
        others = [told.row(Column(outcome, name, "all")) for name in _windows(told, outcome)]
        counts += [
            so_far - parts(other)[0]
            for other in others
            if other is not None
            for so_far in accumulate(group[key]["n_events"] or 0 for key in sorted(group))
        ]
        if not has_small(counts, told.threshold):
            yield group


def _windows(told: Told, outcome: str) -> set[str]:
    return {one.window_name for one in told.counts.whole if one.outcome == outcome}


def _self_controlled(rows: Group, told: Told) -> Groups:
    """Yield risk and control windows of the same children, undivided."""
    for key, row in rows.items():
        outcome, stratum, _ = key
        sides = [told.row(Column(outcome, name, "all")) for name in ("risk", "control")]
        if stratum != ALL or any(side is None for side in sides):
            continue
        had = [row[name] or 0 for name in ("n_risk_events", "n_control_events")]
        n = row["n_patients"] or 0
        cut = [row[name] or 0 for name in ("n_cut_by_next", "n_cut_by_end")]
        rest = [parts(side)[0] - e for side, e in zip(sides, had, strict=True) if side is not None]
        if not has_small([*had, n, *cut, *(n - one for one in cut), *rest], told.threshold):
            yield {key: row}


def _total(rows: Iterable[Row], name: str) -> int:
    return sum(row[name] or 0 for row in rows)
