"""What is told of pairs, onset and comparisons: nothing small, beside what is told already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipelines.disclosure import others
from pipelines.disclosure.others import Told
from pipelines.disclosure.release import Column, Division, Release, StudyCounts
from pipelines.disclosure.rule import Row
from pipelines.signals.counts import COUNT_TABLES, ONSET, PAIRED, SHARED

NESTED = frozenset(
    {
        frozenset({("any", "risk"), ("severe", "risk")}),
        frozenset({("any", "risk"), ("any", "late")}),
    }
)


def row(e: int, n: int) -> Row:
    """A row of which each patient has one unit."""
    return {"n_units": n, "n_events": e, "n_patients": n, "sum_e2": e, "sum_en": e, "sum_n2": n}


def told(
    whole: Mapping[Column, Row],
    strata: Mapping[str, Mapping[Column, Mapping[str, Row]]] | None = None,
    other: Mapping[str, Mapping[tuple[object, ...], Row]] | None = None,
) -> Told:
    """Everything is told of `signals.counts`; `other` was told of the other tables before."""
    counts = StudyCounts(whole, strata or {}, list(whole), NESTED)
    divisions = {name: Division(rows=columns) for name, columns in (strata or {}).items()}
    return Told(counts, Release(11, whole, divisions), Release(11, other=other or {}), 11)


def told_others(
    tables: Mapping[str, pa.Table], world: Told
) -> dict[str, dict[tuple[object, ...], Row]]:
    return others.told_others(tables, world)[0]


def rows_of(name: str, rows: Sequence[tuple[object, ...]]) -> dict[str, pa.Table]:
    form = COUNT_TABLES[name]
    names = [one for one in (*form.keys, *form.sums) if one not in {"study_id", "site_id"}]
    return {name: pa.Table.from_pylist([dict(zip(names, one, strict=True)) for one in rows])}


def days(outcome: str, events: Mapping[int, int], n: int = 200) -> list[tuple[object, ...]]:
    """Bins of days; those without the event leave on the last one."""
    found: list[tuple[object, ...]] = [
        (outcome, "risk", "all", "all", "day", day, e, 0, 0, 0, e) for day, e in events.items()
    ]
    left = n - sum(events.values())
    return [*found, (outcome, "risk", "all", "all", "day", 30, 0, 0, 0, left, left)]


def test_children_lost_from_a_denominator_are_not_told_by_its_pairs() -> None:
    columns = [Column("any", "risk", name) for name in ("complete", "all")]
    strata = {"ordinal": {one: {"first": row(60, 200)} for one in columns}}
    pairs = [
        ("any", "risk", "drug", "all", 20, 20, 20, 63, 60, 40, 83, 200),
        ("any", "risk", "drug", "complete", 20, 20, 20, 60, 60, 40, 80, 200),
    ]
    found = told_others(
        rows_of(PAIRED.name, pairs), told({one: row(90, 400) for one in columns}, strata)
    )
    # Three more have neither: of the two the headline is told.
    assert [key[-1] for key in found[PAIRED.name]] == ["complete"]


def test_what_two_classes_of_drugs_leave_of_first_infusions_is_not_small() -> None:
    column = Column("any", "risk", "complete")
    strata = {"ordinal": {column: {"first": row(75, 203)}}}
    pairs = [
        ("any", "risk", drug, "complete", 0, 40, 0, 60, 40, 40, 60, 100) for drug in ("one", "two")
    ]
    world = told({column: row(90, 400)}, strata)
    assert not told_others(rows_of(PAIRED.name, pairs), world)[PAIRED.name]


def test_sums_over_few_children_on_both_sides_are_not_told() -> None:
    column = Column("any", "risk", "complete")
    strata = {"ordinal": {column: {"first": row(40, 100), "later": row(40, 100)}}}
    key = ("any", "risk", "ordinal", "first", "rest", "rest", "complete")
    world = told({column: row(80, 200)}, strata)
    # Three children, of whom each has many infusions.
    few = told_others(rows_of(SHARED.name, [(*key, 3, 3, 12, 12, 12, 27)]), world)
    assert not few[SHARED.name]
    many = told_others(rows_of(SHARED.name, [(*key, 30, 30, 12, 12, 12, 27)]), world)
    assert many[SHARED.name]


def test_days_are_told_as_of_one_night_alone() -> None:
    column = Column("any", "risk", "all")
    first = told_others(
        rows_of(ONSET.name, days("any", {0: 20, 1: 12, 2: 40})), told({column: row(72, 200)})
    )
    assert first[ONSET.name]
    # What was on day 1 is gone, and 20 more were on day 0: nothing of day 1 may stay.
    then = told({column: row(80, 208)}, other=first)
    second = told_others(rows_of(ONSET.name, days("any", {0: 40, 2: 40}, 208)), then)[ONSET.name]
    assert sum(one["n_events"] or 0 for one in second.values()) == 80


def test_days_that_were_told_before_count_beside_those_of_a_nested_outcome() -> None:
    columns = {Column(name, "risk", "all"): row(40, 200) for name in ("any", "severe")}
    first = told_others(rows_of(ONSET.name, days("any", {0: 38})), told(columns))
    assert first[ONSET.name] == {}  # 38 of 40: two have no day
    first = told_others(rows_of(ONSET.name, days("any", {0: 40})), told(columns))
    assert first[ONSET.name]
    # One more, and so these stay as they were; 39 of them severe.
    now = {
        Column("any", "risk", "all"): row(41, 200),
        Column("severe", "risk", "all"): row(39, 200),
    }
    both = [*days("any", {0: 41}), *days("severe", {0: 39})]
    second = told_others(rows_of(ONSET.name, both), told(now, other=first))
    assert second[ONSET.name] == first[ONSET.name]


def test_days_added_up_are_not_told_beside_a_window_that_ends_between() -> None:
    whole = {Column("any", "risk", "all"): row(80, 200), Column("any", "late", "all"): row(38, 200)}
    # 40 until day 1, of whom 38 in the shorter window.
    found = told_others(rows_of(ONSET.name, days("any", {0: 20, 1: 20, 9: 40})), told(whole))
    assert not found[ONSET.name]
