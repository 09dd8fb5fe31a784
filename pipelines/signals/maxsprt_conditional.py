"""The sequential test against a rate that was itself estimated, from a historical count.

A rate from thirty events, taken as if it were known, makes false signals nearly twice as often as
it should. Here the historical events stay in the test as what they are: a draw.

Source: Li and Kulldorff 2010, Statistics in Medicine 29:284-295.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

from pipelines.signals.maxsprt import Boundary, Floats, largest, solve, survive

#: Points of the quadrature over the historical person-time.
_N_NODES = 48


def conditional_llr(events: int, share: float, known: int) -> float:
    """Return the ratio against a rate that was itself estimated, from `known` earlier events.

    Args:
        events: events under surveillance.
        share: person-time under surveillance over the historical person-time.
        known: events of the historical person-time.
    """
    if known == 0 or events <= known * share:
        return 0.0
    if share <= 0:
        return float("inf")
    total = events + known
    return float(
        special.xlogy(events, events * (1 + share) / (total * share))
        + special.xlogy(known, known * (1 + share) / total)
    )


def conditional_alpha(boundary: float, most: int, known: int, min_events: int = 1) -> float:
    """Return the chance that the conditional test ever rejects without an excess.

    Surveillance ends at `most` events; `known` earlier events estimated the rate. Integrated over
    the historical person-time, which is gamma distributed when it ends at its last event.
    """
    events = np.arange(min_events, most + 1)
    shares = np.array([_conditional_share(boundary, int(n), known) for n in events])
    quantiles, weights = gamma_nodes(known)
    kept = [survive(shares * person_time, events - 1) for person_time in quantiles]
    return 1 - float(np.dot(weights, kept))


def gamma_nodes(shape: int, n: int = _N_NODES) -> tuple[Floats, Floats]:
    """Return nodes and weights that integrate over a gamma distribution of this shape.

    Gauss and Hermite's over the normal quantile: the direct rule of Laguerre overflows from a few
    hundred events on.
    """
    z, weights = special.roots_hermitenorm(n)
    lower = special.gammaincinv(shape, special.ndtr(np.minimum(z, 0)))
    upper = special.gammainccinv(shape, special.ndtr(-np.maximum(z, 0)))
    return np.where(z < 0, lower, upper), weights / weights.sum()


def _conditional_share(boundary: float, events: int, known: int) -> float:
    """Return the share of person-time at which these events are exactly on the boundary."""
    even = events / known
    return float(
        np.exp(
            optimize.brentq(
                lambda x: conditional_llr(events, float(np.exp(x)), known) - boundary,
                np.log(even) - 80.0 - boundary,
                np.log(even),
            )
        )
    )


def conditional_boundary(
    most: int, known: int, alpha: float = 0.05, min_events: int = 1
) -> Boundary:
    """Return the boundary of the conditional MaxSPRT, whose reference rate is itself estimated.

    Args:
        most: events at which surveillance ends, fixed beforehand.
        known: events that the reference rate was estimated from, at least 1.
        alpha: error to spend.
        min_events: events that there must be to reject.

    Errors:
        ValueError: alpha cannot be spent.
    """
    value = solve(lambda b: conditional_alpha(b, most, known, min_events), alpha)
    return Boundary(value, conditional_alpha(value, most, known, min_events))


def planned_alpha(thresholds: Sequence[int], shares: Sequence[float], known: int) -> float:
    """Return the chance that any planned look reaches its threshold without an excess.

    Args:
        thresholds: per look the cumulative number of events that rejects.
        shares: per look the person-time (or units) so far over the historical one, rising.
        known: historical events.
    """
    times = np.asarray(shares, dtype=np.float64)
    quantiles, weights = gamma_nodes(known)
    caps = [n - 1 for n in thresholds]
    kept = [survive(times * person_time, caps) for person_time in quantiles]
    return 1 - float(np.dot(weights, kept))


def planned_boundary(
    shares: Sequence[float], known: int, alpha: float = 0.05, min_events: int = 1
) -> Boundary:
    """Return the largest region of one boundary over planned looks whose alpha is not above alpha.

    Args:
        shares: per look the person-time (or units) so far over the historical one, rising.
        known: historical events, at least 1.
        alpha: error that may be spent.
        min_events: events that there must be to reject.
    """
    # More than this many events never come to the last look.
    most = int(special.nbdtrik(1 - alpha * 1e-6, known, 1 / (1 + shares[-1]))) + min_events + 2
    ratios = {conditional_llr(n, x, known) for x in shares for n in range(min_events, most)}

    def thresholds(boundary: float) -> tuple[int, ...]:
        return tuple(
            next(n for n in range(min_events, 10**9) if conditional_llr(n, x, known) >= boundary)
            for x in shares
        )

    return largest(
        sorted(ratios - {0.0}), thresholds, lambda found: planned_alpha(found, shares, known), alpha
    )
