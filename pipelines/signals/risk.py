"""The risk of an outcome after an infusion, with intervals that know that infusions cluster.

A child has many infusions, so units are no independent trials. The headline interval is that of
Korn and Graubard (1998, Survey Methodology 24:193-201): Clopper-Pearson on an effective number of
units, from the cluster variance over patients, with a t adjustment for few patients.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from scipy import special

from pipelines.signals.counts import KEY_COLUMNS, STATUS_COLUMNS
from pipelines.signals.key import SignalKey

CONFIDENCE = 0.95
#: The denominator of an outcome's headline risk: closed, eligible, at risk and not censored.
HEADLINE = "complete"

_DAY_US = 86_400_000_000


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


def clopper_pearson(
    events: float, units: float, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the exact binomial interval; events and units may be fractional (effective counts).

    Source: Clopper and Pearson 1934, Biometrika 26:404, in its beta form.
    """
    tail = (1 - confidence) / 2
    low = 0.0 if events <= 0 else float(special.betaincinv(events, units - events + 1, tail))
    high = (
        1.0 if events >= units else float(special.betaincinv(events + 1, units - events, 1 - tail))
    )
    return low, high


def wilson(events: int, units: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the score interval of independent units (Wilson 1927, JASA 22:209)."""
    z = float(special.ndtri(1 - (1 - confidence) / 2))
    p = events / units
    centre = (p + z * z / (2 * units)) / (1 + z * z / units)
    half = z / (1 + z * z / units) * (p * (1 - p) / units + z * z / (4 * units**2)) ** 0.5
    # At 0 and at all events the limit is exactly 0 or 1; the arithmetic leaves dust.
    low = 0.0 if events == 0 else max(0.0, centre - half)
    return low, 1.0 if events == units else min(1.0, centre + half)


def cluster_variance(
    n_events: int, n_units: int, n_patients: int, sums: tuple[int, int, int]
) -> float:
    """Return the linearised variance of n_events / n_units over patients, times G / (G - 1).

    Args:
        n_events: sum of events.
        n_units: sum of units.
        n_patients: G, at least 2.
        sums: over patients: sum of e^2, of e*n and of n^2.
    """
    p = n_events / n_units
    e2, en, n2 = sums
    squares = e2 - 2 * p * en + p * p * n2
    return max(0.0, squares) / n_units**2 * n_patients / (n_patients - 1)


def estimate_risk(
    n_events: int, n_units: int, n_patients: int, sum_e2: int, sum_en: int, sum_n2: int
) -> Risk:
    """Estimate the risk per unit from counts alone.

    Estimand: proportion of units with the event, over the units of the denominator. The effective
    n is at most the number of units, and at least what it takes for the interval to hold the
    estimate. Zero or all events leave nothing to estimate a variance from: Clopper-Pearson with
    n = patients.
    """
    if n_units == 0:
        return Risk(0, 0, 0, None, None, None, None, None, None, None, "none", "no units")
    p = n_events / n_units
    wilson_low, wilson_high = wilson(n_events, n_units)

    def result(
        interval: tuple[float, float],
        effective: float,
        design: float | None,
        method: str,
        note: str | None = None,
    ) -> Risk:
        low, high = min(interval[0], p), max(interval[1], p)
        return Risk(
            n_events, n_units, n_patients, p, low, high, wilson_low, wilson_high,
            effective, design, method, note,
        )  # fmt: skip

    if n_events in {0, n_units}:
        events = 0 if n_events == 0 else n_patients
        interval = clopper_pearson(events, n_patients)
        return result(interval, n_patients, None, "clopper-pearson, n = patients")
    if n_patients == 1:
        lone = "one patient: no variance between patients; interval of one trial"
        return result((0.0, 1.0), 1.0, None, "none", lone)
    variance = cluster_variance(n_events, n_units, n_patients, (sum_e2, sum_en, sum_n2))
    binomial = p * (1 - p) / n_units
    adjust = _t_ratio(n_units, n_patients)
    raw = n_units * binomial / variance if variance > 0 else float("inf")
    effective = min(float(n_units), raw * adjust)
    note = "effective n bounded by the number of units" if raw * adjust > n_units else None
    interval = clopper_pearson(p * effective, effective)
    return result(interval, effective, variance / binomial, "korn-graubard", note)


def _t_ratio(n_units: int, n_patients: int) -> float:
    """Return (t_{N-1} / t_{G-1})^2, the adjustment of the effective n for few patients."""
    tail = 1 - (1 - CONFIDENCE) / 2
    wide = float(special.stdtrit(n_units - 1, tail))
    narrow = float(special.stdtrit(n_patients - 1, tail))
    return (wide / narrow) ** 2


RISK_SCHEMA = pa.schema(
    [(name, pa.string()) for name in KEY_COLUMNS]
    + [("is_headline", pa.bool_())]
    + [(name, pa.int64()) for name in ("n_units", "n_events", "n_patients")]
    + [
        (name, pa.float64())
        for name in (
            "risk",
            "ci_low",
            "ci_high",
            "wilson_low",
            "wilson_high",
            "effective_n",
            "design_effect",
        )
    ]
    + [("ci_method", pa.string()), ("note", pa.string())]
    + [(name, pa.int64()) for name in STATUS_COLUMNS]
    + [("person_days", pa.float64()), ("signal_key", pa.string())]
)


def risk_rows(counts: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Turn rows of `signals.counts` into rows of `signals.risk` (RISK_SCHEMA's order)."""
    for row in counts:
        found = estimate_risk(
            row["n_events"],
            row["n_units"],
            row["n_patients"],
            row["sum_e2"],
            row["sum_en"],
            row["sum_n2"],
        )
        yield (
            *(row[name] for name in KEY_COLUMNS),
            row["denominator"] == HEADLINE,
            found.n_units,
            found.n_events,
            found.n_patients,
            found.risk,
            found.low,
            found.high,
            found.wilson_low,
            found.wilson_high,
            found.effective_n,
            found.design_effect,
            found.method,
            found.note,
            *(row[name] for name in STATUS_COLUMNS),
            row["person_us"] / _DAY_US,
            str(SignalKey.of(row)),
        )
