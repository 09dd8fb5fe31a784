"""The risk of an outcome after an infusion, with intervals that know that infusions cluster.

A child has many infusions, so units are no independent trials. The headline interval is that of
Korn and Graubard (1998, Survey Methodology 24:193-201): Clopper-Pearson on an effective number of
units, from the cluster variance over patients, with a t adjustment for few patients.

Everything is worked out for whole columns of counts: a night has tens of thousands of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pipelines.signals.columns import make_table, signal_keys, texts
from pipelines.signals.counts import KEY_COLUMNS, STATUS_COLUMNS
from pipelines.signals.intervals import (
    CONFIDENCE,
    Floats,
    clopper_pearson,
    interval_text,
    wilson,
)

#: The denominator of an outcome's headline risk: closed, eligible, at risk and not censored.
HEADLINE = "complete"

_DAY_US = 86_400_000_000
_NOT_TOLD = np.nan

#: Numbers of `Risks`, as columns of `signals.risk` call them.
_ESTIMATES = (
    "risk",
    "ci_low",
    "ci_high",
    "wilson_low",
    "wilson_high",
    "effective_n",
    "design_effect",
)


@dataclass(frozen=True)
class Risk:
    """A proportion of units with the event, and its 95 % intervals.

    Attributes:
        n_events: units with the event.
        n_units: units in the denominator.
        n_patients: patients with at least one of them.
        risk: n_events / n_units; None without units.
        low: lower limit of the headline interval.
        high: upper limit of the headline interval.
        wilson_low: lower limit as if units were independent.
        wilson_high: upper limit as if units were independent.
        effective_n: units that independent trials would need for the same precision.
        design_effect: cluster variance over binomial variance; None where it can't be told.
        method: which rule gave the headline interval.
        note: why something is null or was bounded.
    """

    n_events: int
    n_units: int
    n_patients: int
    risk: float | None
    low: float | None
    high: float | None
    wilson_low: float | None
    wilson_high: float | None
    effective_n: float | None
    design_effect: float | None
    method: str
    note: str | None

    def __str__(self) -> str:
        if self.risk is None:
            return "no units: no risk"
        interval = f"{self.low:.1%}-{self.high:.1%}" if self.low is not None else "no interval"
        return (
            f"{self.risk:.1%} ({interval}; {self.n_events} of {self.n_units} units in "
            f"{self.n_patients} patients; {self.method})"
        )


@dataclass(frozen=True)
class Risks:
    """Columns of estimates, one row a row of counts; nan where there is no number.

    The columns mean what the attributes of `Risk` do; `method` and `note` are texts, `note` may be
    None.
    """

    risk: Floats
    ci_low: Floats
    ci_high: Floats
    wilson_low: Floats
    wilson_high: Floats
    effective_n: Floats
    design_effect: Floats
    method: NDArray[np.object_]
    note: NDArray[np.object_]

    def __str__(self) -> str:
        told = zip(self.risk, self.ci_low, self.ci_high, self.note, strict=True)
        return "\n".join(interval_text(*one, form=".1%") for one in told)


def cluster_variance(
    n_events: ArrayLike,
    n_units: ArrayLike,
    n_patients: ArrayLike,
    sums: tuple[ArrayLike, ArrayLike, ArrayLike],
) -> Floats:
    """Return the linearised variance of n_events / n_units over patients, times G / (G - 1).

    Args:
        n_events: sum of events.
        n_units: sum of units.
        n_patients: G; nan for fewer than 2.
        sums: over patients: sum of e^2, of e*n and of n^2.
    """
    e, n, g, e2, en, n2 = (
        np.asarray(x, dtype=np.float64) for x in (n_events, n_units, n_patients, *sums)
    )
    p = e / n
    squares = e2 - 2 * p * en + p * p * n2
    return np.where(g < 2, _NOT_TOLD, np.maximum(0.0, squares) / n**2 * g / (g - 1))


def estimate_risks(
    n_events: ArrayLike,
    n_units: ArrayLike,
    n_patients: ArrayLike,
    sum_e2: ArrayLike,
    sum_en: ArrayLike,
    sum_n2: ArrayLike,
) -> Risks:
    """Estimate the risk per unit from columns of counts alone.

    Estimand: proportion of units with the event, over the units of the denominator. The effective
    n is at most the number of units, and at least what it takes for the interval to hold the
    estimate. Zero or all events leave nothing to estimate a variance from: Clopper-Pearson with
    n = patients.
    """
    e, n, g = (np.asarray(x, dtype=np.float64) for x in (n_events, n_units, n_patients))
    is_empty = n == 0
    is_flat = ~is_empty & ((e == 0) | (e == n))
    is_lone = ~is_empty & ~is_flat & (g == 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = e / n
        variance = cluster_variance(e, n, g, (sum_e2, sum_en, sum_n2))
        binomial = p * (1 - p) / n
        raw = np.where(variance > 0, n * binomial / variance, np.inf) * _t_ratio(n, g)
        design = variance / binomial
    effective = np.select([is_flat, is_lone], [g, np.ones_like(g)], np.minimum(n, raw))
    # As events of the effective n: none, all, or the share of it.
    events = np.where(is_flat, np.where(e == 0, 0.0, g), p * effective)
    low, high = clopper_pearson(events, effective)
    low, high = np.where(is_lone, 0.0, low), np.where(is_lone, 1.0, high)
    wilson_low, wilson_high = wilson(e, n)
    design[is_empty | is_flat | is_lone] = _NOT_TOLD

    def told(column: Floats) -> Floats:
        return np.where(is_empty, _NOT_TOLD, column)

    return Risks(
        risk=told(p),
        ci_low=told(np.minimum(low, p)),
        ci_high=told(np.maximum(high, p)),
        wilson_low=told(wilson_low),
        wilson_high=told(wilson_high),
        effective_n=told(effective),
        design_effect=design,
        method=np.select(
            [is_empty | is_lone, is_flat],
            [texts("none", e), texts("clopper-pearson, n = patients", e)],
            texts("korn-graubard", e),
        ),
        note=np.select(
            [is_empty, is_lone, ~is_flat & (raw > n)],
            [
                texts("no units", e),
                texts("one patient: no variance between patients; interval of one trial", e),
                texts("effective n bounded by the number of units", e),
            ],
            texts(None, e),
        ),
    )


def _t_ratio(n_units: Floats, n_patients: Floats) -> Floats:
    """Return (t_{N-1} / t_{G-1})^2, the adjustment of the effective n for few patients."""
    tail = 1 - (1 - CONFIDENCE) / 2
    wide = special.stdtrit(n_units - 1, tail)
    narrow = special.stdtrit(n_patients - 1, tail)
    return np.asarray((wide / narrow) ** 2, dtype=np.float64)


def estimate_risk(
    n_events: int, n_units: int, n_patients: int, sum_e2: int, sum_en: int, sum_n2: int
) -> Risk:
    """Estimate one risk; see `estimate_risks`."""
    found = estimate_risks(
        *([value] for value in (n_events, n_units, n_patients, sum_e2, sum_en, sum_n2))
    )

    def number(column: Floats) -> float | None:
        value = float(column[0])
        return None if np.isnan(value) else value

    return Risk(
        n_events,
        n_units,
        n_patients,
        number(found.risk),
        number(found.ci_low),
        number(found.ci_high),
        number(found.wilson_low),
        number(found.wilson_high),
        number(found.effective_n),
        number(found.design_effect),
        str(found.method[0]),
        found.note[0],
    )


RISK_SCHEMA = pa.schema(
    [(name, pa.string()) for name in KEY_COLUMNS]
    + [("is_headline", pa.bool_())]
    + [(name, pa.int64()) for name in ("n_units", "n_events", "n_patients")]
    + [(name, pa.float64()) for name in _ESTIMATES]
    + [("ci_method", pa.string()), ("note", pa.string())]
    + [(name, pa.int64()) for name in STATUS_COLUMNS]
    + [("person_days", pa.float64()), ("signal_key", pa.string())]
)


def risk_table(counts: pa.Table) -> pa.Table:
    """Return `signals.risk` (RISK_SCHEMA) of rows of `signals.counts`, in their order."""
    moments = ("n_events", "n_units", "n_patients", "sum_e2", "sum_en", "sum_n2")
    found = estimate_risks(*(counts[name].to_numpy() for name in moments))
    made = {
        "is_headline": np.equal(counts["denominator"].to_numpy(zero_copy_only=False), HEADLINE),
        **{name: getattr(found, name) for name in _ESTIMATES},
        "ci_method": found.method,
        "note": found.note,
        "person_days": counts["person_us"].to_numpy() / _DAY_US,
        "signal_key": signal_keys(counts),
    }
    return make_table(RISK_SCHEMA, made, counts)
