"""One risk over hospitals whose counts are small: the binomial-normal model.

Each hospital's logit is a draw from a normal distribution, its events binomial given that. Zero
events are data like any other: no half is added anywhere. Effective counts (Korn and Graubard) need
not be whole numbers. The integral over hospitals is by adaptive Gauss-Hermite quadrature.

Sources: Stijnen, Hamza and Ozdemir 2010, Stat Med 29:3046; Pinheiro and Bates 1995, J Comput Graph
Stat 4:12 (adaptive quadrature).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]

_Z = float(special.ndtri(0.975))
N_NODES = 41
#: Below this standard deviation of logits, hospitals differ by nothing that counts.
_NO_SPREAD = 1e-4
_STEP = 1e-3
#: Logarithm of the widest standard deviation of logits that is tried.
_WIDEST = 5.0
NO_MAXIMUM = "the likelihood has no maximum that can be found"


@dataclass(frozen=True)
class PooledRisk:
    """A risk over hospitals with 95 % limits.

    Attributes:
        n_sites: hospitals.
        logit, error: mean logit over hospitals and its standard error; None at 0 or all events.
        tau2: variance of the logits between hospitals; None for one hospital or no estimate.
        risk, low, high: the risk of the middle hospital, a proportion; None without a maximum.
        converged: whether the likelihood has its maximum here.
        note: what to know about it.
    """

    n_sites: int
    logit: float | None
    error: float | None
    tau2: float | None
    risk: float | None
    low: float | None
    high: float | None
    converged: bool = True
    note: str | None = None

    def __str__(self) -> str:
        if self.risk is None:
            return f"no pooled risk: {self.note}"
        if self.low is None:
            return f"{self.risk:.2%} (no interval: {self.note})"
        return f"{self.risk:.2%} ({self.low:.2%}-{self.high:.2%}; {self.n_sites} sites)"


def pool_risks(
    events: Sequence[float], units: Sequence[float], n_nodes: int = N_NODES
) -> PooledRisk:
    """Fit the binomial-normal model by maximum likelihood.

    Args:
        events: effective events a hospital, 0 to its units.
        units: effective units a hospital; hospitals without any are left out.
        n_nodes: points of the quadrature; 7, as in published analyses, is not enough for tau2.

    Errors:
        ValueError: unequal lengths, negative counts, or more events than units.
    """
    e, n = np.asarray(events, dtype=np.float64), np.asarray(units, dtype=np.float64)
    if e.shape != n.shape or (e < 0).any() or (e > n).any():
        msg = "events lie between 0 and the units of their hospital"
        raise ValueError(msg)
    e, n = e[n > 0], n[n > 0]
    if not len(n):
        return PooledRisk(0, None, None, None, None, None, None, note="no units")
    if e.sum() in (0.0, n.sum()):
        risk = float(e.sum() / n.sum())
        note = "no events" if not risk else "nothing but events"
        return PooledRisk(len(n), None, None, None, risk, None, None, note=note)
    return _Model(e, n, n_nodes).fit()


class _Model:
    """The likelihood of hospitals' events `e` of `n` units."""

    def __init__(self, e: Floats, n: Floats, n_nodes: int) -> None:
        self._e, self._n = e, n
        self._nodes, self._weights = special.roots_hermitenorm(n_nodes)

    def fit(self) -> PooledRisk:
        crude = float(special.logit(self._e.sum() / self._n.sum()))
        if len(self._n) == 1:
            return self._result(crude, 0.0, converged=True, is_alone=True)

        def cost(x: Floats) -> float:
            return -self.log_likelihood(float(x[0]), float(np.exp(np.clip(x[1], -15, _WIDEST))))

        starts: list[Any] = [[crude, np.log(tau)] for tau in (0.1, 0.7, 1.5)]
        options: Any = {"xatol": 1e-9, "fatol": 1e-11, "maxiter": 4000}
        found = [optimize.minimize(cost, x, method="Nelder-Mead", options=options) for x in starts]
        best = min(found, key=lambda one: float(one.fun))
        if best.x[1] >= _WIDEST:
            return self._without_maximum()
        tau = float(np.exp(best.x[1]))
        if tau < _NO_SPREAD or -self.log_likelihood(crude, 0.0) <= float(best.fun):
            return self._result(crude, 0.0, converged=True)
        return self._result(float(best.x[0]), tau, converged=bool(best.success))

    def _result(
        self, mean: float, tau: float, *, converged: bool, is_alone: bool = False
    ) -> PooledRisk:
        error = self._error(mean, tau)
        if error is None:
            return self._without_maximum()
        half = _Z * error
        low, high = (float(special.expit(mean + sign * half)) for sign in (-1, 1))
        return PooledRisk(
            len(self._n),
            mean,
            error,
            None if is_alone else tau**2,
            float(special.expit(mean)),
            low,
            high,
            converged=converged,
            note=None if converged else NO_MAXIMUM,
        )

    def _without_maximum(self) -> PooledRisk:
        """Return no number: of hospitals with all or none, the likelihood rises without end."""
        nothing = (None,) * 6
        return PooledRisk(len(self._n), *nothing, converged=False, note=NO_MAXIMUM)

    def _error(self, mean: float, tau: float) -> float | None:
        """Return the standard error of the mean logit, tau estimated too; None if there is none."""

        def value(x: Floats) -> float:
            return self.log_likelihood(float(x[0]), abs(float(x[1])))

        at = np.array([mean, tau])
        free = [0, 1] if tau else [0]
        hessian = np.array([[_second(value, at, i, j) for j in free] for i in free])
        try:
            variance = float(np.linalg.inv(-hessian)[0, 0])
        except np.linalg.LinAlgError:
            return None
        return variance**0.5 if variance > 0 else None

    def log_likelihood(self, mean: float, tau: float) -> float:
        """Return the log-likelihood, binomial coefficients left out."""
        e, n = self._e, self._n
        if tau == 0:
            return float((e * mean - n * np.logaddexp(0.0, mean)).sum())
        mode, width = self._modes(mean, tau)
        theta = mode[:, None] + width[:, None] * self._nodes
        inside = (
            e[:, None] * theta
            - n[:, None] * np.logaddexp(0.0, theta)
            - (theta - mean) ** 2 / (2 * tau**2)
            + self._nodes**2 / 2
        )
        # scipy's logsumexp does the same and takes two thirds of the fit to check its arguments.
        top = inside.max(axis=1)
        sums = (self._weights * np.exp(inside - top[:, None])).sum(axis=1)
        integral = np.log(sums) + top + np.log(width / tau)
        return float((integral - 0.5 * np.log(2 * np.pi)).sum())

    def _modes(self, mean: float, tau: float) -> tuple[Floats, Floats]:
        """Return each hospital's likeliest logit and the width of its likelihood around it."""
        e, n = self._e, self._n
        theta = np.full(len(e), mean)
        for _ in range(60):
            p = special.expit(theta)
            slope = e - n * p - (theta - mean) / tau**2
            step = slope / (n * p * (1 - p) + tau**-2)
            theta = theta + np.clip(step, -2.0, 2.0)
            if float(np.abs(step).max()) < 1e-12:
                break
        p = special.expit(theta)
        return theta, (n * p * (1 - p) + tau**-2) ** -0.5


def _second(value: Callable[[Floats], float], at: Floats, i: int, j: int) -> float:
    """Return a second derivative by differences."""
    step = np.eye(len(at)) * _STEP
    high, up, down, low = (value(at + a * step[i] + b * step[j]) for a in (1, -1) for b in (1, -1))
    return (high - up - down + low) / (4 * _STEP**2)
