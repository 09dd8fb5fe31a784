"""Comparisons of risks against statsmodels, published trials and what must hold of any of them.

Source of the trials: 13 trials of BCG vaccine (Colditz et al. 1994, JAMA 271:698), `dat.bcg` of the
R package metadat; Mantel and Haenszel's estimate as the R package metafor prints it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.contingency_tables import StratifiedTable

from pipelines.signals.comparison import (
    Comparison,
    Group,
    Shared,
    odds_ratio,
    risk_difference,
    risk_ratio,
)
from pipelines.signals.mantel_haenszel import (
    Stratum,
    mantel_haenszel_rate_ratio,
    mantel_haenszel_risk_difference,
    mantel_haenszel_risk_ratio,
)


def children(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One row a unit: child, whether later than the first, whether it had the event."""
    rng = np.random.default_rng(seed)
    child = np.repeat(np.arange(60), rng.integers(1, 9, size=60))
    later = np.append(False, child[1:] == child[:-1])
    tendency = rng.beta(1.2, 5, size=60)[child]
    event = rng.random(len(child)) < np.where(later, tendency * 0.5, np.minimum(1, tendency * 1.6))
    return child, later, event


def sums(child: np.ndarray, later: np.ndarray, event: np.ndarray) -> tuple[Group, Group, Shared]:
    n = np.array([[((child == i) & (later == k)).sum() for k in (0, 1)] for i in range(60)])
    e = np.array([[((child == i) & (later == k) & event).sum() for k in (0, 1)] for i in range(60)])
    groups = [
        Group(
            int(e[:, k].sum()),
            int(n[:, k].sum()),
            int((n[:, k] > 0).sum()),
            int((e[:, k] ** 2).sum()),
            int((e[:, k] * n[:, k]).sum()),
            int((n[:, k] ** 2).sum()),
        )
        for k in (0, 1)
    ]
    both = Shared(
        int(((n[:, 0] > 0) & (n[:, 1] > 0)).sum()),
        int((e[:, 0] * e[:, 1]).sum()),
        int((e[:, 0] * n[:, 1]).sum()),
        int((n[:, 0] * e[:, 1]).sum()),
        int((n[:, 0] * n[:, 1]).sum()),
    )
    return groups[0], groups[1], both


@pytest.mark.parametrize(
    ("compare", "family"),
    [
        (risk_ratio, sm.families.Poisson()),
        (odds_ratio, sm.families.Binomial()),
        (risk_difference, sm.families.Gaussian()),
    ],
)
def test_intervals_are_those_of_gee_under_independence(
    compare: Callable[[Group, Group, Shared], Comparison], family: Any
) -> None:
    child, later, event = children(1986)
    first, rest, both = sums(child, later, event)
    fit = sm.GEE(
        event.astype(float), sm.add_constant((~later).astype(float)), child, family=family
    ).fit()
    half = 1.959963984540054 * fit.bse[1] * math.sqrt(60 / 59)
    ends = [fit.params[1], fit.params[1] - half, fit.params[1] + half]
    expected = ends if compare is risk_difference else [math.exp(end) for end in ends]
    found = compare(first, rest, both)
    assert (found.value, found.low, found.high) == pytest.approx(expected, rel=1e-6)


def test_leaving_out_who_is_in_both_groups_changes_the_interval() -> None:
    first, rest, both = sums(*children(7))
    apart = risk_ratio(first, rest)
    together = risk_ratio(first, rest, both)
    assert apart.value == together.value
    assert apart.low != together.low


def test_groups_without_variance_or_units_say_so() -> None:
    none, all_ = Group(0, 5, 5, 0, 0, 5), Group(5, 5, 5, 5, 5, 5)
    assert risk_ratio(none, none).value is None
    assert risk_difference(none, all_).low is None
    assert risk_ratio(all_, none).note == "unbounded: zero on one side"
    assert risk_ratio(none, all_).value == 0.0
    assert odds_ratio(all_, all_).value is None
    assert risk_ratio(none, Group(0, 0, 0, 0, 0, 0)).value is None
    assert "one patient" in str(
        risk_ratio(Group(1, 2, 1, 1, 2, 4), Group(1, 3, 1, 1, 3, 9), Shared(1, 1, 3, 2, 6))
    )


@pytest.mark.parametrize("other", [[(2, 5)] * 3, [(3, 7)] * 4, [(1, 3), (2, 6)]])
def test_the_same_risk_in_every_child_of_a_side_has_no_limits(other: list[tuple[int, int]]) -> None:
    """One of three in each, two of five in each: what is left of the variance is rounding."""
    sides = [
        Group(
            sum(e for e, _ in told),
            sum(n for _, n in told),
            len(told),
            sum(e * e for e, _ in told),
            sum(e * n for e, n in told),
            sum(n * n for _, n in told),
        )
        for told in ([(1, 3)] * 4, other)
    ]
    for compare in (risk_ratio, risk_difference, odds_ratio):
        found = compare(sides[0], sides[1], Shared())
        assert found.value is not None
        assert (found.low, found.high, found.note) == (None, None, "no variance between patients")


@pytest.fixture
def trials(shared_dir: Path) -> list[Stratum]:
    with (shared_dir / "oracles" / "metadat_dat.bcg.csv").open(encoding="utf-8") as file:
        return [
            Stratum(
                int(row["tpos"]),
                int(row["tpos"]) + int(row["tneg"]),
                int(row["cpos"]),
                int(row["cpos"]) + int(row["cneg"]),
            )
            for row in csv.DictReader(file)
        ]


def test_the_common_risk_ratio_of_the_bcg_trials_is_the_published_one(
    trials: list[Stratum],
) -> None:
    found = mantel_haenszel_risk_ratio(trials)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert math.log(found.value) == pytest.approx(-0.4537096, abs=5e-8)
    error = math.log(found.high / found.low) / 2 / 1.959963984540054
    assert error == pytest.approx(0.0393374, abs=5e-8)


def test_the_common_risk_difference_is_that_of_statsmodels(trials: list[Stratum]) -> None:
    tables = [
        np.array(
            [
                [one.events, one.units - one.events],
                [one.other_events, one.other_units - one.other_events],
            ]
        )
        for one in trials
    ]
    peer = StratifiedTable(tables)
    assert mantel_haenszel_risk_ratio(trials).value == pytest.approx(peer.riskratio_pooled)
    found = mantel_haenszel_risk_difference(trials)
    weights = [one.units * one.other_units / one.total for one in trials]
    differences = [one.events / one.units - one.other_events / one.other_units for one in trials]
    assert found.value == pytest.approx(np.average(differences, weights=weights))


def test_one_stratum_of_rates_is_the_crude_ratio_and_equal_strata_keep_it() -> None:
    one = Stratum(11, 800.0, 21, 3011.0)
    crude = 11 / 800 / (21 / 3011)
    assert mantel_haenszel_rate_ratio([one]).value == pytest.approx(crude)
    twice = mantel_haenszel_rate_ratio([one, one])
    assert twice.value == pytest.approx(crude)
    alone = mantel_haenszel_rate_ratio([one])
    assert twice.low is not None
    assert alone.low is not None
    assert math.log(crude / twice.low) * 2**0.5 == pytest.approx(math.log(crude / alone.low))
    # Of one stratum the variance is that of the logarithm of two Poisson counts.
    assert math.log(crude / alone.low) == pytest.approx(
        1.959963984540054 * (1 / 11 + 1 / 21) ** 0.5
    )


def test_a_stratum_that_lacks_one_side_changes_nothing() -> None:
    strata = [Stratum(4, 50, 2, 60), Stratum(3, 40, 5, 80)]
    empty = [*strata, Stratum(9, 100, 0, 0)]
    assert mantel_haenszel_risk_ratio(empty) == mantel_haenszel_risk_ratio(strata)
    assert mantel_haenszel_risk_difference(empty) == mantel_haenszel_risk_difference(strata)
    assert mantel_haenszel_risk_ratio([Stratum(0, 5, 0, 5)]).value is None
    assert mantel_haenszel_risk_difference([]).value is None


def test_common_measures_without_variance_have_no_limits_and_differences_end_at_one() -> None:
    all_ = Stratum(5, 5, 5, 5)
    for found in (
        mantel_haenszel_risk_ratio([all_]),
        mantel_haenszel_risk_difference([all_]),
        mantel_haenszel_risk_difference([Stratum(0, 5, 0, 5)]),
    ):
        assert found.value is not None
        assert found.low is found.high is None
        assert "no variance" in str(found)
    assert mantel_haenszel_risk_difference([Stratum(4, 5, 0, 1)]).high == 1.0
