"""The other tables of counts: told where what they hang together with is, and nothing is small.

Bins of hours and pairs of infusions are often one child. Of onset only the days of all units are
told, of each outcome all bins or none: a bin left out would follow from the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
        kept: dict[Key, Row] = dict(told.last.other.get(name, {}))
        shown: list[tuple[str, str, Group]] = []
        if name in tables:
            for outcome, window, group in groups(_rows(name, tables[name]), told):
                if _may_follow(group, kept, told.threshold) and not any(
                    _clash(group, other, told.threshold)
                    for a, b, other in shown
                    if _is_nested((outcome, window), (a, b), told.counts.nested)
                ):
                    shown.append((outcome, window, group))
                    kept |= group
        found[name] = kept
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


def _is_nested(a: tuple[str, str], b: tuple[str, str], nested: Nested) -> bool:
    return a == b or frozenset({a, b}) in nested


def _may_follow(group: Group, before: Mapping[Key, Row], threshold: int) -> bool:
    """Whether nothing small has changed in rows that were told before."""
    if not any(key in before for key in group):
        return True
    changes = [
        (row[name] or 0) - (before.get(key, {}).get(name) or 0)
        for key, row in group.items()
        for name in row
        if not name.endswith("_us")
    ]
    return not has_small(changes, threshold)


def _clash(group: Group, other: Group, threshold: int) -> bool:
    """Whether two outcomes of which one holds the other tell a small difference."""
    # Keys begin with outcome and window, or with the outcome alone.
    mine, theirs = ({_place(key): row for key, row in one.items()} for one in (group, other))
    return has_small(
        (
            (mine.get(place, {}).get(name) or 0) - (theirs.get(place, {}).get(name) or 0)
            for place in {*mine, *theirs}
            for name in {*mine.get(place, {}), *theirs.get(place, {})}
            if not name.startswith("sum_") and not name.endswith("_us")
        ),
        threshold,
    )


def _place(key: Key) -> Key:
    return key[2:]


Groups = Iterator[tuple[str, str, Group]]


def _shared(rows: Group, told: Told) -> Groups:
    """Yield who is on both sides of a comparison, where both sides are told."""
    for key, row in rows.items():
        outcome, window, stratum, value, contrast, other, denominator = key
        column = Column(outcome, window, denominator)
        sides = [told.row(column, stratum, value)]
        if contrast == "pair":
            sides.append(told.row(column, stratum, other))
        if any(side is None for side in sides):
            continue
        sums = [count or 0 for name, count in row.items() if name.startswith("sum_")]
        if has_small(sums, told.threshold):
            continue
        n = row["n_patients"] or 0
        alone = [parts(side)[3] - n for side in sides if side is not None]
        if has_small([n, row["n_again"] or 0, *alone], told.threshold):
            row = {**row, "n_patients": None, "n_again": None}
        yield outcome, window, {key: row}


def _paired(rows: Group, told: Told) -> Groups:
    """Yield first and second infusions of the same children, where the first ones are told."""
    for key, row in rows.items():
        outcome, window, _drug_class, denominator = key
        first = told.row(Column(outcome, window, denominator), "ordinal", "first")
        had = {name: count or 0 for name, count in row.items()}
        pairs = [had[f"n_{name}"] for name in ("both", "first_only", "second_only", "neither")]
        none = had["n_first"] - had["n_event"]
        seconds = had["n_event_again"] + had["n_none_again"]
        counts = [
            *had.values(),
            had["n_event"] - had["n_event_again"],
            none,
            none - had["n_none_again"],
            seconds - sum(pairs),
            had["n_event_again"] - pairs[0] - pairs[1],
        ]
        if first is not None:
            counts += [parts(first)[2] - had["n_first"], parts(first)[0] - had["n_event"]]
        if first is not None and not has_small(counts, told.threshold):
            yield outcome, window, {key: row}


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
        if not has_small(counts, told.threshold):
            yield outcome, window, group


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
            yield outcome, "risk", {key: row}


def _total(rows: Iterable[Row], name: str) -> int:
    return sum(row[name] or 0 for row in rows)
