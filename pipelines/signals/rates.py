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
from pipelines.signals.intervals import CONFIDENCE, Floats, clopper_pearson, garwood

#: Censored units bring the time that they were followed: a rate needs nobody left out.
HEADLINE = "all"
NO_TIME = "no time at risk"

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
    if time <= 0 or other_time <= 0:
        return _undefined("no time at risk on one side")
    total = events + other_events
    if not total:
        return _undefined("no event on either side")
    scale = other_time / time
    low, high = (float(limit) for limit in clopper_pearson(events, total, confidence))
    p_value = stats.binomtest(events, total, time / (time + other_time)).pvalue
    wald: tuple[float | None, float | None] = (None, None)
    note = None
    if events and other_events:
        z = float(special.ndtri(1 - (1 - confidence) / 2))
        factor = math.exp(z * (1 / events + 1 / other_events) ** 0.5)
        ratio = events / other_events * scale
        wald = (ratio / factor, ratio * factor)
    else:
        note = "no event on one side: no normal approximation"
    return RateRatio(
        events / other_events * scale if other_events else float("inf"),
        low / (1 - low) * scale,
        high / (1 - high) * scale if high < 1 else None,
        *wald,
        float(p_value),
        note,
    )


def _undefined(note: str) -> RateRatio:
    return RateRatio(None, None, None, None, None, None, note)


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
