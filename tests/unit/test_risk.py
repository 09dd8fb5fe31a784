"""The risk and its intervals, against published values and against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.proportion import proportion_confint

from pipelines.signals.counts import MOMENT_COLUMNS, STATUS_COLUMNS, merge_counts
from pipelines.signals.intervals import clopper_pearson, wilson
from pipelines.signals.key import SignalKey
from pipelines.signals.risk import Risk, cluster_variance, estimate_risk

PatientCounts = list[tuple[int, int]]


def risk_of(patients: PatientCounts) -> Risk:
    """The estimate from (events, units) of each patient."""
    return estimate_risk(
        sum(e for e, _ in patients),
        sum(n for _, n in patients),
        len(patients),
        sum(e * e for e, _ in patients),
        sum(e * n for e, n in patients),
        sum(n * n for _, n in patients),
    )


#: Reference intervals of independent trials, 10 digits (R's binom package).
@pytest.mark.parametrize(
    ("events", "units", "low", "high"),
    [(4, 20, 0.0806576626, 0.4160174322), (4, 200, 0.0078044264, 0.0502870869)],
)
def test_wilson_equals_the_reference(events: int, units: int, low: float, high: float) -> None:
    # One unit of the last digit: 0.41601743225... is printed cut off, not rounded. The test below
    # compares with statsmodels to 1e-12.
    assert wilson(events, units) == pytest.approx((low, high), abs=1e-10)


@pytest.mark.parametrize(
    ("events", "units", "low", "high"),
    [
        (4, 20, 0.0573339971, 0.4366140030),
        (4, 200, 0.0054755659, 0.0504136091),
        (0, 30, 0.0, 0.11570331),
    ],
)
def test_clopper_pearson_equals_the_reference(
    events: int, units: int, low: float, high: float
) -> None:
    assert clopper_pearson(events, units) == pytest.approx((low, high), abs=5e-9)


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 60))
def test_both_intervals_equal_statsmodels(events: int, extra: int) -> None:
    units = events + extra
    assert wilson(events, units) == pytest.approx(
        proportion_confint(events, units, method="wilson"), abs=1e-12
    )
    assert clopper_pearson(events, units) == pytest.approx(
        proportion_confint(events, units, method="beta"), abs=1e-12
    )


patients = st.lists(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    min_size=1,
    max_size=40,
)


@settings(deadline=None)
@given(patients.filter(lambda p: len(p) > 1 and sum(n for _, n in p) > 2))
def test_cluster_variance_equals_the_sandwich_of_an_intercept_model(counts: PatientCounts) -> None:
    events = np.concatenate([[1.0] * e + [0.0] * (n - e) for e, n in counts])
    groups = np.concatenate([[i] * n for i, (_, n) in enumerate(counts)])
    fit = OLS(events, np.ones_like(events)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    found = cluster_variance(
        sum(e for e, _ in counts),
        sum(n for _, n in counts),
        len(counts),
        (
            sum(e * e for e, _ in counts),
            sum(e * n for e, n in counts),
            sum(n * n for _, n in counts),
        ),
    )
    assert found == pytest.approx(fit.cov_params()[0, 0], abs=1e-12)


@settings(deadline=None)
@given(patients)
def test_every_interval_contains_its_estimate(counts: PatientCounts) -> None:
    found = risk_of(counts)
    assert found.risk is not None
    assert found.low is not None
    assert found.high is not None
    assert found.wilson_low is not None
    assert found.wilson_high is not None
    assert 0 <= found.low <= found.risk <= found.high <= 1
    assert found.wilson_low <= found.risk <= found.wilson_high
    assert found.effective_n is not None
    assert found.effective_n <= max(found.n_units, found.n_patients)


@settings(deadline=None)
@given(patients, st.integers(1, 5))
def test_counts_of_buckets_add_up_to_the_counts_of_all(counts: PatientCounts, size: int) -> None:
    width = len(MOMENT_COLUMNS) + len(STATUS_COLUMNS)
    rows = [tuple((e + n + column) % 7 for column in range(width)) for e, n in counts]
    merged = [merge_counts(rows[i : i + size]) for i in range(0, len(rows), size)]
    assert merge_counts(merged) == tuple(sum(column) for column in zip(*rows, strict=True))


def test_no_units_give_no_risk_rather_than_zero() -> None:
    found = estimate_risk(0, 0, 0, 0, 0, 0)
    assert (found.risk, found.low, found.high, found.note) == (None, None, None, "no units")
    assert str(found) == "no units: no risk"


def test_zero_events_count_children_not_infusions() -> None:
    found = risk_of([(0, 8)] * 30)
    assert (found.low, found.high) == pytest.approx((0.0, 0.11570331), abs=5e-9)
    assert found.method == "clopper-pearson, n = patients"


def test_one_patient_tells_nothing_about_others() -> None:
    found = risk_of([(2, 8)])
    assert (found.low, found.high) == (0.0, 1.0)


def test_events_that_cluster_in_children_widen_the_interval() -> None:
    spread = risk_of([(1, 4)] * 20 + [(0, 4)] * 20)
    clustered = risk_of([(4, 4)] * 5 + [(0, 4)] * 35)
    assert spread.risk == clustered.risk
    assert spread.high is not None
    assert clustered.high is not None
    assert clustered.high - (clustered.low or 0) > spread.high - (spread.low or 0)
    # Everything of a child alike: the design effect is the cluster size times G / (G - 1).
    assert clustered.design_effect == pytest.approx(4 * 40 / 39)


def test_a_risk_reads_as_a_sentence() -> None:
    assert str(risk_of([(1, 4)] * 20 + [(0, 4)] * 20)).startswith("12.5% (")


@pytest.mark.parametrize("value", ["all", "a/b=c", "pamidronate x first", "", "x/all"])
def test_a_signals_key_reads_as_it_was_written(value: str) -> None:
    key = SignalKey("study", "fever", "risk", "drug", value, "complete")
    assert SignalKey.parse(str(key)) == key


@pytest.mark.parametrize(
    "text", ["", "study/fever/risk", "study/fever/risk/drug/complete", "a/b/c/d=e"]
)
def test_a_text_that_is_no_signals_key_is_none(text: str) -> None:
    assert SignalKey.parse(text) is None
