"""What surveillance watches, masked: units as they are now, events or the range that they lie in.

Looks of several hospitals can be pooled only from counts of one instant. So units at risk and
events of a pair are told of one instant, which moves on only when the change of units may be told.
Whether it moves does not depend on events: what was seen must not decide when it is looked at
(docs/decisions/190). Events that may not be told then leave a range, as wide as the rule leaves it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipelines.disclosure.others import Key, Told
from pipelines.disclosure.release import ALL, FEW, SMALL, Column
from pipelines.disclosure.rule import Row, has_small, is_small

NAME = "signals.counts_watched"
#: Why events are null: they changed by little since they were told (`few_events`), or they would
#: give away something else.
REASON = "suppressed_reason"
_KEYS = ("study_id", "site_id", "outcome", "window_name", "watched", "pair_hash")
_UNITS = ("n_units_first", "n_units_later")
_RANGE = ("n_events_low", "n_events_high")
#: Columns in the site's warehouse, and in a pack.
COLUMNS = (*_KEYS, *_UNITS, "n_patients_later", "n_events")
_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(_KEYS, pa.string()),
    **dict.fromkeys((*_UNITS, "n_events", *_RANGE), pa.int64()),
    REASON: pa.string(),
}
SCHEMA = pa.schema(list(_TYPES.items()))
#: Denominators whose units are among them all that are watched.
_HOLDING = ("complete", "all")


def told_watched(rows: pa.Table, told: Told) -> dict[Key, Row]:
    """Return what is told of each pair from now on, by outcome, window and what is watched.

    Args:
        rows: of one study at one site, with COLUMNS.
        told: what is told of `signals.counts`, now and before.
    """
    kept: dict[Key, Row] = dict(told.last.other.get(NAME, {}))
    for row in rows.to_pylist():
        key = (row["outcome"], row["window_name"], row["watched"])
        if _units_may_be_told(row, kept.get(key), told, _nested_in(kept, key, told)):
            kept[key] = _snapshot(row, kept.get(key), told, _nested_in(kept, key, told))
    return kept


def masked_watched(rows: pa.Table, told: Mapping[Key, Row]) -> pa.Table:
    """Return the rows as they leave: null where nothing is told of a pair as it is defined now."""
    found = []
    for row in rows.to_pylist():
        about = {name: row[name] for name in _KEYS}
        known = told.get((row["outcome"], row["window_name"], row["watched"]))
        if known is None or known["definition"] != _definition(row):
            found.append({**about, REASON: SMALL})
            continue
        figures = {name: known[name] for name in (*_UNITS, "n_events", *_RANGE)}
        is_few = known["n_events"] is None and known["n_events_low"] is not None
        reason = None if known["n_events"] is not None else FEW if is_few else SMALL
        found.append({**about, **figures, REASON: reason})
    return pa.Table.from_pylist(found, schema=SCHEMA)


def _definition(row: Mapping[str, Any]) -> int:
    """Return a number for how a pair is defined; snapshots of another definition are not told."""
    return int(row["pair_hash"][:15], 16)


def _units_may_be_told(
    row: Mapping[str, Any], before: Row | None, told: Told, others: Iterable[Row]
) -> bool:
    first, later = (row[name] for name in _UNITS)
    counts = [first, later, row["n_patients_later"]]
    if before is not None:
        counts += [row[name] - (before[name] or 0) for name in _UNITS]
    for one in _holding(row, told):
        counts.append((one["n_units"] or 0) - first - later)
    for stratum_value, mine in (("first", first), ("later", later)):
        for one in _holding(row, told, "ordinal", stratum_value):
            counts.append((one["n_units"] or 0) - mine)
    for other in others:
        counts += [row[name] - (other[name] or 0) for name in _UNITS]
    return not has_small(counts, told.threshold)


def _snapshot(
    row: Mapping[str, Any], before: Row | None, told: Told, others: Iterable[Row]
) -> dict[str, int | None]:
    """Return a pair at this instant: its events, or the least and most that they can be."""
    events, units = row["n_events"], row["n_units_first"] + row["n_units_later"]
    last = None if before is None else before["told_events"]
    found: dict[str, int | None] = {
        "definition": _definition(row),
        **{name: row[name] for name in _UNITS},
        "n_events": None,
        **dict.fromkeys(_RANGE),
        "told_events": last,
    }
    few, hidden = _unsaid(row, range(units + 1), last, told, list(others))
    if 0 < len(hidden) < _half(told):
        # Too few to hide among: then it is not said either that a number is none of the few.
        few, hidden = few | hidden, set()
        low, high = min(few), max(few)
    else:
        low, high = _few(row, last or 0, told)
    if events in few:
        return {**found, "n_events_low": low, "n_events_high": min(units, high)}
    if events in hidden:
        return found
    return {
        **found,
        "n_events": events,
        **dict.fromkeys(_RANGE, events),
        "told_events": events,
    }


def _half(told: Told) -> int:
    """Return how many numbers must be left for what is not told."""
    return math.ceil(told.threshold / 2)


def _few(row: Mapping[str, Any], last: int, told: Told) -> tuple[int, int]:
    """Return the range of events that have risen, or fallen, by little since they were told.

    Half the threshold of numbers must be left. There are no more events than among all units, and
    where that leaves fewer above the last figure, it is not told on which side of it they are.
    """
    most = told.threshold - 1
    units = row["n_units_first"] + row["n_units_later"]
    above = (one["n_events"] or 0 for one in _holding(row, told))
    room = min([units - last, *(e - last for e in above if e > last)])
    if room < _half(told):
        return max(0, last - most), last + most
    if row["n_events"] > last:
        return last + 1, last + most
    return max(0, last - most), last - 1


def _unsaid(
    row: Mapping[str, Any], numbers: range, last: int | None, told: Told, others: Sequence[Row]
) -> tuple[set[int], set[int]]:
    """Return the numbers of events that are few, and those that would give away something else.

    Who knows the rule knows that one of the latter it is. So where these are fewer than half the
    threshold, the nearest of the numbers that might be told are hidden, too.
    """
    units = len(numbers) - 1
    sides = [(one["n_units"] or 0, one["n_events"] or 0) for one in _holding(row, told)]
    # No more events than among all units: only what lies on one side of that may be confused.
    most = min((e for _, e in sides), default=units)
    every = {e for e in numbers if (e <= most) == (row["n_events"] <= most)}
    few = {e for e in every if is_small(e - (last or 0), told.threshold)}
    known = [one["n_events"] for one in others if one["n_events"] is not None]

    def tells(events: int) -> bool:
        counts = [events, units - events, *(events - one for one in known)]
        for n, e in sides:
            counts += [e - events, n - events, units - e]
        return has_small(counts, told.threshold)

    hidden = {e for e in every - few if tells(e)}
    if not hidden:
        return few, hidden
    free = sorted(every - few - hidden, key=lambda e: (min(abs(e - h) for h in hidden), e))
    return few, hidden | set(free[: max(0, _half(told) - len(hidden))])


def _holding(
    row: Mapping[str, Any], told: Told, stratum: str = ALL, value: str = ALL
) -> Iterator[Row]:
    """Yield the rows of counts that are told and hold all units that are watched."""
    values = [(stratum, value)]
    if stratum == ALL and row["watched"] != ALL:
        values.append(("drug", row["watched"]))
    for denominator in _HOLDING:
        column = Column(row["outcome"], row["window_name"], denominator)
        for one in values:
            found = told.release.row(column, *one)
            if found is not None:
                yield found


def _nested_in(kept: Mapping[Key, Row], key: Key, told: Told) -> list[Row]:
    """Return what is told of the other pairs of which one holds the events of the other."""
    place = key[:2]
    return [
        row
        for other, row in kept.items()
        if other != key
        and (other[:2] == place or frozenset({other[:2], place}) in told.counts.nested)
    ]
