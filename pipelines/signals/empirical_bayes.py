"""Ratios of observed to expected counts, each shrunk by what all pairs of drug and event show.

Source: DuMouchel 1999, Am Stat 53:177 (mixture of two gamma distributions, by maximum likelihood).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special
from scipy.optimize import elementwise

from pipelines.signals.intervals import Floats

#: Logarithms of shapes and rates, and the logit of the share, stay within this of zero.
_BOUND = 12.0


@dataclass(frozen=True)
class Prior:
    """A mixture of two gamma distributions of the reporting ratio: shapes, rates, first share."""

    shape1: float
    rate1: float
    shape2: float
    rate2: float
    share: float
    converged: bool = True

    def __str__(self) -> str:
        first, second = (
            f"gamma({shape:.3g}, {rate:.3g})"
            for shape, rate in ((self.shape1, self.rate1), (self.shape2, self.rate2))
        )
        settled = "" if self.converged else " (the fit did not settle)"
        return f"{self.share:.1%} {first}, {1 - self.share:.1%} {second}{settled}"

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

    def slope(self, observed: Floats, expected: Floats) -> Floats:
        """Return its derivatives by the logarithms of shapes and rates and the share's logit."""
        first = self.share_after(observed, expected)
        slope = [
            np.sum(weight * part)
            for weight, shape, rate in (
                (first, self.shape1, self.rate1),
                (1 - first, self.shape2, self.rate2),
            )
            for part in (
                shape
                * (
                    special.digamma(observed + shape)
                    - special.digamma(shape)
                    + np.log(rate / (rate + expected))
                ),
                shape - rate * (shape + observed) / (rate + expected),
            )
        ]
        return np.array([*slope, np.sum(first - self.share)])


def _negative_binomial(observed: Floats, expected: Floats, shape: float, rate: float) -> Floats:
    combinations = (
        special.gammaln(observed + shape) - special.gammaln(shape) - special.gammaln(observed + 1)
    )
    return np.asarray(
        combinations
        + shape * np.log(rate / (rate + expected))
        + special.xlogy(observed, expected / (rate + expected))
    )


#: DuMouchel's own starting values, and two further ones: the likelihood has several hills.
_STARTS = (
    (0.2, 0.1, 2.0, 4.0, 1 / 3),
    (0.1, 0.1, 10.0, 10.0, 0.2),
    (0.5, 0.5, 5.0, 2.0, 0.65),
)


def _prior(x: Floats, *, converged: bool = True) -> Prior:
    shape1, rate1, shape2, rate2 = (float(v) for v in np.exp(x[:4]))
    return Prior(shape1, rate1, shape2, rate2, float(special.expit(x[4])), converged)


def fit_prior(observed: Sequence[float] | Floats, expected: Sequence[float] | Floats) -> Prior:
    """Fit the mixture by maximum likelihood to all pairs of drug and event.

    Args:
        observed: units of a pair, zeros included.
        expected: the same under independence, above zero.

    Returns:
        The best of several starts; `converged` is False where it did not settle.
    """
    n, e = np.asarray(observed, dtype=np.float64), np.asarray(expected, dtype=np.float64)

    def cost(x: Floats) -> tuple[float, Floats]:
        prior = _prior(x)
        return -prior.log_likelihood(n, e), -prior.slope(n, e)

    starts: list[Any] = [[*np.log(start[:4]), special.logit(start[4])] for start in _STARTS]
    bounds = [(-_BOUND, _BOUND)] * 5
    found = [
        optimize.minimize(cost, start, method="L-BFGS-B", jac=True, bounds=bounds)
        for start in starts
    ]
    best = min(found, key=lambda result: float(result.fun))
    return _prior(best.x, converged=bool(best.success))


def shrunk_ratios(
    observed: ArrayLike, expected: ArrayLike, prior: Prior
) -> tuple[Floats, Floats, Floats]:
    """Return columns of EBGM, EB05 and EB95: geometric mean and 90 % interval a posteriori.

    Where the geometric mean of a very skewed posterior lies outside, the interval is widened to it.
    """
    n, e = np.asarray(observed, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    share = prior.share_after(n, e)
    shape1, shape2 = prior.shape1 + n, prior.shape2 + n
    rate1, rate2 = prior.rate1 + e, prior.rate2 + e
    mean = np.exp(
        share * (special.digamma(shape1) - np.log(rate1))
        + (1 - share) * (special.digamma(shape2) - np.log(rate2))
    )

    def beyond(x: Floats, q: Floats, *of: Floats) -> Floats:
        weight, s1, r1, s2, r2 = of
        below = weight * special.gammainc(s1, r1 * x) + (1 - weight) * special.gammainc(s2, r2 * x)
        return np.asarray(below - q)

    top = np.maximum(shape1 / rate1, shape2 / rate2) * 50 + 50
    quantiles = []
    for q in (0.05, 0.95):
        found = elementwise.find_root(
            beyond,
            (np.zeros_like(top), top),
            args=(np.full_like(top, q), share, shape1, rate1, shape2, rate2),
            tolerances={"xatol": 1e-10, "xrtol": 1e-10},
        )
        quantiles.append(np.where(found.success, found.x, np.nan))
    low, high = quantiles
    return mean, np.minimum(low, mean), np.maximum(high, mean)
