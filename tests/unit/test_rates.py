"""Rates and their ratios against published values and plain sums of probabilities.

Sources: Garwood 1936, Biometrika 28:437, by the chi-square form; `poisson.test` of R, its own
example of 11 in 800 and 21 in 3,011; risk and control windows as the Vaccine Safety Datalink counts
them (Glanz et al. 2006, J Clin Epidemiol 59:808).
"""

from __future__ import annotations

import pytest
from scipy import stats

from pipelines.signals.intervals import garwood
from pipelines.signals.rates import compare_rates, estimate_rate


@pytest.mark.parametrize(
    ("events", "low", "high"),
    [
        (0, 0, 3.6888794541),
        (1, 0.0253178080, 5.5716433909),
        (5, 1.6234863901, 11.6683320793),
        (20, 12.2165195854, 30.8883779027),
    ],
)
def test_the_limits_of_a_poisson_mean_are_garwoods(events: int, low: float, high: float) -> None:
    assert garwood(events) == pytest.approx((low, high), abs=5e-11)


@pytest.mark.parametrize("events", [1, 4, 37])
def test_each_limit_leaves_half_of_the_error_beyond_it(events: int) -> None:
    low, high = garwood(events, 0.9)
    assert stats.poisson.sf(events - 1, low) == pytest.approx(0.05)
    assert stats.poisson.cdf(events, high) == pytest.approx(0.05)


def test_a_rate_is_told_per_thousand_days_and_none_without_time() -> None:
    found = estimate_rate(5, 2000)
    assert (found.rate, found.low) == pytest.approx((2.5, 1.6234863901 / 2))
    assert estimate_rate(0, 0).rate is None
    assert "no time" in str(estimate_rate(0, 0))


def test_two_rates_compare_as_poisson_test_of_r_does() -> None:
    found = compare_rates(11, 800, 21, 3011)
    assert (found.ratio, found.low, found.high, found.p_value) == pytest.approx(
        (1.971488095, 0.8584264034, 4.2772659437, 0.0796686330), abs=5e-10
    )


def test_self_controlled_windows_compare_as_the_vaccine_safety_datalink_reports() -> None:
    found = compare_rates(3, 7, 1, 21)
    assert found.ratio == pytest.approx(9.0)
    assert (found.wald_low, found.wald_high) == pytest.approx((0.9, 86.5), abs=0.05)
    found = compare_rates(50, 4, 10, 3)
    assert found.ratio == pytest.approx(3.75)
    assert (found.wald_low, found.wald_high) == pytest.approx((1.90, 7.39), abs=5e-3)
    assert (found.low, found.high) == pytest.approx((1.880, 8.294), abs=5e-4)


def test_without_events_on_one_side_the_exact_limit_still_holds() -> None:
    found = compare_rates(4, 10, 0, 10)
    assert found.ratio == float("inf")
    assert found.high is None
    assert found.low == pytest.approx(0.025**0.25 / (1 - 0.025**0.25))
    assert "no upper limit" in str(found)
    assert compare_rates(0, 10, 4, 10).low == 0.0


def test_without_any_event_or_time_there_is_no_ratio() -> None:
    assert compare_rates(0, 10, 0, 10).ratio is None
    assert compare_rates(1, 10, 1, 0).ratio is None
