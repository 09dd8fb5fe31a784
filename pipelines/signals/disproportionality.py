"""Is an event told more often of one drug than of the others? Screening of reports.

A report is a unit of analysis; the four numbers of a pair are units with and without the event,
of the drug and of its comparators. Nothing here is a risk: it is labelled "screening only".

Sources: Evans et al. 2001, Pharmacoepidemiol Drug Saf 10:483 (PRR); van Puijenbroek et al. 2002,
ibid. 11:3 (ROR); Noren et al. 2013, Stat Methods Med Res 22:57 (information component in its gamma
form).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pipelines.signals.empirical_bayes import Prior, shrunk_ratios
from pipelines.signals.intervals import Floats

_Z = float(special.ndtri(0.975))

#: A column of ratios with its lower and its upper limits; nan where there is none.
Ratios = tuple[Floats, Floats, Floats]


@dataclass(frozen=True)
class Ratio:
    """A ratio, or its log2, with an interval: 95 %, of `ebgm` 90 %; None where not defined."""

    value: float | None
    low: float | None
    high: float | None
    note: str | None = None

    def __str__(self) -> str:
        if self.value is None:
            return f"not defined: {self.note}"
        return f"{self.value:.3g} ({self.low:.3g}-{self.high:.3g})"


@dataclass(frozen=True)
class Table:
    """Units with and without the event, of the drug (a, b) and of its comparators (c, d)."""

    a: int
    b: int
    c: int
    d: int

    @property
    def cells(self) -> tuple[int, int, int, int]:
        """The four numbers."""
        return self.a, self.b, self.c, self.d

    @property
    def total(self) -> int:
        """All units."""
        return self.a + self.b + self.c + self.d

    @property
    def expected(self) -> float:
        """Units of the drug with the event, were drug and event independent."""
        return (self.a + self.b) * (self.a + self.c) / self.total


def _floats(*columns: ArrayLike) -> tuple[Floats, ...]:
    return tuple(np.asarray(column, dtype=np.float64) for column in columns)


def _log_ratios(estimate: Floats, variance: Floats, is_told: NDArray[np.bool_]) -> Ratios:
    factor = np.exp(_Z * np.sqrt(np.maximum(0.0, variance)))
    columns = (estimate, estimate / factor, estimate * factor)
    told = tuple(np.where(is_told, column, np.nan) for column in columns)
    return told[0], told[1], told[2]


def reporting_ratios(a: ArrayLike, b: ArrayLike, c: ArrayLike, d: ArrayLike) -> Ratios:
    """Return the PRR of columns of tables; nan without an event on either side, or none without.

    Nothing but events leave no variance: the limits would be the ratio itself.
    """
    a, b, c, d = _floats(a, b, c, d)
    with np.errstate(divide="ignore", invalid="ignore"):
        drug, others = a + b, c + d
        variance = 1 / a - 1 / drug + 1 / c - 1 / others
        is_told = (a > 0) & (c > 0) & (b + d > 0)
        return _log_ratios((a / drug) / (c / others), variance, is_told)


def reporting_odds_ratios(a: ArrayLike, b: ArrayLike, c: ArrayLike, d: ArrayLike) -> Ratios:
    """Return the ROR of columns of tables; nan where a cell is empty."""
    a, b, c, d = _floats(a, b, c, d)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = 1 / a + 1 / b + 1 / c + 1 / d
        is_told = np.minimum.reduce([a, b, c, d]) > 0
        return _log_ratios(a * d / (b * c), variance, is_told)


def chi_squares(a: ArrayLike, b: ArrayLike, c: ArrayLike, d: ArrayLike, *, yates: bool) -> Floats:
    """Return the chi-square of independence of columns of tables; nan where a margin is empty.

    Pearson's, or with the correction of Yates 1934, J R Stat Soc Suppl 1:217.
    """
    a, b, c, d = _floats(a, b, c, d)
    n = a + b + c + d
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    apart = np.abs(a * d - b * c)
    if yates:
        apart = np.maximum(0.0, apart - n / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(margins > 0, n * apart**2 / margins, np.nan)


def information_components(observed: ArrayLike, expected: ArrayLike) -> Ratios:
    """Return the information component of columns of counts, IC025 and IC975."""
    n, e = _floats(observed, expected)
    shape, rate = n + 0.5, e + 0.5
    low, high = (np.log2(special.gammaincinv(shape, q) / rate) for q in (0.025, 0.975))
    return np.log2(shape / rate), low, high


def _one(columns: Ratios, note: str) -> Ratio:
    value, low, high = (float(column[0]) for column in columns)
    return Ratio(None, None, None, note) if np.isnan(value) else Ratio(value, low, high)


def prr(table: Table) -> Ratio:
    """Return the proportional reporting ratio: the event's share with the drug over without it."""
    found = reporting_ratios(*([cell] for cell in table.cells))
    return _one(found, "no event with the drug or its comparators, or nothing but events")


def ror(table: Table) -> Ratio:
    """Return the reporting odds ratio."""
    found = reporting_odds_ratios(*([cell] for cell in table.cells))
    return _one(found, "a cell of the table is empty")


def chi_square(table: Table, *, yates: bool) -> float | None:
    """Return the chi-square of independence, Pearson's or with Yates' correction; None if empty."""
    found = float(chi_squares(*([cell] for cell in table.cells), yates=yates)[0])
    return None if np.isnan(found) else found


def information_component(observed: float, expected: float) -> Ratio:
    """Return the shrunk log2 of observed over expected, with the 95 % limits of its gamma form."""
    if expected < 0 or observed < 0:
        msg = "counts are not negative"
        raise ValueError(msg)
    return _one(information_components([observed], [expected]), "")


def ebgm(observed: float, expected: float, prior: Prior) -> Ratio:
    """Return the empirical Bayes geometric mean with EB05 and EB95 (a 90 % interval)."""
    return _one(shrunk_ratios([observed], [expected], prior), "")
