"""Changes and ratios of the same patients, before and after: estimates against other software."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from pipelines.signals.comparison import FEW
from pipelines.signals.effectiveness import (
    LABEL,
    NO_VARIANCE,
    density_rows,
    fracture_rows,
    mean_changes,
    rate_ratios,
)


def test_the_mean_change_has_the_paired_t_interval_and_the_error_of_estimating_equations() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(4)
    before = rng.normal(-2.5, 0.8, 17)
    after = before + rng.normal(0.5, 0.4, 17)
    found = mean_changes(before, after)
    interval = stats.ttest_rel(after, before).confidence_interval()
    assert (found.low[0], found.high[0]) == pytest.approx(interval, rel=1e-12)
    long = np.concatenate([before, after])
    visit = np.column_stack([np.ones(34), np.repeat([0.0, 1.0], 17)])
    order = np.argsort(np.tile(np.arange(17), 2), kind="stable")
    gee = sm.GEE(
        long[order], visit[order], groups=np.repeat(np.arange(17), 2),
        cov_struct=sm.cov_struct.Exchangeable(),
    ).fit()  # fmt: skip
    assert found.estimate[0] == pytest.approx(gee.params[1], rel=1e-9)
    assert found.error[0] == pytest.approx(gee.bse[1] * (17 / 16) ** 0.5, rel=1e-9)


def test_the_ratio_of_rates_has_the_error_of_a_poisson_regression_clustered_by_patient() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(9)
    t0, t1 = rng.uniform(0.5, 3, 40), rng.uniform(0.5, 6, 40)
    frailty = rng.gamma(1.5, 1 / 1.5, 40)
    e0, e1 = rng.poisson(0.8 * frailty * t0), rng.poisson(0.3 * frailty * t1)
    found = rate_ratios((e0, t0), (e1, t1))
    gee = sm.GEE(
        np.column_stack([e0, e1]).ravel(),
        np.column_stack([np.ones(80), np.tile([0.0, 1.0], 40)]),
        groups=np.repeat(np.arange(40), 2),
        offset=np.log(np.column_stack([t0, t1]).ravel()),
        family=sm.families.Poisson(),
        cov_struct=sm.cov_struct.Independence(),
    ).fit(ctol=1e-12)
    assert np.log(found.estimate[0]) == pytest.approx(gee.params[1], rel=1e-8)
    assert found.error[0] == pytest.approx(gee.bse[1] * (40 / 39) ** 0.5, rel=1e-8)
    assert found.low[0] < found.estimate[0] < found.high[0]
    assert LABEL in str(found)


def test_a_ratio_of_few_events_says_that_its_interval_may_be_too_narrow() -> None:
    years = np.full(9, 2.0)
    few, enough = np.array([1] * 3 + [0] * 6), np.array([1] * 6 + [0] * 3)
    found = rate_ratios((enough, years), (few, years))
    assert found.estimate[0] == pytest.approx(0.5)
    assert found.note[0] == FEW
    assert rate_ratios((enough, years), (enough[::-1], years)).note[0] is None


def patients(*rows: dict[str, Any]) -> pa.Table:
    key = {"site_id": "north", "drug": "a", "indication_type": "primary"}
    return pa.Table.from_pylist([key | row for row in rows])


def scans(n: int, **fields: Any) -> list[dict[str, Any]]:
    told = {"status": "compared", "z_before": -2.0, "z_after": -1.0, "is_adjusted": False}
    return [told | {"patient_key": str(number)} | fields for number in range(n)]


def test_too_few_patients_have_no_estimate_and_no_mean() -> None:
    table = density_rows(patients(*scans(4), *scans(1, drug="b")), "s", 5).to_pylist()
    whole, a, b, _ = table
    assert (whole["estimate"], whole["ci_low"], whole["note"]) == (1.0, None, NO_VARIANCE)
    for row, n in ((a, 4), (b, 1)):
        assert (row["stratum"], row["n_patients"]) == ("drug", n)
        assert {row[name] for name in ("estimate", "ci_low", "value_before", "value_after")} == {
            None
        }
        assert (row["note"] is not None, row["ci_method"]) == (True, "none")


def test_the_same_change_in_every_patient_has_no_limits() -> None:
    """One child broke a bone before and one after, nine did not: that is no certainty of 1."""
    told = {"days_before": 365, "days_after": 365, "n_before": 0, "n_after": 0}
    rows = patients({**told, "n_before": 1, "n_after": 1}, *[told] * 9)
    whole = fracture_rows(rows, "s", 5).to_pylist()[0]
    assert (whole["estimate"], whole["ci_low"], whole["ci_high"]) == (1.0, None, None)
    assert (whole["standard_error"], whole["ci_method"], whole["note"]) == (
        None, "none", NO_VARIANCE,
    )  # fmt: skip
    # Decimals that are the same change, but for what the computer loses of them.
    found = mean_changes([-2.1, -1.7, -0.3], [-2.0, -1.6, -0.2])
    assert str(found).startswith(f"0.1 (no limits: {NO_VARIANCE}), 3 patients")


def test_whoever_is_not_compared_is_counted_with_the_reason() -> None:
    told = [*scans(2, status="open"), *scans(3, status="no_before"), *scans(1, status="no_after")]
    whole = density_rows(patients(*told), "s", 2).to_pylist()[0]
    assert (whole["n_treated"], whole["n_patients"]) == (6, 0)
    assert [whole[f"n_{name}"] for name in ("open", "without_before", "without_after")] == [2, 3, 1]
    assert (whole["estimate"], whole["note"]) == (None, "no patient has a value before and after")


def test_without_fractures_on_a_side_there_are_rates_and_no_ratio() -> None:
    told = {"days_before": 1461, "days_after": 1461, "n_before": 1, "n_after": 0}
    whole = fracture_rows(patients(*[told] * 6), "s", 5).to_pylist()[0]
    assert (whole["value_before"], whole["value_after"], whole["estimate"]) == (0.25, 0.0, None)
    assert (whole["note"], whole["n_events_before"]) == ("no event after: no ratio", 6)
    assert whole["person_years_before"] == 24
    swapped = {"days_before": 9, "days_after": 9, "n_before": 0, "n_after": 0}
    never = fracture_rows(patients(*[swapped] * 6), "s", 5).to_pylist()[0]
    assert (never["estimate"], never["value_before"], never["value_after"]) == (None, None, None)
    assert never["note"] == "no event before or after: none, or none recorded"
