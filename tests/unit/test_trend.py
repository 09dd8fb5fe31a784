"""Run rules against printed limits and a plain loop over each series."""

from __future__ import annotations

import math
from itertools import groupby, pairwise
from statistics import median
from typing import Any

import numpy as np
import pytest

from pipelines.signals.trend import (
    crossings_limit,
    find_runs,
    longest_run_limit,
    trend_table,
)
from tests.counts_kit import counts, row


def test_limits_of_runs_and_crossings_are_the_printed_ones() -> None:
    """Longest runs as tabulated at unaettie.com; 13 points need 3 crossings (Anhoj 2020)."""
    printed = {10: 6, 11: 6, 12: 7, 22: 7, 23: 8, 24: 8, 45: 8, 46: 9, 90: 9, 91: 10}
    assert longest_run_limit(np.array(list(printed))).tolist() == list(printed.values())
    assert crossings_limit(np.array([13])).tolist() == [3]
    for n in range(10, 41):
        needed = int(crossings_limit(np.array([n]))[0])
        below = [
            sum(math.comb(n - 1, k) for k in range(m)) / 2 ** (n - 1) for m in (needed, needed + 1)
        ]
        assert below[0] < 0.05 <= below[1]


def test_runs_of_many_series_are_those_of_a_loop_over_each() -> None:
    rng = np.random.default_rng(7)
    lengths = rng.integers(1, 30, 60)
    series = np.repeat(np.arange(60), lengths)
    # Few values, so that quarters lie on the median; some without units.
    risk = rng.integers(0, 5, len(series)) / 4
    risk[rng.random(len(risk)) < 0.1] = np.nan
    found = find_runs(series, risk)
    for number in range(60):
        at = series == number
        told = [one for one in risk[at].tolist() if one == one]
        if not told:
            assert np.isnan(found.centre[at]).all()
            continue
        centre = median(told)
        sides = [one > centre for one in told if one != centre]
        runs = [len(list(run)) for _, run in groupby(sides)]
        assert set(found.centre[at]) == {centre}
        assert set(found.n_useful[at]) == {len(sides)}
        assert set(found.longest[at]) == {max(runs, default=0)}
        assert set(found.crossings[at]) == {sum(a != b for a, b in pairwise(sides))}
        wanted = [n for run in runs for n in range(1, run + 1)]
        assert [n for n in found.position[at].tolist() if n] == wanted


def quarters(events: list[int], n: int = 40, **key: Any) -> list[dict[str, Any]]:
    names = [f"{2020 + at // 4}Q{at % 4 + 1}" for at in range(len(events))]
    told = zip(names, events, strict=True)
    return [row(e, n, stratum="calendar_quarter", stratum_value=name, **key) for name, e in told]


def test_a_risk_that_rises_for_good_has_shifted_and_one_that_scatters_has_not() -> None:
    risen = quarters([1, 2, 3, 1, 2, 3, 1, 2, 7, 8, 9, 7, 8, 9, 7, 8], outcome="risen")
    steady = quarters([1, 9, 2, 3, 8, 7, 1, 9, 8, 2, 7, 1, 2, 9, 8, 1], outcome="steady")
    # In any order, with rows that are of no quarter.
    found = trend_table(counts(*risen[::-1], row(1, 9), *steady)).to_pylist()
    assert [one["calendar_quarter"] for one in found[:5]] == [
        "2020Q1",
        "2020Q2",
        "2020Q3",
        "2020Q4",
        "2021Q1",
    ]
    assert {(one["outcome"], one["is_shifted"]) for one in found} == {
        ("risen", True),
        ("steady", False),
    }
    last = found[15]
    assert (last["side"], last["run_position"], last["longest_run"], last["crossings"]) == (
        "above",
        8,
        8,
        1,
    )
    assert (last["longest_run_limit"], last["crossings_limit"]) == (7, 4)
    assert last["risk"] == pytest.approx(8 / 40)
    assert last["ci_low"] < last["risk"] < last["ci_high"]


def test_a_short_series_and_one_of_rare_events_are_not_judged() -> None:
    short = quarters([0, 5, 1, 6, 2, 7, 3, 8], outcome="short")
    rare = quarters(
        [0, 0, 1, 0, 0, 2, 0, 1, 0, 1, 0, 2, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1], outcome="zz"
    )
    found = trend_table(counts(*short, *rare, *quarters([0], 0, outcome="none"))).to_pylist()
    of = {one["outcome"]: one for one in found}
    for name in ("short", "zz", "none"):
        assert [
            of[name][column] for column in ("is_shifted", "longest_run", "crossings_limit")
        ] == [None] * 3
    assert of["short"]["note"].startswith("fewer than 10 quarters")
    assert of["zz"]["note"].startswith("too many quarters on the median")
    assert (of["zz"]["n_useful_quarters"], of["zz"]["centre_risk"]) == (11, 0)
    assert [of["none"][name] for name in ("risk", "side", "centre_risk", "note")] == [
        None,
        None,
        None,
        "no units",
    ]
