"""Random effects over hospitals: log ratios or differences, each with its standard error.

Sources: DerSimonian and Laird 1986, Control Clin Trials 7:177; Paule and Mandel 1982, J Res NBS
87:377; Viechtbauer 2005, J Educ Behav Stat 30:261 (restricted maximum likelihood); Hartung and
Knapp 2001, Stat Med 20:3875; Higgins and Thompson 2002, Stat Med 21:1539 (I2); Higgins, Thompson
and Spiegelhalter 2009, JRSS A 172:137 (prediction interval).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]
Method = Literal["common", "DL", "PM", "REML"]

_Z = float(special.ndtri(0.975))
#: With two hospitals Hartung and Knapp's interval has one degree of freedom and says nothing.
FEWEST_FOR_HARTUNG_KNAPP = 3
#: A prediction interval needs a variance between hospitals that can be estimated at all.
FEWEST_FOR_PREDICTION = 3


@dataclass(frozen=True)
class PooledEffect:
    """An effect over hospitals on the scale of its inputs, with 95 % limits.

    Attributes:
        n_sites: hospitals that told an effect.
        effect, error: mean of the effects over hospitals and its standard error.
        low, high: limits: Hartung and Knapp's from three hospitals on, else of the normal.
        interval: how they were made: hartung-knapp, wald or the site's own.
        tau2: variance between hospitals; None for one hospital.
        i2: share of the variance that is between hospitals, 0 to 1; None for one hospital.
        q, q_p_value: heterogeneity against none; None for one hospital.
        prediction_low, prediction_high: where another hospital's effect is expected; None with
            fewer than three.
    """

    n_sites: int
    effect: float
    error: float
    low: float
    high: float
    interval: str
    tau2: float | None = None
    i2: float | None = None
    q: float | None = None
    q_p_value: float | None = None
    prediction_low: float | None = None
    prediction_high: float | None = None

    def __str__(self) -> str:
        spread = "" if self.tau2 is None else f", tau2 {self.tau2:.3g}, I2 {self.i2:.0%}"
        return (
            f"{self.effect:.3g} ({self.low:.3g} to {self.high:.3g}; {self.n_sites} sites, "
            f"{self.interval}{spread})"
        )


def pool_effects(
    effects: Sequence[float], errors: Sequence[float], method: Method = "REML"
) -> PooledEffect:
    """Return the mean effect over hospitals.

    Args:
        effects: one a hospital, on a scale where they are about normal (log ratio, difference).
        errors: their standard errors, above zero.
        method: how the variance between hospitals is estimated; `common` takes it as zero.

    Errors:
        ValueError: no hospital, unequal lengths, or an error that is not above zero.
    """
    y, v = np.asarray(effects, dtype=np.float64), np.asarray(errors, dtype=np.float64) ** 2
    if not len(y) or len(y) != len(v) or not (v > 0).all() or not np.isfinite([y, v]).all():
        msg = "each of at least one hospital has an effect and a standard error above zero"
        raise ValueError(msg)
    if len(y) == 1:
        half = _Z * float(v[0]) ** 0.5
        own = float(y[0])
        return PooledEffect(1, own, float(v[0]) ** 0.5, own - half, own + half, "the site's own")
    tau2 = 0.0 if method == "common" else between_variance(y, v, method)
    return _summary(y, v, tau2, is_common=method == "common")


def _summary(y: Floats, v: Floats, tau2: float, *, is_common: bool) -> PooledEffect:
    k = len(y)
    mean, weights = _mean(y, v, tau2)
    q = _q(y, v, 0.0)
    wald = float(weights.sum() ** -0.5)
    error, quantile, name = wald, _Z, "wald"
    if not is_common and k >= FEWEST_FOR_HARTUNG_KNAPP:
        # Never narrower than the normal interval would be: the ad hoc correction by IQWiG.
        error = hartung_knapp_error(y, v, tau2)
        quantile, name = float(special.stdtrit(k - 1, 0.975)), "hartung-knapp"
        if error * quantile < wald * _Z:
            error, quantile, name = wald, _Z, "wald, wider than hartung-knapp"
    spread = None
    if not is_common and k >= FEWEST_FOR_PREDICTION:
        spread = float(special.stdtrit(k - 2, 0.975)) * (tau2 + error**2) ** 0.5
    return PooledEffect(
        k,
        mean,
        error,
        mean - quantile * error,
        mean + quantile * error,
        name,
        tau2,
        max(0.0, 1 - (k - 1) / q) if q > 0 else 0.0,
        q,
        float(special.chdtrc(k - 1, q)),
        None if spread is None else mean - spread,
        None if spread is None else mean + spread,
    )


def hartung_knapp_error(effects: Floats, variances: Floats, tau2: float) -> float:
    """Return the standard error from how far the effects lie around their weighted mean."""
    mean, weights = _mean(effects, variances, tau2)
    spread = float((weights * (effects - mean) ** 2).sum() / (len(effects) - 1))
    return float((spread / float(weights.sum())) ** 0.5)


def between_variance(effects: Floats, variances: Floats, method: Method) -> float:
    """Return the variance between hospitals; 0 where less than none would fit best."""
    if method == "DL":
        weights = 1 / variances
        q, k = _q(effects, variances, 0.0), len(effects)
        scale = float(weights.sum() - (weights**2).sum() / weights.sum())
        return max(0.0, (q - (k - 1)) / scale)
    if method == "PM":
        return _root(lambda t: _q(effects, variances, t) - (len(effects) - 1), effects)
    return _restricted_maximum(effects, variances)


def _restricted_maximum(y: Floats, v: Floats) -> float:
    """Return the tau2 at which the restricted likelihood is highest; 0 counts too."""

    def cost(tau2: float) -> float:
        mean, weights = _mean(y, v, tau2)
        return float(
            -np.log(weights).sum() + np.log(weights.sum()) + (weights * (y - mean) ** 2).sum()
        )

    widest = float(np.var(y, ddof=1)) * 10 + float(v.max())
    # The likelihood can have several hills: look along a grid first.
    grid = np.append(0.0, np.geomspace(widest * 1e-8, widest, 200))
    best = int(np.argmin([cost(t) for t in grid]))
    low, high = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
    found = optimize.minimize_scalar(
        cost, bounds=(float(low), float(high)), method="bounded", options={"xatol": 1e-12 * widest}
    )
    return float(found.x) if float(found.fun) < cost(0.0) else 0.0


def _root(excess: Callable[[float], float], y: Floats) -> float:
    if excess(0.0) <= 0:
        return 0.0
    high = float(np.var(y, ddof=1)) + 1e-12
    while excess(high) > 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-14, rtol=1e-13))


def _mean(y: Floats, v: Floats, tau2: float) -> tuple[float, Floats]:
    weights = 1 / (v + tau2)
    return float((weights * y).sum() / weights.sum()), weights


def _q(y: Floats, v: Floats, tau2: float) -> float:
    mean, weights = _mean(y, v, tau2)
    return float((weights * (y - mean) ** 2).sum())
