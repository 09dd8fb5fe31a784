"""Small counts in the report: whoever knows the rule and every number shown learns none of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any

import pytest

from warehouse.report.masking import mask, shown_parts, shown_steps, shown_sums, told

MIN_CELL = 3
VALUES = "abcd"


def row(value: str, n_events: int, n_units: int = 100, n_patients: int = 50) -> dict[str, Any]:
    return {
        "study_id": "s",
        "outcome": "fever",
        "window_name": "risk",
        "denominator": "complete",
        "stratum": "all" if value == "all" else "drug",
        "stratum_value": value,
        "n_events": n_events,
        "n_units": n_units,
        "n_patients": n_patients,
        "risk": n_events / n_units if n_units else None,
    }


def published(events: Sequence[int]) -> tuple[int | None, ...]:
    """What the page shows of events by drug, and of their sum."""
    rows = [row(value, count) for value, count in zip(VALUES, events, strict=False)]
    rows.append(row("all", sum(events), 100 * len(events)))
    return tuple(one["n_events"] for one in mask(rows, MIN_CELL))


@pytest.mark.parametrize(("n_values", "most"), [(2, 14), (3, 12), (4, 9)])
def test_no_small_count_follows_from_what_is_shown(n_values: int, most: int) -> None:
    """Every world that looks the same to a reader is listed; a hidden count differs among them."""
    seen: dict[tuple[int | None, ...], list[tuple[int, ...]]] = defaultdict(list)
    for events in product(range(most + 1), repeat=n_values):
        if sum(events) <= most:  # with each world all others of its sum
            seen[published(events)].append(events)
    for shown, worlds in seen.items():
        for place in range(n_values):
            possible = {world[place] for world in worlds}
            count = shown[place]
            if count is None:
                assert len(possible) > 1, (shown, worlds)
            else:
                assert not 0 < count < MIN_CELL


def test_a_row_goes_whole_and_everything_is_shown_where_the_threshold_is_one() -> None:
    rows = [row("a", 2), row("b", 40), row("all", 42, 200)]
    hidden, beside, whole = mask(rows, MIN_CELL)
    for one in (hidden, beside):
        assert {one[name] for name in ("n_events", "n_units", "n_patients", "risk")} == {None}
    assert whole["n_events"] == 42
    assert [one["n_events"] for one in mask(rows, 1)] == [2, 40, 42]


@pytest.mark.parametrize(
    "small",
    [row("a", 40, 42), row("a", 0, 2), row("a", 20, 100, 2)],
    ids=["no event", "units", "patients"],
)
def test_few_without_event_few_units_and_few_patients_are_small_too(small: dict[str, Any]) -> None:
    assert mask([small, row("b", 40), row("c", 50)], MIN_CELL)[0]["n_events"] is None


def test_what_is_hidden_for_few_units_is_the_same_in_every_outcome() -> None:
    """Else the units of two outcomes together would tell of the third value's."""
    units = {"a": 2, "b": 30, "c": 40}
    rows = [
        {**row(value, events[value], n_units), "outcome": outcome}
        for outcome, events in (("x", {"a": 0, "b": 9, "c": 5}), ("y", {"a": 1, "b": 5, "c": 20}))
        for value, n_units in units.items()
    ]
    hidden = {
        (one["outcome"], one["stratum_value"])
        for one in mask(rows, MIN_CELL)
        if one["suppressed_reason"]
    }
    assert {("x", "a"), ("x", "b"), ("y", "a"), ("y", "b")} <= hidden


def steps(counts: Sequence[int]) -> tuple[int | None, ...]:
    flags = shown_steps(counts, MIN_CELL)
    return tuple(count if flag else None for count, flag in zip(counts, flags, strict=True))


def sums(counts: Sequence[int]) -> tuple[int | None, ...]:
    flags = shown_sums(counts, MIN_CELL)
    return tuple(count if flag else None for count, flag in zip(counts, flags, strict=True))


@pytest.mark.parametrize("show", [steps, sums])
def test_no_two_numbers_of_a_series_differ_by_a_small_one(
    show: Callable[[Sequence[int]], tuple[int | None, ...]],
) -> None:
    for counts in product(range(0, 12, 1), repeat=3):
        told_of = [count for count in show(counts) if count is not None]
        pairs = pairwise(told_of) if show is sums else product(told_of, told_of)
        assert not [pair for pair in pairs if 0 < abs(pair[0] - pair[1]) < MIN_CELL]
        assert not [count for count in told_of if 0 < count < MIN_CELL]


def test_a_step_that_nearly_equals_a_number_shown_elsewhere_is_hidden() -> None:
    assert shown_steps([120, 102, 100], MIN_CELL, known={101}) == [True, False, False]


def test_a_small_reason_takes_another_along() -> None:
    assert shown_parts([27, 2], MIN_CELL) == [False, False]
    assert shown_parts([27, 9], MIN_CELL) == [True, True]


def test_a_count_that_stands_alone_is_told_as_a_bound() -> None:
    assert [told(count, 11) for count in (0, 1, 10, 11, None)] == [
        "0",
        "fewer than 11",
        "fewer than 11",
        "11",
        "not known",
    ]
