"""`signals.rate` against scipy, and what it leaves null."""

from __future__ import annotations

import pytest
from scipy import stats

from pipelines.signals.key import SignalKey
from pipelines.signals.rates import RATE_SCHEMA, rate_table
from tests.counts_kit import counts, row


def test_a_rate_and_its_limits_are_those_that_scipy_gives() -> None:
    (found,) = rate_table(counts(row(7, 90, days=250.5, denominator="all"))).to_pylist()
    assert found["events_per_1000_person_days"] == pytest.approx(7 / 250.5 * 1000, rel=1e-12)
    limits = (stats.chi2.ppf(0.025, 14) / 2, stats.chi2.ppf(0.975, 16) / 2)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx(
        [limit / 250.5 * 1000 for limit in limits], rel=1e-9
    )
    assert (found["is_headline"], found["note"]) == (True, None)
    assert found["signal_key"] == "s/fever/risk/all=all/all"


def test_no_events_are_a_rate_of_zero_and_no_time_or_unit_is_none() -> None:
    zero, no_time, empty = rate_table(
        counts(row(0, 9), row(1, 1, days=0), row(0, 0, days=0))
    ).to_pylist()
    assert (zero["events_per_1000_person_days"], zero["ci_low"], zero["note"]) == (0, 0, None)
    assert zero["ci_high"] == pytest.approx(3.6888794541 / 27 * 1000)
    assert [one["events_per_1000_person_days"] for one in (no_time, empty)] == [None, None]
    assert [one["note"] for one in (no_time, empty)] == ["no time at risk", "no units"]
    assert [one["ci_method"] for one in (no_time, empty)] == ["none", "none"]
    assert not zero["is_headline"]


def test_a_row_is_named_as_its_key_is_written() -> None:
    one = row(1, 9, stratum="drug x ordinal", stratum_value="a/b=c x first")
    (found,) = rate_table(counts(one)).to_pylist()
    assert found["signal_key"] == str(SignalKey.of(found))


def test_no_counts_give_no_rates() -> None:
    assert rate_table(counts()).schema == RATE_SCHEMA
    assert rate_table(counts()).num_rows == 0
