"""Sequential boundaries against published values, enumeration and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipelines.signals.maxsprt import (
    group_alpha,
    group_boundary,
    poisson_alpha,
    poisson_boundary,
    poisson_llr,
    poisson_power,
)
from pipelines.signals.maxsprt_binomial import binomial_alpha, binomial_boundary, binomial_llr
from pipelines.signals.maxsprt_conditional import (
    conditional_alpha,
    conditional_boundary,
    conditional_llr,
    planned_alpha,
    planned_boundary,
)

#: Kulldorff et al. 2011, Sequential Analysis 30:58-78, table 1: alpha .05, one event suffices.
PUBLISHED = {
    1: 2.853937,
    2: 3.046977,
    5: 3.297183,
    10: 3.467952,
    20: 3.628123,
    50: 3.819903,
    100: 3.952321,
}


@pytest.mark.parametrize(("until", "boundary"), PUBLISHED.items())
def test_boundaries_of_continuous_surveillance_are_the_published_ones(
    until: int, boundary: float
) -> None:
    assert poisson_boundary(until).boundary == pytest.approx(boundary, abs=5e-7)


def test_power_and_time_to_signal_are_the_published_ones() -> None:
    """T = 10, rate ratio 2: Kulldorff et al. 2011."""
    found = poisson_power(poisson_boundary(10).boundary, 10, 2)
    assert found.power == pytest.approx(0.6850634, abs=5e-8)
    assert found.time_to_signal == pytest.approx(4.130985, abs=5e-7)


def test_power_without_an_excess_is_alpha() -> None:
    boundary = poisson_boundary(20, alpha=0.01, min_events=3)
    assert boundary.alpha == pytest.approx(0.01, abs=1e-9)
    assert poisson_power(boundary.boundary, 20, 1, 3).power == pytest.approx(0.01, abs=1e-9)


def test_more_events_needed_at_first_lower_the_boundary_later() -> None:
    values = [poisson_boundary(10, min_events=n).boundary for n in (1, 2, 4)]
    assert values == sorted(values, reverse=True)


def test_an_alpha_that_cannot_be_spent_is_refused() -> None:
    with pytest.raises(ValueError, match="no boundary spends"):
        poisson_boundary(1, alpha=0.05, min_events=9)


def test_the_region_of_planned_looks_is_the_published_one() -> None:
    found = group_boundary([5, 6, 6, 5, 8])
    assert found.thresholds == (11, 19, 27, 33, 43)
    assert found.alpha == pytest.approx(0.0462234, abs=5e-8)


def test_a_larger_region_of_looks_costs_too_much() -> None:
    increments = [0.7, 0.2, 1.1, 0.4]
    found = group_boundary(increments, alpha=0.05)
    expected = np.cumsum(increments)
    smaller = [poisson_llr(n - 1, mean) for n, mean in zip(found.thresholds, expected, strict=True)]
    wider = max(smaller)
    thresholds = [
        next(n for n in range(1, 99) if poisson_llr(n, mean) >= wider) for mean in expected
    ]
    assert found.alpha <= 0.05 < group_alpha(thresholds, increments)


def test_a_continuous_test_is_the_limit_of_many_looks() -> None:
    boundary = poisson_boundary(5).boundary
    n_looks = 4000
    expected = np.arange(1, n_looks + 1) * 5 / n_looks
    thresholds = [
        next(n for n in range(1, 99) if poisson_llr(n, mean) >= boundary) for mean in expected
    ]
    assert group_alpha(thresholds, [5 / n_looks] * n_looks) == pytest.approx(0.05, abs=2e-4)


@pytest.mark.parametrize("p", [0.25, 0.5, 0.3])
def test_the_binomial_alpha_is_what_enumerating_all_sequences_gives(p: float) -> None:
    found = binomial_boundary(12, p, alpha=0.05)
    total = 0.0
    for sequence in itertools.product((0, 1), repeat=12):
        cases = np.cumsum(sequence)
        if any(c >= k for c, k in zip(cases, found.thresholds, strict=True)):
            total += p ** sum(sequence) * (1 - p) ** (12 - sum(sequence))
    assert found.alpha == pytest.approx(total, abs=1e-12)
    assert 0 < found.alpha <= 0.05
    below = sorted({binomial_llr(k, n, p) for n in range(1, 13) for k in range(n + 1)} - {0.0})
    next_lower = below[below.index(found.boundary) - 1]
    wider = [
        next((k for k in range(n + 1) if binomial_llr(k, n, p) >= next_lower), n + 1)
        for n in range(1, 13)
    ]
    assert binomial_alpha(wider, p) > 0.05


def test_where_too_few_events_can_come_nothing_rejects_and_no_alpha_is_spent() -> None:
    found = binomial_boundary(2, 0.5, alpha=0.05)
    assert found.thresholds == (2, 3)
    assert found.alpha == 0.0


def test_an_estimated_reference_asks_for_more_and_a_large_one_for_the_same() -> None:
    thin = conditional_boundary(10, 10)
    large = conditional_boundary(10, 4000)
    fixed = [poisson_llr(n, n / 3) for n in (3, 6)]
    close = [conditional_llr(n, n / 3 / 4000, 4000) for n in (3, 6)]
    assert close == pytest.approx(fixed, rel=2e-3)
    assert thin.alpha == pytest.approx(0.05, abs=1e-8)
    assert large.alpha == pytest.approx(0.05, abs=1e-8)


def test_the_conditional_alpha_holds_in_simulation_where_the_fixed_one_is_exceeded() -> None:
    rng = np.random.default_rng(20100129)
    known, most, n = 12, 15, 40_000
    boundary = conditional_boundary(most, known).boundary
    history = rng.gamma(known, size=n)
    times = rng.exponential(size=(n, most)).cumsum(axis=1)
    events = np.arange(1, most + 1)
    share = times / history[:, None]
    total = events + known
    raw = events * np.log(events * (1 + share) / (total * share)) + known * np.log(
        known * (1 + share) / total
    )
    ratios = np.where(events > known * share, raw, 0.0)
    rejected = (ratios >= boundary).any(axis=1).mean()
    error = (0.05 * 0.95 / n) ** 0.5
    assert abs(rejected - 0.05) < 3 * error
    # As if the rate of twelve events were known:
    expected = known * share
    naive = np.where(events > expected, expected - events + events * np.log(events / expected), 0.0)
    naive_boundary = conditional_boundary(most, 10**4).boundary
    assert (naive >= naive_boundary).any(axis=1).mean() > 0.07


def test_the_conditional_alpha_falls_as_the_boundary_rises() -> None:
    found = [conditional_alpha(b, 8, 20) for b in (1.0, 2.0, 3.0, 4.0)]
    assert found == sorted(found, reverse=True)
    assert poisson_alpha(2.0, 8) > poisson_alpha(4.0, 8)


def test_planned_looks_at_an_estimated_rate_cost_what_simulation_says() -> None:
    """Sixty nights against a rate of 33 events: known rates are taken for granted at a price."""
    rng = np.random.default_rng(60)
    known, n = 33, 40_000
    shares = [0.02 * night for night in range(1, 61)]
    found = planned_boundary(shares, known)
    rate = rng.gamma(known, size=n)  # events per historical person-time, given that 33 were seen
    counts = rng.poisson(rate[:, None] * 0.02, size=(n, 60)).cumsum(axis=1)
    rejected = (counts >= np.array(found.thresholds)).any(axis=1).mean()
    assert abs(rejected - found.alpha) < 3 * (0.05 * 0.95 / n) ** 0.5
    assert 0.04 < found.alpha <= 0.05
    taken_for_known = group_boundary([0.02 * known] * 60)
    assert taken_for_known.alpha <= 0.05
    assert planned_alpha(taken_for_known.thresholds, shares, known) > 0.08


def test_planned_looks_at_a_rate_of_very_many_events_are_those_at_a_known_one() -> None:
    shares = [0.0005 * look for look in (5, 11, 17, 22, 30)]
    assert planned_boundary(shares, 2000).thresholds == group_boundary([5, 6, 6, 5, 8]).thresholds


def test_a_ratio_below_the_null_is_no_evidence() -> None:
    assert poisson_llr(3, 3) == poisson_llr(2, 3) == binomial_llr(1, 4, 0.3) == 0.0
    assert conditional_llr(2, 0.5, 4) == 0.0
    assert poisson_llr(1, 0) == float("inf")
