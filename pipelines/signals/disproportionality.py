"""Is an event told more often of one drug than of the others? Screening of reports.

A report is a unit of analysis; the four numbers of a pair are units with and without the event,
of the drug and of its comparators. Nothing here is a risk: it is labelled "screening only".

Sources: Evans et al. 2001, Pharmacoepidemiol Drug Saf 10:483 (PRR); van Puijenbroek et al. 2002,
ibid. 11:3 (ROR); Noren et al. 2013, Stat Methods Med Res 22:57 (information component in its gamma
form); DuMouchel 1999, Am Stat 53:177 (empirical Bayes geometric mean).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

Floats = NDArray[np.float64]

_Z = float(special.ndtri(0.975))


@dataclass(frozen=True)
class Ratio:
    """A ratio with its 95 % interval; all None where it is not defined, with the reason."""

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
    def total(self) -> int:
        """All units."""
        return self.a + self.b + self.c + self.d

    @property
    def expected(self) -> float:
        """Units of the drug with the event, were drug and event independent."""
        return (self.a + self.b) * (self.a + self.c) / self.total


def _log_ratio(estimate: float, variance: float) -> Ratio:
    half = _Z * variance**0.5
    log = float(np.log(estimate))
    return Ratio(estimate, float(np.exp(log - half)), float(np.exp(log + half)))


def prr(table: Table) -> Ratio:
    """Return the proportional reporting ratio: the event's share with the drug over without it."""
    drug, others = table.a + table.b, table.c + table.d
    if not table.a or not table.c:
        return Ratio(None, None, None, "an event in no unit of the drug or of its comparators")
    estimate = (table.a / drug) / (table.c / others)
    return _log_ratio(estimate, 1 / table.a - 1 / drug + 1 / table.c - 1 / others)


def ror(table: Table) -> Ratio:
    """Return the reporting odds ratio."""
    cells = (table.a, table.b, table.c, table.d)
    if not all(cells):
        return Ratio(None, None, None, "a cell of the table is empty")
    estimate = table.a * table.d / (table.b * table.c)
    return _log_ratio(estimate, sum(1 / cell for cell in cells))


def chi_square(table: Table, *, yates: bool) -> float | None:
    """Return the chi-square of independence, Pearson's or with Yates' correction; None if empty."""
    rows = (table.a + table.b, table.c + table.d)
    columns = (table.a + table.c, table.b + table.d)
    if not all((*rows, *columns)):
        return None
    cells = [[table.a, table.b], [table.c, table.d]]
    return float(stats.chi2_contingency(cells, correction=yates).statistic)


def information_component(observed: float, expected: float) -> Ratio:
    """Return the shrunk log2 of observed over expected, with the 95 % limits of its gamma form."""
    if expected < 0 or observed < 0:
        msg = "counts are not negative"
        raise ValueError(msg)
    shape, rate = observed + 0.5, expected + 0.5
    low, high = (float(stats.gamma.ppf(q, shape, scale=1 / rate)) for q in (0.025, 0.975))
    return Ratio(float(np.log2(shape / rate)), float(np.log2(low)), float(np.log2(high)))


@dataclass(frozen=True)
class Prior:
    """A mixture of two gamma distributions of the reporting ratio: shapes, rates, first share."""

    shape1: float
    rate1: float
    shape2: float
    rate2: float
    share: float
    converged: bool = True

    def log_likelihood(self, observed: Floats, expected: Floats) -> float:
        """Return the log-likelihood of counts, negative binomial under each gamma."""
        return float(np.logaddexp(*self._parts(observed, expected)).sum())

    def _parts(self, observed: Floats, expected: Floats) -> tuple[Floats, Floats]:
        first = np.log(self.share) + _negative_binomial(observed, expected, self.shape1, self.rate1)
        second = np.log1p(-self.share) + _negative_binomial(
            observed, expected, self.shape2, self.rate2
        )
        return first, second

    def share_after(self, observed: Floats, expected: Floats) -> Floats:
        """Return the first gamma's share given the counts."""
        first, second = self._parts(observed, expected)
        return np.asarray(special.expit(first - second))


def _negative_binomial(observed: Floats, expected: Floats, shape: float, rate: float) -> Floats:
    return np.asarray(stats.nbinom.logpmf(observed, shape, rate / (rate + expected)))


#: DuMouchel's own starting values, and two further ones: the likelihood has several hills.
_STARTS = (
    (0.2, 0.1, 2.0, 4.0, 1 / 3),
    (0.1, 0.1, 10.0, 10.0, 0.2),
    (0.5, 0.5, 5.0, 2.0, 0.65),
)


def fit_prior(observed: Sequence[float] | Floats, expected: Sequence[float] | Floats) -> Prior:
    """Fit the mixture by maximum likelihood to all pairs of drug and event.

    Args:
        observed: units of a pair, zeros included.
        expected: the same under independence, above zero.

    Returns:
        The best of several starts; `converged` is False where none of them settled.
    """
    n, e = np.asarray(observed, dtype=np.float64), np.asarray(expected, dtype=np.float64)

    def prior(x: Floats) -> Prior:
        shape1, rate1, shape2, rate2 = (float(v) for v in np.exp(np.clip(x[:4], -12, 12)))
        return Prior(shape1, rate1, shape2, rate2, float(special.expit(np.clip(x[4], -12, 12))))

    def cost(x: Floats) -> float:
        return -prior(x).log_likelihood(n, e)

    starts: list[Any] = [[*np.log(start[:4]), special.logit(start[4])] for start in _STARTS]
    found = [optimize.minimize(cost, start, method="L-BFGS-B") for start in starts]
    best = min(found, key=lambda result: float(result.fun))
    fitted = prior(best.x)
    return Prior(
        fitted.shape1, fitted.rate1, fitted.shape2, fitted.rate2, fitted.share, bool(best.success)
    )


def ebgm(observed: float, expected: float, prior: Prior) -> Ratio:
    """Return the empirical Bayes geometric mean with EB05 and EB95 (a 90 % interval)."""
    n, e = np.array([observed], dtype=np.float64), np.array([expected], dtype=np.float64)
    share = float(prior.share_after(n, e)[0])
    shapes = (prior.shape1 + observed, prior.shape2 + observed)
    rates = (prior.rate1 + expected, prior.rate2 + expected)
    logs = [special.digamma(s) - np.log(r) for s, r in zip(shapes, rates, strict=True)]
    mean = float(np.exp(share * logs[0] + (1 - share) * logs[1]))

    def below(x: float) -> float:
        first, second = (special.gammainc(s, r * x) for s, r in zip(shapes, rates, strict=True))
        return float(share * first + (1 - share) * second)

    top = max(s / r for s, r in zip(shapes, rates, strict=True)) * 50 + 50
    low, high = (
        float(optimize.brentq(lambda x, q=q: below(x) - q, 0.0, top, xtol=1e-10))
        for q in (0.05, 0.95)
    )
    return Ratio(mean, low, high)
