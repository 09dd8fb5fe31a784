"""Small counts: what the report may show of them, which is nothing that they follow from.

A count from 1 to min_cell - 1 is not shown, and neither is what it could be worked out from: the
rest of its row, a second value of the same margin, a step of a flow, a difference between looks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]

#: Columns that a row which is not shown keeps: what it is, not what it counts.
_KEPT = frozenset(
    {"site_id", "study_id", "outcome", "label", "window_name", "stratum", "stratum_value"}
) | {"denominator", "is_headline", "signal_key"}
_COUNTS = ("n_events", "n_units", "n_patients")


def is_small(count: int | None, min_cell: int) -> bool:
    """Whether a count must not be shown: 1 to min_cell - 1."""
    return count is not None and 0 < count < min_cell


def told(count: int | None, min_cell: int) -> str:
    """Return a count that stands alone as the page tells it; one that is small as a bound."""
    if count is None:
        return "not known"
    return f"fewer than {min_cell}" if is_small(count, min_cell) else f"{count:,}"


def mask(rows: Iterable[Mapping[str, Any]], min_cell: int) -> list[Row]:
    """Return rows of `signals.risk` with small cells and their complements taken out.

    A row goes as a whole: risk and interval tell the count. `suppressed_reason` says why: `small`
    (a count of it, or the units without event, are small), `complement` (it would tell of another);
    which of the two must not be shown, for it tells of the count.

    Args:
        rows: of any outcomes and strata; of each stratum all values, as the warehouse has them.
        min_cell: smallest count that is shown; 1 shows everything.
    """
    masked = [{**row, "suppressed_reason": _primary(row, min_cell)} for row in rows]
    if min_cell > 1:
        _hide_units(masked, min_cell)
        _hide_events(masked, min_cell)
    return [_emptied(row) if row["suppressed_reason"] else row for row in masked]


def _primary(row: Mapping[str, Any], min_cell: int) -> str | None:
    without = (row["n_units"] or 0) - (row["n_events"] or 0)
    counts = [row.get(name) for name in _COUNTS]
    return "small" if any(is_small(count, min_cell) for count in (*counts, without)) else None


def _hide_units(rows: Sequence[Row], min_cell: int) -> None:
    """Hide values with few units, and what would tell of them, in all outcomes alike.

    Their units are the same ones: two outcomes that hide different values would tell of both.
    """
    for margin in _margins(rows, ("study_id", "stratum")).values():
        few = {
            row["stratum_value"]
            for row in margin
            if any(is_small(row.get(name), min_cell) for name in ("n_units", "n_patients"))
        }
        units = _units(margin)
        _hide(margin, _widened(few, units, units, min_cell))


def _hide_events(rows: Sequence[Row], min_cell: int) -> None:
    """Hide values of a margin with few events, and what would tell of them."""
    order = {key: _units(margin) for key, margin in _margins(rows, ("study_id", "stratum")).items()}
    names = ("study_id", "stratum", "outcome", "window_name", "denominator")
    for key, margin in _margins(rows, names).items():
        small = {row["stratum_value"] for row in margin if row["suppressed_reason"]}
        events = {row["stratum_value"]: row["n_events"] or 0 for row in margin}
        _hide(margin, _widened(small, events, order[key[:2]], min_cell))


def _units(margin: Iterable[Row]) -> dict[str, int]:
    """Return the most units that each value has in any outcome."""
    units: dict[str, int] = defaultdict(int)
    for row in margin:
        value = row["stratum_value"]
        units[value] = max(units[value], row["n_units"] or 0)
    return units


def _hide(margin: Iterable[Row], hidden: set[str]) -> None:
    for row in margin:
        if row["stratum_value"] in hidden:
            row["suppressed_reason"] = row["suppressed_reason"] or "complement"


def _margins(rows: Iterable[Row], names: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Group the rows whose values add up to all; a single value is no margin."""
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row["stratum"] != "all":
            found[tuple(row[name] for name in names)].append(row)
    return found


def _widened(
    small: set[str], counts: Mapping[str, int], units: Mapping[str, int], min_cell: int
) -> set[str]:
    """Return what is hidden of a margin: from the fewest units up to the last that is small.

    Two values at least, which hold `min_cell` together. The order does not depend on what is
    counted: a choice by the counts would tell of them to whoever knows the rule.
    """
    hidden: set[str] = set()
    if not small:
        return hidden
    for value in sorted(counts, key=lambda one: (units[one], one)):
        is_wide = len(hidden) > 1 and sum(counts[one] for one in hidden) >= min_cell
        if is_wide and small <= hidden:
            break
        hidden.add(value)
    return hidden


def _emptied(row: Row) -> Row:
    kept = _KEPT | {"suppressed_reason"}
    return {name: value if name in kept else None for name, value in row.items()}


def shown_steps(counts: Sequence[int], min_cell: int, known: Iterable[int] = ()) -> list[bool]:
    """Say which totals of a flow are shown: no two of them may differ by a small number.

    Args:
        counts: totals from the widest to the narrowest; the narrowest stands elsewhere on the
            page, so it is the one that is kept.
        min_cell: smallest count that is shown.
        known: numbers of the same things that stand elsewhere on the page.
    """
    shown = [False] * len(counts)
    told = set(known)
    for place in range(len(counts) - 1, -1, -1):
        count = counts[place]
        if not any(is_small(abs(count - one), min_cell) for one in (0, *told)):
            shown[place] = True
            told.add(count)
    return shown


def shown_parts(parts: Sequence[int], min_cell: int) -> list[bool]:
    """Say which parts of a known total are shown: all, or none where one of them is small."""
    is_safe = not any(is_small(count, min_cell) for count in parts)
    return [is_safe] * len(parts)


def shown_sums(sums: Sequence[int], min_cell: int) -> list[bool]:
    """Say which numbers of a running sum are shown: none is small, nor adds a small number."""
    shown, last = [], 0
    for count in sums:
        is_shown = not is_small(count, min_cell) and not is_small(abs(count - last), min_cell)
        shown.append(is_shown)
        if is_shown:
            last = count
    return shown
