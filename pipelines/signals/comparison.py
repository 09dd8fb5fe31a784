"""Two risks compared: infusions cluster in children, and a child can be in both groups.

From sums over patients alone: per group those of `signals.counts`, and where patients can be in
both (first v later infusions), the sums of products across groups. Then nothing is assumed of how a
child's infusions hang together.

Sources: linearised (sandwich) variance over patients as in Zeger and Liang 1986, Biometrics 42:121,
under working independence, times G / (G - 1); Mantel and Haenszel 1959, JNCI 22:719; Greenland and
Robins 1985, Biometrics 41:55 (risk ratio and difference, rate ratio over strata); Robins, Breslow
and Greenland 1986, Biometrics 42:311 (odds ratio).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

_Z = float(special.ndtri(0.975))


@dataclass(frozen=True)
class Group:
    """Sums over the patients of one group: events e and units n of a patient.

    `n_patients` counts those with a unit in this group.
    """

    n_events: int
    n_units: int
    n_patients: int
    sum_e2: int
    sum_en: int
    sum_n2: int

    @property
    def risk(self) -> float:
        """Events over units."""
        return self.n_events / self.n_units

    def spread(self) -> float:
        """Return the sum over patients of (e - risk * n)^2."""
        p = self.risk
        return max(0.0, self.sum_e2 - 2 * p * self.sum_en + p * p * self.sum_n2)


@dataclass(frozen=True)
class Shared:
    """Patients in both groups, and sums over them of e1*e2, e1*n2, n1*e2 and n1*n2."""

    n_patients: int = 0
    sum_ee: int = 0
    sum_en: int = 0
    sum_ne: int = 0
    sum_nn: int = 0

    def spread(self, p: float, q: float) -> float:
        """Return the sum over patients of (e1 - p * n1) * (e2 - q * n2)."""
        return self.sum_ee - q * self.sum_en - p * self.sum_ne + p * q * self.sum_nn


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


def _variances(one: Group, other: Group, shared: Shared) -> tuple[float, float, float] | None:
    """Return the variances of both risks and their covariance; None with fewer than 2 patients."""
    patients = one.n_patients + other.n_patients - shared.n_patients
    if patients < 2:
        return None
    factor = patients / (patients - 1)
    return (
        factor * one.spread() / one.n_units**2,
        factor * other.spread() / other.n_units**2,
        factor * shared.spread(one.risk, other.risk) / (one.n_units * other.n_units),
    )


def risk_difference(one: Group, other: Group, shared: Shared = _NOBODY) -> Comparison:
    """Return the difference of two risks."""
    name = "risk difference"
    if not one.n_units or not other.n_units:
        return Comparison(name, None, None, None, "no units on one side")
    value = one.risk - other.risk
    found = _variances(one, other, shared)
    if found is None:
        return Comparison(name, value, None, None, "one patient")
    if not (0 < one.n_events < one.n_units or 0 < other.n_events < other.n_units):
        return Comparison(name, value, None, None, "no variance: no events or nothing but events")
    half = _Z * max(0.0, found[0] + found[1] - 2 * found[2]) ** 0.5
    return Comparison(name, value, max(-1.0, value - half), min(1.0, value + half))


def risk_ratio(one: Group, other: Group, shared: Shared = _NOBODY) -> Comparison:
    """Return the ratio of two risks; null where both groups have no event."""
    return _ratio("risk ratio", one, other, shared, odds=False)


def odds_ratio(one: Group, other: Group, shared: Shared = _NOBODY) -> Comparison:
    """Return the ratio of two odds; null where both groups have no event, or nothing else."""
    return _ratio("odds ratio", one, other, shared, odds=True)


def _ratio(name: str, one: Group, other: Group, shared: Shared, *, odds: bool) -> Comparison:
    if not one.n_units or not other.n_units:
        return Comparison(name, None, None, None, "no units on one side")
    if not one.n_events and not other.n_events:
        return Comparison(name, None, None, None, "no event on either side")
    p, q = one.risk, other.risk
    if odds and p == q == 1:
        return Comparison(name, None, None, None, "nothing but events on both sides")
    if q == 0 or (odds and p == 1):
        return Comparison(name, None, None, None, "unbounded: zero on one side")
    if p == 0 or (odds and q == 1):
        return Comparison(name, 0.0, None, None, "zero on one side")
    found = _variances(one, other, shared)
    value = p / q * ((1 - q) / (1 - p) if odds else 1.0)
    if found is None:
        return Comparison(name, value, None, None, "one patient")
    # Derivatives of the logarithms: 1 / p of a risk, 1 / (p (1 - p)) of an odds.
    at_p, at_q = (1 / (r * (1 - r)) if odds else 1 / r for r in (p, q))
    variance = at_p**2 * found[0] + at_q**2 * found[1] - 2 * at_p * at_q * found[2]
    factor = math.exp(_Z * max(0.0, variance) ** 0.5)
    return Comparison(name, value, value / factor, value * factor)


@dataclass(frozen=True)
class Stratum:
    """Events and units (or time) of both groups in one stratum: a site, a type, a setting."""

    events: int
    units: float
    other_events: int
    other_units: float

    @property
    def total(self) -> float:
        """Units, or time, of both."""
        return self.units + self.other_units


def _told(strata: Sequence[Stratum]) -> list[Stratum]:
    return [one for one in strata if one.units > 0 and one.other_units > 0]


def mantel_haenszel_risk_ratio(strata: Sequence[Stratum]) -> Comparison:
    """Return the common risk ratio over strata of independent units."""
    told = _told(strata)
    top = sum(one.events * one.other_units / one.total for one in told)
    bottom = sum(one.other_events * one.units / one.total for one in told)
    variance = sum(
        (
            one.units * one.other_units * (one.events + one.other_events)
            - one.events * one.other_events * one.total
        )
        / one.total**2
        for one in told
    )
    return _common("common risk ratio", top, bottom, variance)


def mantel_haenszel_rate_ratio(strata: Sequence[Stratum]) -> Comparison:
    """Return the common rate ratio over strata; the units of a stratum are its time at risk."""
    told = _told(strata)
    top = sum(one.events * one.other_units / one.total for one in told)
    bottom = sum(one.other_events * one.units / one.total for one in told)
    variance = sum(
        (one.events + one.other_events) * one.units * one.other_units / one.total**2 for one in told
    )
    return _common("common rate ratio", top, bottom, variance)


def _common(name: str, top: float, bottom: float, variance: float) -> Comparison:
    if not top or not bottom:
        why = "no event on either side" if not top and not bottom else "no event on one side"
        return Comparison(name, None if not bottom else 0.0, None, None, why)
    value = top / bottom
    factor = math.exp(_Z * (variance / (top * bottom)) ** 0.5)
    return Comparison(name, value, value / factor, value * factor)


def mantel_haenszel_risk_difference(strata: Sequence[Stratum]) -> Comparison:
    """Return the common risk difference over strata of independent units."""
    name = "common risk difference"
    told = _told(strata)
    weight = sum(one.units * one.other_units / one.total for one in told)
    if not weight:
        return Comparison(name, None, None, None, "no stratum with units on both sides")
    value = (
        sum(
            (one.events * one.other_units - one.other_events * one.units) / one.total
            for one in told
        )
        / weight
    )
    spread = sum(
        one.events * (one.units - one.events) * one.other_units**3 / (one.units * one.total**2)
        + one.other_events
        * (one.other_units - one.other_events)
        * one.units**3
        / (one.other_units * one.total**2)
        for one in told
    )
    half = _Z * spread**0.5 / weight
    return Comparison(name, value, value - half, value + half)
