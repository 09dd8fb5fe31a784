"""Two risks or rates compared over strata: one ratio or difference that all strata share.

Sources: Mantel and Haenszel 1959, JNCI 22:719; Greenland and Robins 1985, Biometrics 41:55 (risk
ratio and difference, rate ratio). Where patients are in several strata or on both sides: variance
by linearisation over patients (sandwich), times G / (G - 1), as in `comparison`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pipelines.signals.columns import first_note
from pipelines.signals.comparison import (
    FLAT,
    NO_EVENT,
    NO_VARIANCE,
    ONE_PATIENT,
    UNBOUNDED,
    ZERO,
    Comparison,
    Group,
    Measures,
    Shared,
)
from pipelines.signals.intervals import Floats

_Z = float(special.ndtri(0.975))
#: A variance of logarithms below this is rounding: nothing but events on both sides.
_DUST = 1e-12


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
    if variance <= _DUST * top * bottom:
        return Comparison(name, value, None, None, NO_VARIANCE)
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
    if not spread:
        return Comparison(name, value, None, None, FLAT)
    half = _Z * spread**0.5 / weight
    return Comparison(name, value, max(-1.0, value - half), min(1.0, value + half))


Numbers = NDArray[np.intp]


@dataclass(frozen=True)
class Cells:
    """One side of one stratum a row, of many comparisons.

    Attributes:
        comparison: number of the comparison, from 0.
        stratum: number of the stratum, from 0, no two comparisons share one.
        is_other: whether it is the second side.
        sums: over the patients of the cell.
    """

    comparison: Numbers
    stratum: Numbers
    is_other: NDArray[np.bool_]
    sums: Group


@dataclass(frozen=True)
class CellPairs:
    """Patients in two cells of one comparison: numbers of both cells, and the sums over them."""

    cell: Numbers
    other: Numbers
    sums: Shared


NO_STRATUM = "no stratum with units on both sides"


def common_risk_ratios(cells: Cells, pairs: CellPairs, n_patients: Floats) -> Measures:
    """Return Mantel and Haenszel's common risk ratio of each comparison.

    Estimand: the ratio of proportions of units with the event that all strata share. With R the sum
    of a m / N and S that of c n / N (a of n units and c of m units have the event, N in all), it is
    R / S; each cell's part in a patient's influence on it is linear in the patient's events and
    units there, so the variance needs the moments of cells and of pairs of cells alone.

    Args:
        cells: every comparison has one at least.
        pairs: of cells that patients share.
        n_patients: G of each comparison.
    """
    n, e = np.asarray(cells.sums.n_units), np.asarray(cells.sums.n_events)
    n_strata = int(cells.stratum.max(initial=-1)) + 1

    def of_stratum(values: Floats, *, other: bool) -> Floats:
        here = np.where(cells.is_other == other, values, 0.0)
        found = np.bincount(cells.stratum, here, minlength=n_strata)[cells.stratum]
        return found.astype(np.float64)

    mine, theirs = of_stratum(n, other=False), of_stratum(n, other=True)
    # A stratum without any unit weighs nothing, and divides nothing.
    total = np.maximum(1.0, mine + theirs)
    opposite = np.where(cells.is_other, mine, theirs)

    def of_comparison(values: Floats, *, other: bool | None = None) -> Floats:
        here = values if other is None else np.where(cells.is_other == other, values, 0.0)
        found = np.bincount(cells.comparison, here, minlength=len(n_patients))
        return found.astype(np.float64)

    weighed = e * opposite / total
    top, bottom = of_comparison(weighed, other=False), of_comparison(weighed, other=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = top / bottom
        of_cell = ratio[cells.comparison]
        pooled = of_stratum(e, other=False) + of_cell * of_stratum(e, other=True)
        # What an event and what a unit of a cell add to the influence of its patient.
        by_event = np.where(cells.is_other, -of_cell, 1.0) * opposite / total
        by_unit = np.where(cells.is_other, 1.0, -1.0) * pooled * opposite / total**2
        own = of_comparison(_own_part(cells.sums, by_event, by_unit))
        both = _shared_part(pairs, by_event, by_unit)
        shared = np.bincount(cells.comparison[pairs.cell], both, minlength=len(n_patients))
        factor = np.where(n_patients < 2, np.nan, n_patients / (n_patients - 1))
        variance = factor * (own + 2 * shared) / top**2
    informed = of_comparison((opposite > 0).astype(np.float64)) > 0
    has_limits = informed & (top > 0) & (bottom > 0) & (variance > _DUST)
    spread = np.exp(_Z * np.sqrt(np.where(has_limits, variance, np.nan)))
    undefined = ~informed | (bottom == 0)
    return Measures(
        np.where(undefined, np.nan, ratio),
        np.where(has_limits, ratio / spread, np.nan),
        np.where(has_limits, ratio * spread, np.nan),
        first_note(
            ratio,
            (~informed, NO_STRATUM),
            ((top == 0) & (bottom == 0), NO_EVENT),
            (bottom == 0, UNBOUNDED),
            (top == 0, ZERO),
            (n_patients < 2, ONE_PATIENT),
            (~has_limits, NO_VARIANCE),
        ),
    )


def _own_part(sums: Group, by_event: Floats, by_unit: Floats) -> Floats:
    """Return the sum over a cell's patients of the squared influence there."""
    e2, en, n2 = (np.asarray(x, np.float64) for x in (sums.sum_e2, sums.sum_en, sums.sum_n2))
    return by_event**2 * e2 + 2 * by_event * by_unit * en + by_unit**2 * n2


def _shared_part(pairs: CellPairs, by_event: Floats, by_unit: Floats) -> Floats:
    """Return the sum over the patients of two cells of the product of their influences."""
    a, b, sums = pairs.cell, pairs.other, pairs.sums
    ee, en, ne, nn = (
        np.asarray(x, np.float64) for x in (sums.sum_ee, sums.sum_en, sums.sum_ne, sums.sum_nn)
    )
    in_events = by_event[a] * (by_event[b] * ee + by_unit[b] * en)
    return in_events + by_unit[a] * (by_event[b] * ne + by_unit[b] * nn)
