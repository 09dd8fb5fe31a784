"""The case series over windows: printed values, Poisson regression with ages, and what is null."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm

from pipelines.signals.case_series import (
    NO_CONTROL_EVENT,
    NO_RISK_EVENT,
    WITHOUT_AGE,
    CaseSeries,
    case_series_rows,
    estimate_case_series,
)
from pipelines.signals.self_controlled import CUT_BY_NEXT, NO_EVENT, SELF_CONTROLLED_SCHEMA

DAY_US = 86_400_000_000

#: Patient, days, events, whether in a risk window, age band; a row a stretch.
Stretch = tuple[int, float, int, bool, int]


def estimate(rows: list[Stretch]) -> CaseSeries:
    patient, days, events, is_risk, band = (np.array(column) for column in zip(*rows, strict=True))
    return estimate_case_series(patient, days, events.astype(float), is_risk, band)


def pairs(n: int, *, risk_events: int, first: int = 0) -> list[Stretch]:
    """Patients with one event each in a risk window of 4 or a control window of 3 days."""
    return [
        row
        for number in range(n)
        for row in (
            (first + number, 4.0, int(number < risk_events), True, 0),
            (first + number, 3.0, int(number >= risk_events), False, 0),
        )
    ]


def test_windows_of_equal_length_give_the_ratio_that_the_vaccine_safety_datalink_printed() -> None:
    found = estimate(pairs(60, risk_events=50))
    assert found.ratio == pytest.approx(3.75)
    assert (found.low, found.high) == pytest.approx((1.90, 7.39), abs=5e-3)
    assert (found.is_converged, found.has_age, found.note) == (True, False, None)


def simulated(seed: int) -> list[Stretch]:
    """Children with windows in two or three age bands; older ones have fewer events."""
    rng = np.random.default_rng(seed)
    rows: list[Stretch] = []
    for child in range(80):
        for band in range(rng.integers(0, 2), 3):
            for is_risk in (True, False):
                days = float(rng.uniform(1, 12))
                mean = 0.08 * days * (2.0 if is_risk else 1.0) * 0.6**band
                rows.append((child, days, int(rng.poisson(mean)), is_risk, band))
    return rows


def test_ages_are_adjusted_for_as_in_a_poisson_regression_with_a_term_a_patient() -> None:
    rows = simulated(3)
    cases = sorted({row[0] for row in rows if row[2]})
    kept = [row for row in rows if row[0] in cases]
    columns = [
        [is_risk, band == 1, band == 2, *(child == case for case in cases)]
        for child, _, _, is_risk, band in kept
    ]
    fit = sm.GLM(
        np.array([row[2] for row in kept], dtype=float),
        np.array(columns, dtype=float),
        family=sm.families.Poisson(),
        offset=np.log([row[1] for row in kept]),
    ).fit(tol=1e-12)
    found = estimate(rows)
    assert found.has_age
    peer = [np.exp(x) for x in (fit.params[0], *fit.conf_int()[0])]
    assert [found.ratio, found.low, found.high] == pytest.approx(peer, rel=1e-6)
    assert found.low is not None
    assert found.low < 2.0 < (found.high or 0)


def test_an_age_band_that_nobody_leaves_is_no_covariate() -> None:
    rows = pairs(20, risk_events=12) + [
        (*row[:4], 1) for row in pairs(20, risk_events=12, first=20)
    ]
    assert estimate(rows).has_age is False
    assert estimate(rows).ratio == pytest.approx(12 / 8 * 3 / 4)


def test_ages_without_events_are_left_out_and_that_is_said() -> None:
    # Every child has windows in a second band too, in which nothing ever happens.
    more: list[Stretch] = [(number, 3.0, 0, False, 1) for number in range(20)]
    found = estimate(pairs(20, risk_events=12) + more)
    assert (found.is_converged, found.has_age, found.note) == (False, False, WITHOUT_AGE)
    assert found.ratio == pytest.approx(12 / 8 * 6 / 4)


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        (pairs(5, risk_events=5), NO_CONTROL_EVENT),
        (pairs(5, risk_events=0), NO_RISK_EVENT),
        ([(1, 4.0, 0, True, 0), (1, 3.0, 0, False, 0)], NO_EVENT),
        # Events on both sides, but each child has one side alone: nothing is compared.
        ([(1, 4.0, 1, True, 0), (2, 3.0, 1, False, 0)], "a column says nothing"),
    ],
)
def test_what_cannot_be_compared_has_no_ratio_and_a_reason(rows: list[Stretch], note: str) -> None:
    found = estimate(rows)
    assert (found.ratio, found.low, found.high, found.is_converged) == (None, None, None, False)
    assert str(found.note).startswith(note)


def stretches(rows: list[Stretch], stratum: str) -> list[dict[str, Any]]:
    return [
        {
            "site_id": "north",
            "outcome": "fracture",
            "stratum": stratum,
            "stratum_value": stratum,
            "patient_key": f"{child:03d}",
            "age_band": str(band),
            "is_risk": is_risk,
            "n_events": events,
            "at_risk_us": round(days * DAY_US),
            "is_cut_by_next": not is_risk and child == 0,
            "is_cut_by_end": False,
        }
        for child, days, events, is_risk, band in rows
    ]


def test_each_stratum_has_its_own_row_with_its_counts() -> None:
    quiet: list[Stretch] = [(900, 4.0, 0, True, 0), (900, 3.0, 0, False, 0)]
    told = stretches(pairs(60, risk_events=50) + quiet, "all") + stretches(quiet, "drug")
    whole, none = case_series_rows(pa.Table.from_pylist(told), "s").to_pylist()
    assert (whole["n_patients"], whole["n_risk_events"], whole["n_control_events"]) == (60, 50, 10)
    assert (whole["risk_days"], whole["control_days"]) == (240, 180)
    assert (whole["method"], whole["note"], whole["n_cut_by_next"]) == ("sccs", CUT_BY_NEXT, 1)
    assert (none["n_patients"], none["rate_ratio"], none["note"]) == (0, None, NO_EVENT)
    assert none["cut_by_next_share"] is None
    empty = pa.Table.from_pylist(told).slice(0, 0)
    assert case_series_rows(empty, "s") == SELF_CONTROLLED_SCHEMA.empty_table()
