"""Results of estimators, printed: what a notebook shows of each."""

from __future__ import annotations

import numpy as np

from pipelines.signals.comparison import Group, Shared, risk_ratios
from pipelines.signals.effectiveness import mean_changes
from pipelines.signals.empirical_bayes import Prior
from pipelines.signals.gee import fit_exchangeable_logit
from pipelines.signals.maxsprt import Power
from pipelines.signals.onset import estimate_curves
from pipelines.signals.rates import estimate_rates, rate_ratios
from pipelines.signals.risk import estimate_risks
from pipelines.signals.risk_gee import estimate_gee_risks
from pipelines.signals.sccs import Series, fit_series
from pipelines.signals.trend import find_runs


def test_columns_of_estimates_are_a_line_a_row_with_the_reason_of_what_is_missing() -> None:
    risks = estimate_risks([2, 0], [20, 0], [20, 0], [2, 0], [2, 0], [20, 0])
    # Clopper-Pearson of 1.9 of 19: the variance is times 20 / 19.
    assert str(risks) == "10.0% (1.1% to 32.5%)\nno estimate: no units"
    # Garwood's 1.6234863901 to 11.6683320793 of five events, in 2,000 days.
    rates = estimate_rates([5, 0], [2000, 0])
    assert str(rates).splitlines() == [
        "2.5 per 1,000 person-days (0.812 to 5.83)",
        "no estimate: no time at risk",
    ]
    # R's poisson.test: 1.971488095 (.8584264034 to 4.2772659437).
    assert str(rate_ratios([11, 4], [800, 10], [21, 0], [3011, 10])).splitlines() == [
        "1.97 (0.858 to 4.28)",
        "no estimate (0.66 to no upper limit; no event on one side: no normal approximation)",
    ]
    none = np.zeros(1)
    ratio = risk_ratios(Group(none, none + 5, *[none] * 4), Group(*[none] * 6), Shared())
    assert str(ratio) == "no estimate: no units on one side"
    assert str(estimate_gee_risks([2], [1], [5])) == (
        "50.0% (no limits: the same risk in every patient: no variance between patients), "
        "independence"
    )


def test_changes_say_of_how_many_patients_and_that_they_are_not_causal() -> None:
    found = mean_changes([-2.0, -2.0, -2.0], [-1.0, -1.5, -0.5])
    assert str(found) == "1 (-0.242 to 2.24), 3 patients; before-after, not causal"
    assert str(mean_changes([], [])) == "no estimate: no patient has a value before and after"


def test_regressions_tell_ratios_a_column_and_whether_they_settled() -> None:
    event = np.array([True] * 3 + [False] * 9)
    odds = fit_exchangeable_logit(np.arange(12), event, np.ones((12, 1)))
    # Three of nine: log odds with error sqrt(1/3 + 1/9).
    assert str(odds).splitlines()[0] == "column 0: odds ratio 0.333 (0.0902 to 1.23)"
    assert str(odds).endswith("converged")
    nothing = fit_exchangeable_logit(np.arange(3), event[9:], np.ones((3, 1)))
    assert str(nothing).startswith("no logit: no events")
    windows = {
        "patient": np.array([1, 1, 2, 2]),
        "days": np.array([10.0, 40.0, 10.0, 40.0]),
        "exposure": np.array([[1.0], [0.0], [1.0], [0.0]]),
    }
    # 3 in 20 days over 4 in 80: 3, error sqrt(1/3 + 1/4).
    assert str(fit_series(Series(events=np.array([2, 1, 1, 3]), **windows))) == (
        "column 0: rate ratio 3 (0.671 to 13.4)\n2 patients with an event"
    )
    apart = fit_series(Series(events=np.array([2, 0, 1, 0]), **windows))
    assert str(apart).startswith("no ratios: separated")


def test_curves_and_runs_are_a_line_a_bin_and_a_quarter() -> None:
    one = np.ones(2)
    # Two of ten, then nothing: log-log limits of .8, and of one less it.
    curves = estimate_curves(np.zeros(2, np.intp), one * 10, np.array([0.0, 2.0]), one * 0)
    assert str(curves).splitlines() == [
        "event-free 100.0% (no limits), had it 0.0% (no limits)",
        "event-free 80.0% (40.9% to 94.6%), had it 20.0% (5.4% to 59.1%)",
    ]
    runs = find_runs(np.zeros(3, np.intp), np.array([0.1, 0.2, 0.3]))
    assert str(runs).splitlines() == [
        "below, 1 in a row; median 20.0%; not judged",
        "on or without units; median 20.0%; not judged",
        "above, 1 in a row; median 20.0%; not judged",
    ]


def test_what_is_planned_and_what_is_assumed_read_as_sentences() -> None:
    assert str(Power(0.6850634, 4.130985)) == (
        "a signal with a chance of 68.5%, on average at 4.1 expected events"
    )
    assert str(Power(0.0, None)) == "a signal with a chance of 0.0%"
    prior = Prior(0.2, 0.1, 2.0, 4.0, 1 / 3, converged=False)
    assert str(prior) == "33.3% gamma(0.2, 0.1), 66.7% gamma(2, 4) (the fit did not settle)"
