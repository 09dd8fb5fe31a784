"""What became of units: told of the stratum `all`, for all outcomes of a window or for none.

All outcomes of a window have the same units; told for some outcomes, the units whose window is open
or whom the rules leave out would be known for the others as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    if has_small(_parts(row, units), threshold):
        return False
    before = last.statuses.get(place)
    if before is None or before == row:
        return True
    changes = [(row[name] or 0) - (before.get(name) or 0) for name in row]
    return not has_small(changes, threshold)


def _parts(row: Row, units: Mapping[str, int]) -> Sequence[int]:
    """Return the counts that statuses add up from, and how far they are from told units."""
    had = {name: value or 0 for name, value in row.items()}
    complete = had["n_closed_units"] - had["n_censored"]
    named = {
        "all": had["n_closed_units"],
        "complete": complete,
        **{name: had[f"n_{name}"] for name in ("observed", "tested", "determined")},
        "tested_with_baseline": had["n_tested_with_baseline"],
    }
    applies = [name for name in named if row.get(f"n_{name}", 0) is not None]
    others = [name for name in applies if name not in {"all", "complete"}]
    parts = [
        had["n_open_event"],
        had["n_open"] - had["n_open_event"],
        had["n_censored"],
        had["n_not_at_risk"],
        had["n_ineligible"],
        had["n_rows"] - sum(had[f"n_{name}"] for name in _WHOLE),
        *(named[name] for name in applies),
        *(complete - named[name] for name in others),
        *(named[name] - count for name, count in units.items() if name in applies),
    ]
    if "tested" in others:
        parts.append(named["tested"] - named["tested_with_baseline"])
    return parts


_WHOLE = ("closed_units", "open", "not_at_risk", "ineligible")
