"""Two risks compared: infusions cluster in children, and a child can be in both groups.

From sums over patients alone: per group those of `signals.counts`, and where patients can be in
both (first v later infusions), the sums of products across groups. Then nothing is assumed of how a
child's infusions hang together.

Sources: linearised (sandwich) variance over patients as in Zeger and Liang 1986, Biometrics 42:121,
under working independence, times G / (G - 1). Over strata: `mantel_haenszel`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pipelines.signals.columns import first_note
from pipelines.signals.intervals import Floats, interval_text

_Z = float(special.ndtri(0.975))
#: Of a difference of equal variances this share is rounding, not variance.
_DUST = 1e-12

#: Below this on a side, limits that rest on large numbers are too narrow.
FEWEST_EVENTS = 5
FEW = f"fewer than {FEWEST_EVENTS} events on a side: the interval may be too narrow"


@dataclass(frozen=True)
class Group:
    """Sums over the patients of one group, numbers or columns: events e and units n of a patient.

    `n_patients` counts those with a unit in this group.
    """

    n_events: int | Floats
    n_units: int | Floats
    n_patients: int | Floats
    sum_e2: int | Floats
    sum_en: int | Floats
    sum_n2: int | Floats

    @property
    def risk(self) -> Floats:
        """Events over units; nan without units."""
        return np.divide(self.n_events, self.n_units, dtype=np.float64)

    def variance(self) -> Floats:
        """Return the sum over patients of (e - risk * n)^2, over the squared number of units."""
        p = self.risk
        spread = self.sum_e2 - 2 * p * self.sum_en + p * p * self.sum_n2
        # The same risk in every patient leaves dust, of which limits would be made.
        spread = np.where(spread <= _DUST * self.sum_e2, 0.0, spread)
        return np.divide(spread, np.square(self.n_units, dtype=np.float64))

    def column(self) -> Group:
        """Return the same as columns of one row."""
        return Group(*(np.atleast_1d(np.asarray(x, np.float64)) for x in vars(self).values()))


@dataclass(frozen=True)
class Shared:
    """Patients in both groups, and sums over them of e1*e2, e1*n2, n1*e2 and n1*n2."""

    n_patients: int | Floats = 0
    sum_ee: int | Floats = 0
    sum_en: int | Floats = 0
    sum_ne: int | Floats = 0
    sum_nn: int | Floats = 0

    def spread(self, p: Floats, q: Floats) -> Floats:
        """Return the sum over patients of (e1 - p * n1) * (e2 - q * n2)."""
        return self.sum_ee - q * self.sum_en - p * self.sum_ne + p * q * self.sum_nn

    def column(self) -> Shared:
        """Return the same as columns of one row."""
        return Shared(*(np.atleast_1d(np.asarray(x, np.float64)) for x in vars(self).values()))


@dataclass(frozen=True)
class Measures:
    """A measure of two risks, a row a comparison: value, 95 % limits (nan: none), and why not."""

    value: Floats
    low: Floats
    high: Floats
    note: NDArray[np.object_]

    def __str__(self) -> str:
        return "\n".join(map(interval_text, self.value, self.low, self.high, self.note))


@dataclass(frozen=True)
class Comparison:
    """A measure of two risks with its 95 % limits; all None where it is not defined."""

    measure: str
    value: float | None
    low: float | None
    high: float | None
    note: str | None = None

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.measure}: not defined ({self.note})"
        if self.low is None:
            return f"{self.measure} {self.value:.3g} (no interval: {self.note})"
        return f"{self.measure} {self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


_NOBODY = Shared()

NO_UNITS = "no units on one side"
NO_EVENT = "no event on either side"
ALL_EVENTS = "nothing but events on both sides"
UNBOUNDED = "unbounded: zero on one side"
ZERO = "zero on one side"
ONE_PATIENT = "one patient"
FLAT = "no variance: no events or nothing but events"
NO_VARIANCE = "no variance between patients"


def _variances(one: Group, other: Group, shared: Shared) -> tuple[Floats, Floats, Floats]:
    """Return the variances of both risks and their covariance; nan with fewer than 2 patients."""
    g = np.asarray(one.n_patients + other.n_patients - shared.n_patients, dtype=np.float64)
    factor = np.where(g < 2, np.nan, g / (g - 1))
    a, b = one.variance(), other.variance()
    together = shared.spread(one.risk, other.risk) / (one.n_units * other.n_units)
    # A side that does not vary does not vary with the other; again, dust.
    together = np.where((a == 0) | (b == 0), 0.0, together)
    return factor * a, factor * b, factor * together


def risk_differences(one: Group, other: Group, shared: Shared) -> Measures:
    """Return the difference of two risks, a column of comparisons at once.

    Estimand: proportion of units with the event in the one group less that in the other.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = one.risk - other.risk
        a, b, both = _variances(one, other, shared)
        variance = a + b - 2 * both
    empty = np.equal(one.n_units, 0) | np.equal(other.n_units, 0)
    flat = _is_flat(one) & _is_flat(other)
    none = ~empty & ~flat & np.less_equal(variance, _DUST * (a + b))
    half = np.where(empty | flat | none, np.nan, _Z * np.sqrt(np.maximum(0.0, variance)))
    return Measures(
        np.where(empty, np.nan, value),
        np.maximum(-1.0, value - half),
        np.minimum(1.0, value + half),
        first_note(
            value,
            (empty, NO_UNITS),
            (np.isnan(variance), ONE_PATIENT),
            (flat, FLAT),
            (none, NO_VARIANCE),
        ),
    )


def _is_flat(group: Group) -> NDArray[np.bool_]:
    return np.asarray((group.n_events == 0) | (group.n_events == group.n_units))


def risk_ratios(one: Group, other: Group, shared: Shared) -> Measures:
    """Return the ratio of two risks, a column of comparisons at once."""
    return _ratios(one, other, shared, odds=False)


def odds_ratios(one: Group, other: Group, shared: Shared) -> Measures:
    """Return the ratio of two odds, a column of comparisons at once."""
    return _ratios(one, other, shared, odds=True)


def _ratios(one: Group, other: Group, shared: Shared, *, odds: bool) -> Measures:
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = one.risk, other.risk
        value = p / q * ((1 - q) / (1 - p) if odds else 1.0)
        a, b, both = _variances(one, other, shared)
        # Derivatives of the logarithms: 1 / p of a risk, 1 / (p (1 - p)) of an odds.
        at_p, at_q = (1 / (r * (1 - r)) if odds else 1 / r for r in (p, q))
        parts = at_p**2 * a + at_q**2 * b
        variance = parts - 2 * at_p * at_q * both
    empty = np.equal(one.n_units, 0) | np.equal(other.n_units, 0)
    no_event, all_events = (p == 0) & (q == 0), (p == 1) & (q == 1)
    unbounded = (q == 0) | (p == 1) if odds else q == 0
    zero = (p == 0) | (q == 1) if odds else p == 0
    undefined = empty | no_event | unbounded | (all_events if odds else False)
    none = ~(undefined | zero | all_events) & np.less_equal(variance, _DUST * parts)
    has_limits = ~(undefined | zero | all_events | none)
    factor = np.exp(_Z * np.sqrt(np.where(has_limits, np.maximum(0.0, variance), np.nan)))
    return Measures(
        np.where(undefined, np.nan, np.where(zero, 0.0, value)),
        np.where(has_limits, value / factor, np.nan),
        np.where(has_limits, value * factor, np.nan),
        first_note(
            value,
            (empty, NO_UNITS),
            (no_event, NO_EVENT),
            (all_events, ALL_EVENTS),
            (unbounded, UNBOUNDED),
            (zero, ZERO),
            (np.isnan(variance), ONE_PATIENT),
            (none, NO_VARIANCE),
        ),
    )


def _told_of(name: str, found: Measures) -> Comparison:
    numbers = (float(column[0]) for column in (found.value, found.low, found.high))
    value, low, high = (None if math.isnan(number) else number for number in numbers)
    return Comparison(name, value, low, high, found.note[0])


def risk_difference(one: Group, other: Group, shared: Shared = _NOBODY) -> Comparison:
    """Return the difference of two risks."""
    found = risk_differences(one.column(), other.column(), shared.column())
    return _told_of("risk difference", found)


def risk_ratio(one: Group, other: Group, shared: Shared = _NOBODY) -> Comparison:
    """Return the ratio of two risks; null where both groups have no event."""
    return _told_of("risk ratio", risk_ratios(one.column(), other.column(), shared.column()))


def odds_ratio(one: Group, other: Group, shared: Shared = _NOBODY) -> Comparison:
    """Return the ratio of two odds; null where both groups have no event, or nothing else."""
    return _told_of("odds ratio", odds_ratios(one.column(), other.column(), shared.column()))
