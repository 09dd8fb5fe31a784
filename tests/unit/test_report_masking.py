"""Small counts of series in the report; those of risks are masked by pipelines.disclosure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, product

import pytest

from warehouse.report.masking import shown_parts, shown_steps, shown_sums, told

MIN_CELL = 3


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
