"""Which counts hold which: their differences are counts too, and must not be small either."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from pipelines.disclosure.release import Column
from pipelines.disclosure.rule import Link
from studies.load import Study
from studies.outcomes import CompositeOutcome, GradeOutcome, Outcome

#: Outcome and window.
Where = tuple[str, str]
#: Pairs of which one holds the events of the other.
Nested = frozenset[frozenset[Where]]


def nested_counts(study: Study) -> Nested:
    """Return the pairs of outcome and window of which one's events are among the other's.

    Windows of one outcome may overlap in any way, so each two of them count as nested; so do two
    grades of one analyte, and a composite and all that it is made of, to any depth, in all their
    windows.
    """
    outcomes = {one.name: one for one in study.model.outcome}
    found: set[frozenset[Where]] = set()
    for a in outcomes.values():
        found |= _each(_where(a), _where(a))
        for b in outcomes.values():
            if a.name != b.name and (_are_grades(a, b) or b.name in _members(a, outcomes)):
                found |= _each(_where(a), _where(b))
    return frozenset(found)


def by_weight(settings: Mapping[str, Any]) -> list[str]:
    """Return a study's outcomes, those first that matter most: they are told before the others.

    What is watched night by night is what a study asks for; the others follow as they stand.
    """
    pairs = settings.get("surveillance", {}).get("pair", ())
    watched = (pair["outcome"] for pair in pairs)
    return list(dict.fromkeys([*watched, *(one["name"] for one in settings["outcome"])]))


def windows_of_one(columns: Iterable[Column]) -> Nested:
    """Return what is nested by name alone, where the study is not at hand: an outcome's windows."""
    places = sorted({(one.outcome, one.window_name) for one in columns})
    return frozenset(frozenset({a, b}) for a, b in combinations(places, 2) if a[0] == b[0])


def _each(some: Sequence[Where], others: Sequence[Where]) -> set[frozenset[Where]]:
    return {frozenset({a, b}) for a in some for b in others if a != b}


def _where(outcome: Outcome) -> list[Where]:
    return [(outcome.name, window.name) for window in outcome.window]


def _are_grades(a: Outcome, b: Outcome) -> bool:
    return isinstance(a, GradeOutcome) and isinstance(b, GradeOutcome) and a.concept == b.concept


def _members(outcome: Outcome, outcomes: dict[str, Outcome]) -> set[str]:
    if not isinstance(outcome, CompositeOutcome):
        return set()
    direct = {name for group in outcome.of for name in group}
    return direct.union(*(_members(outcomes[name], outcomes) for name in direct))


class Links:
    """How each two columns of a study hang together."""

    def __init__(self, columns: Sequence[Column], nested: Nested) -> None:
        self._links: dict[Column, list[tuple[Column, Link]]] = {one: [] for one in columns}
        for a, b in combinations(columns, 2):
            link = _link(a, b, nested)
            self._links[a].append((b, link))
            self._links[b].append((a, link))

    def of(self, column: Column) -> list[tuple[Column, Link]]:
        """Return all other columns and how they hang together with this one."""
        return self._links.get(column, [])


def _link(a: Column, b: Column, nested: Nested) -> Link:
    here, there = (a.outcome, a.window_name), (b.outcome, b.window_name)
    is_nested = here == there or frozenset({here, there}) in nested
    is_same = a.denominator == b.denominator
    # Outcomes of a window share their units: two denominators tell who is in one of them alone.
    has_units = a.window_name == b.window_name and not is_same
    return Link(
        has_events=is_nested,
        has_units=has_units or is_nested,
        has_others=here == there or (is_nested and is_same),
    )
