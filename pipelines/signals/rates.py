"""Events per time at risk, and two rates compared, without any large-sample formula.

Sources: Garwood 1936, Biometrika 28:437 (the interval of a Poisson mean); Przyborowski and Wilenski
1940, Biometrika 31:313 (two rates, given their sum); Glanz et al. 2006, J Clin
Epidemiol 59:808 (self-controlled risk interval).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from pipelines.signals.columns import first_note, make_table, numbers, signal_keys, texts
from pipelines.signals.counts import KEY_COLUMNS
from pipelines.signals.intervals import (
    CONFIDENCE,
    Floats,
    clopper_pearson,
    garwood,
    interval_text,
)

#: Censored units bring the time that they were followed: a rate needs nobody left out.
HEADLINE = "all"
NO_TIME = "no time at risk"
NO_TIME_ON_A_SIDE = "no time at risk on one side"
NO_EVENT = "no event on either side"
ONE_SIDE = "no event on one side: no normal approximation"

_DAYS = 1000.0
_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Rate:
    """Events per 1,000 person-days with Garwood's 95 % interval; None without time at risk."""

    n_events: int
    person_days: float
    rate: float | None
    low: float | None
    high: float | None
    note: str | None = None

    def __str__(self) -> str:
        if self.rate is None:
            return f"no rate: {self.note}"
        return (
            f"{self.rate:.3g} per 1,000 person-days ({self.low:.3g}-{self.high:.3g}; "
            f"{self.n_events} in {self.person_days:,.0f} d)"
        )


@dataclass(frozen=True)
class RateRatio:
    """One rate over another with exact and Wald's 95 % limits and the exact two-sided p.

    Attributes:
        ratio: the first rate over the second; None where both have no event or time is lacking.
        low, high: exact limits, given the sum of events; `high` is None where it is unbounded.
        wald_low, wald_high: limits by the normal approximation; None where a count is zero.
        p_value: chance, under equal rates, of a split that is no likelier than this one.
        note: why something is missing.
    """

    ratio: float | None
    low: float | None
    high: float | None
    wald_low: float | None
    wald_high: float | None
    p_value: float | None
    note: str | None = None

    def __str__(self) -> str:
        if self.ratio is None:
            return f"no ratio: {self.note}"
        high = "no upper limit" if self.high is None else f"{self.high:.3g}"
        return f"{self.ratio:.3g} ({self.low:.3g}-{high}; exact p = {self.p_value:.2g})"


@dataclass(frozen=True)
class Rates:
    """Columns of rates per 1,000 person-days; nan where there is none, and `note` says why."""

    rate: Floats
    low: Floats
    high: Floats
    note: NDArray[np.object_]

    def __str__(self) -> str:
        told = zip(self.rate, self.low, self.high, self.note, strict=True)
        unit = " per 1,000 person-days"
        return "\n".join(interval_text(*one, unit=unit) for one in told)


def estimate_rates(n_events: ArrayLike, person_days: ArrayLike) -> Rates:
    """Estimate rates of events over time at risk, for whole columns; see `estimate_rate`."""
    e, days = (np.asarray(x, dtype=np.float64) for x in (n_events, person_days))
    has_time = days > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        rate, low, high = (np.where(has_time, x * _DAYS / days, np.nan) for x in (e, *garwood(e)))
    return Rates(rate, low, high, first_note(e, (~has_time, NO_TIME)))


def estimate_rate(n_events: int, person_days: float) -> Rate:
    """Estimate the rate of events over time at risk.

    Estimand: events per 1,000 person-days of the units in the denominator, with Garwood's interval;
    events of one patient are taken as independent.
    """
    found = estimate_rates([n_events], [person_days])
    if found.note[0]:
        return Rate(n_events, person_days, None, None, None, found.note[0])
    rate, low, high = (float(x[0]) for x in (found.rate, found.low, found.high))
    return Rate(n_events, person_days, rate, low, high)


@dataclass(frozen=True)
class RateRatios:
    """Columns of ratios of two rates with 95 % limits; nan where there is none, `note` says why.

    Where the second rate is zero there is no ratio and no upper limit, but a lower one.
    """

    ratio: Floats
    low: Floats
    high: Floats
    wald_low: Floats
    wald_high: Floats
    note: NDArray[np.object_]

    def __str__(self) -> str:
        return "\n".join(map(interval_text, self.ratio, self.low, self.high, self.note))


def rate_ratios(
    events: ArrayLike,
    time: ArrayLike,
    other_events: ArrayLike,
    other_time: ArrayLike,
    confidence: float = CONFIDENCE,
) -> RateRatios:
    """Compare two rates, given the sum of their events, for whole columns; see `compare_rates`."""
    e, t, other_e, other_t = (
        np.asarray(x, dtype=np.float64) for x in (events, time, other_events, other_time)
    )
    is_told = (t > 0) & (other_t > 0) & (e + other_e > 0)
    z = float(special.ndtri(1 - (1 - confidence) / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(is_told, other_t / t, np.nan)
        low, high = (x / (1 - x) * scale for x in clopper_pearson(e, e + other_e, confidence))
        ratio = np.where(other_e > 0, e / other_e * scale, np.nan)
        factor = np.where((e > 0) & (other_e > 0), np.exp(z * (1 / e + 1 / other_e) ** 0.5), np.nan)
    return RateRatios(
        ratio,
        low,
        np.where(other_e > 0, high, np.nan),
        ratio / factor,
        ratio * factor,
        first_note(
            scale,
            ((t <= 0) | (other_t <= 0), NO_TIME_ON_A_SIDE),
            (e + other_e == 0, NO_EVENT),
            ((e == 0) | (other_e == 0), ONE_SIDE),
        ),
    )


def compare_rates(
    events: int, time: float, other_events: int, other_time: float, confidence: float = CONFIDENCE
) -> RateRatio:
    """Compare two rates, given the sum of their events; also a self-controlled risk interval.

    For a self-controlled risk interval the counts are those of the risk and of the control windows
    of the same patients, and the times the lengths of both windows.

    Args:
        events: events of the first rate, over `time`.
        time: any unit, the same in both.
        other_events: events of the second rate, over `other_time`.
        other_time: as `time`.
        confidence: of the limits.
    """
    found = rate_ratios([events], [time], [other_events], [other_time], confidence)
    ratio, low, high, wald_low, wald_high = (
        None if np.isnan(column[0]) else float(column[0])
        for column in (found.ratio, found.low, found.high, found.wald_low, found.wald_high)
    )
    note = found.note[0]
    if low is None:
        return RateRatio(None, None, None, None, None, None, note)
    p_value = stats.binomtest(events, events + other_events, time / (time + other_time)).pvalue
    ratio = math.inf if ratio is None else ratio
    return RateRatio(ratio, low, high, wald_low, wald_high, float(p_value), note)


RATE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in KEY_COLUMNS]
    + [("is_headline", pa.bool_())]
    + [(name, pa.int64()) for name in ("n_units", "n_first_events", "n_patients")]
    + [
        (name, pa.float64())
        for name in ("person_days", "events_per_1000_person_days", "ci_low", "ci_high")
    ]
    + [("ci_method", pa.string()), ("note", pa.string()), ("signal_key", pa.string())]
)


def rate_table(counts: pa.Table) -> pa.Table:
    """Return `signals.rate` (RATE_SCHEMA) of rows of `signals.counts`, in their order.

    Estimand: first events of a unit in its window per 1,000 person-days at risk up to that event,
    over the units of the denominator. Clustered limits would need sums over patients of squared
    time, which the counts do not hold: Garwood's are too narrow where few children have most
    events.
    """
    units, events, time_us = numbers(counts, "n_units", "n_events", "person_us")
    person_days = time_us / _DAY_US
    found = estimate_rates(events, person_days)
    method = "garwood, events taken as independent"
    made = {
        "is_headline": np.equal(counts["denominator"].to_numpy(zero_copy_only=False), HEADLINE),
        "n_first_events": counts["n_events"].to_numpy(),
        "person_days": person_days,
        "events_per_1000_person_days": found.rate,
        "ci_low": found.low,
        "ci_high": found.high,
        "ci_method": np.where(np.isnan(found.rate), "none", texts(method, events)),
        "note": np.where(units == 0, "no units", found.note),
        "signal_key": signal_keys(counts),
    }
    return make_table(RATE_SCHEMA, made, counts)
