"""The case series against the published one of MMR vaccine, and Poisson regression.

Source: thrombocytopenic purpura and MMR, data `itpdat` of the R package SCCS; the method in
Whitaker et al. 2006, Stat Med 25:1768.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm

from pipelines.signals.sccs import Series, fit_series

#: Starts of age groups, and risk windows in days after the vaccination.
AGES = (427, 488, 549, 610, 671)
RISKS = ((0, 14), (15, 28), (29, 42))


def mmr(shared_dir: Path) -> Series:
    """Idiopathic thrombocytopenic purpura; a stretch of one day each, both ends included."""
    with (shared_dir / "oracles" / "sccs_itpdat.csv").open(encoding="utf-8") as file:
        told = [{name: int(row[name]) for name in row} for row in csv.DictReader(file)]
    patients = {row["case"]: row for row in told}
    rows: dict[tuple[int, tuple[float, ...]], list[int]] = {}
    for case, row in patients.items():
        onsets = [one["itp"] for one in told if one["case"] == case]
        for day in range(row["sta"], row["end"] + 1):
            age = sum(day >= start for start in AGES)
            since = day - row["mmr"]
            risk = [float(low <= since <= high) for low, high in RISKS]
            bands = [float(age == number) for number in range(1, len(AGES) + 1)]
            found = rows.setdefault((case, (*risk, *bands)), [0, 0])
            found[0] += 1
            found[1] += onsets.count(day)
    return Series(
        np.array([case for case, _ in rows]),
        np.array([days for days, _ in rows.values()], dtype=np.float64),
        np.array([events for _, events in rows.values()]),
        np.array([columns for _, columns in rows]),
    )


def test_purpura_after_vaccination_has_the_published_rate_ratios(shared_dir: Path) -> None:
    fit = fit_series(mmr(shared_dir))
    assert fit.converged
    assert [fit.ratio(k)[0] for k in range(3)] == pytest.approx(
        [1.3088723, 5.9539763, 2.6002037], abs=5e-8
    )


def test_it_is_the_poisson_regression_with_an_intercept_a_patient(shared_dir: Path) -> None:
    series = mmr(shared_dir)
    dummies = (series.patient[:, None] == np.unique(series.patient)[None, :]).astype(float)
    peer = sm.GLM(
        series.events,
        np.hstack([series.exposure, dummies]),
        family=sm.families.Poisson(),
        offset=np.log(series.days),
    ).fit(tol=1e-12, maxiter=200)
    fit = fit_series(series)
    assert fit.log_ratio == pytest.approx(peer.params[:8], abs=1e-6)
    assert np.diag(fit.covariance) ** 0.5 == pytest.approx(peer.bse[:8], rel=1e-5)


def simple(events: list[int]) -> Series:
    """Two patients with 10 days in the risk window and 40 outside."""
    return Series(
        np.array([1, 1, 2, 2]),
        np.array([10.0, 40.0, 10.0, 40.0]),
        np.array(events),
        np.array([[1.0], [0.0], [1.0], [0.0]]),
    )


def test_with_equal_windows_it_is_the_ratio_of_the_two_rates() -> None:
    fit = fit_series(simple([2, 1, 1, 3]))
    value, low, high = fit.ratio(0)
    assert value == pytest.approx(3 / 10 / (4 / 40))
    assert np.log(high / low) / 2 == pytest.approx(1.959963984540054 * (1 / 3 + 1 / 4) ** 0.5)


def test_patients_without_an_event_change_nothing() -> None:
    fit = fit_series(simple([2, 1, 0, 0]))
    assert fit.n_patients == 1
    assert fit.ratio(0)[0] == pytest.approx(8.0)


def test_events_on_one_side_alone_are_no_estimate() -> None:
    fit = fit_series(simple([2, 0, 1, 0]))
    assert not fit.converged
    assert fit.note is not None
    assert "separated" in fit.note


def test_a_repeated_column_is_said_and_no_event_is_refused() -> None:
    series = simple([2, 1, 1, 3])
    doubled = Series(series.patient, series.days, series.events, np.hstack([series.exposure] * 2))
    assert not fit_series(doubled).converged
    with pytest.raises(ValueError, match="no patient"):
        fit_series(simple([0, 0, 0, 0]))
