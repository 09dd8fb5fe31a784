"""What became of units: told of the stratum `all`, for all outcomes of a window or for none.

All outcomes of a window have the same units; told for some outcomes, the units whose window is open
or whom the rules leave out would be known for the others as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from pipelines.disclosure.release import Column, Release
from pipelines.disclosure.rule import Row, has_small

Where = tuple[str, str]


def told_statuses(
    now: Mapping[Where, Row], whole: Mapping[Column, Row], last: Release, threshold: int
) -> dict[Where, Row]:
    """Return the statuses that are told, by outcome and window.

    Args:
        now: statuses of all units, by outcome and window.
        whole: the rows of all units that are told.
        last: what was told before: those statuses stay where they can't be brought up to date.
        threshold: smallest count that may be told.
    """
    told = dict(last.statuses)
    for window in sorted({window for _, window in now}):
        places = [place for place in sorted(now) if place[1] == window]
        known = [place for place in last.statuses if place[1] == window]
        if set(known) <= set(places) and all(
            _may_be_told(place, now[place], whole, last, threshold) for place in places
        ):
            told |= {place: now[place] for place in places}
    return told


def _may_be_told(
    place: Where, row: Row, whole: Mapping[Column, Row], last: Release, threshold: int
) -> bool:
    units = {
        denominator: told["n_units"] or 0
        for denominator, told in (
            (one.denominator, told)
            for one, told in whole.items()
            if (one.outcome, one.window_name) == place
        )
    }
    now, beside = _parts(row), _beside(row, units)
    if has_small([*now.values(), *beside], threshold):
        return False
    before = last.statuses.get(place)
    if before is None or before == row:
        return True
    # All of a row is of one instant: what follows from it now, and what followed from it then.
    was = _parts(before)
    changes = [(row[name] or 0) - (before.get(name) or 0) for name in row]
    changes += [count - was[name] for name, count in now.items() if name in was]
    return not has_small(changes, threshold)


def _counts(row: Row) -> Mapping[str, int]:
    return defaultdict(int, {name: value or 0 for name, value in row.items()})


def _named(row: Row) -> dict[str, int]:
    """Return the units of each denominator that applies, by its name."""
    had = _counts(row)
    named = {
        "all": had["n_closed_units"],
        "complete": had["n_closed_units"] - had["n_censored"],
        **{name: had[f"n_{name}"] for name in ("observed", "tested", "determined")},
        "tested_with_baseline": had["n_tested_with_baseline"],
    }
    return {name: count for name, count in named.items() if row.get(f"n_{name}", 0) is not None}


def _beside(row: Row, units: Mapping[str, int]) -> list[int]:
    """Return how far statuses are from units that are told, by denominator."""
    named = _named(row)
    return [named[name] - count for name, count in units.items() if name in named]


def _parts(row: Row) -> dict[str, int]:
    """Return the counts that statuses add up from, and what follows from them by subtraction."""
    had, named = _counts(row), _named(row)
    parts = {
        "open event": had["n_open_event"],
        "open": had["n_open"] - had["n_open_event"],
        "censored": had["n_censored"],
        "not at risk": had["n_not_at_risk"],
        "ineligible": had["n_ineligible"],
        "others": had["n_rows"] - sum(had[f"n_{name}"] for name in _WHOLE),
        **named,
    }
    for name in named.keys() - {"all", "complete"}:
        parts[f"not {name}"] = named["complete"] - named[name]
    if "tested" in named:
        parts["without baseline"] = named["tested"] - had["n_tested_with_baseline"]
    return parts


_WHOLE = ("closed_units", "open", "not_at_risk", "ineligible")
