"""Is the evidence over the boundary? The maximised sequential probability ratio test, exactly.

Looking again and again at growing data finds something sooner or later, even where nothing is. The
MaxSPRT holds the log-likelihood ratio of each look against one boundary, chosen so that the chance
of ever crossing it without an excess is at most alpha. All probabilities here are exact: recursions
over the number of events that has not crossed so far.

Here the expected events are known: a Poisson process, looked at at each event or at planned looks.

Source: Kulldorff et al. 2011, Sequential Analysis 30:58-78.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

Floats = NDArray[np.float64]

#: Log-likelihood ratios between which a boundary is looked for.
_BOUNDARIES = (1e-6, 60.0)


@dataclass(frozen=True)
class Boundary:
    """When a sequential test rejects, and what that costs.

    Attributes:
        boundary: log-likelihood ratio at or above which a look rejects.
        alpha: exact chance of ever rejecting without an excess.
        thresholds: per look the smallest cumulative number of events that rejects; empty for a
            continuous test, which looks at each event.
    """

    boundary: float
    alpha: float
    thresholds: tuple[int, ...] = ()

    def __str__(self) -> str:
        looks = f"; rejects at {', '.join(map(str, self.thresholds))}" if self.thresholds else ""
        return f"boundary {self.boundary:.6f}, exact alpha {self.alpha:.7f}{looks}"


@dataclass(frozen=True)
class Power:
    """Chance of a signal under a rate ratio, and the mean expected count at which it comes."""

    power: float
    time_to_signal: float | None

    def __str__(self) -> str:
        when = self.time_to_signal
        told = "" if when is None else f", on average at {when:.1f} expected events"
        return f"a signal with a chance of {self.power:.1%}{told}"


def poisson_llr(events: float, expected: float) -> float:
    """Return the log-likelihood ratio of an excess: 0 where events are not above the expected."""
    if events <= expected:
        return 0.0
    if expected <= 0:
        return float("inf")
    return float(expected - events + special.xlogy(events, events / expected))


def _crossing_times(boundary: float, first: int, n: int) -> Floats:
    """Return the expected counts below which the events number first, first + 1, ... reject."""
    events = np.arange(first, first + n, dtype=np.float64)
    # x - 1 - ln x = boundary / n has its solution below 1 on the principal branch of W.
    argument: Any = -np.exp(-1 - boundary / events)  # the stubs know no arrays of floats here
    return np.asarray(-events * special.lambertw(argument).real, dtype=np.float64)


def _schedule(boundary: float, until: float, min_events: int) -> tuple[Floats, NDArray[np.int_]]:
    """Return instants (expected counts) and the most events that may have come by each."""
    n = 16
    while (times := _crossing_times(boundary, min_events, n))[-1] <= until:
        n *= 2
    inside = times[times <= until]
    caps = np.arange(min_events - 1, min_events + len(inside))
    return np.append(inside, until), caps


def survive(times: Floats, caps: Sequence[int] | NDArray[np.int_], rate: float = 1.0) -> float:
    """Return the chance that a Poisson process is never above `caps` at `times`."""
    return float(walk(times, caps, rate)[-1].sum())


def walk(times: Floats, caps: Sequence[int] | NDArray[np.int_], rate: float = 1.0) -> list[Floats]:
    """Return, before the first and after each instant, the distribution of what has not crossed."""
    state = np.ones(1)
    states, before = [state], 0.0
    for time, cap in zip(times, caps, strict=True):
        events = np.arange(cap + 1)
        mean = (time - before) * rate
        # scipy's own function spends nine tenths of its time on checking its arguments.
        steps = np.exp(special.xlogy(events, mean) - mean - special.gammaln(events + 1))
        state = np.convolve(state, steps)[: cap + 1]
        states.append(state)
        before = time
    return states


def poisson_alpha(boundary: float, until: float, min_events: int = 1) -> float:
    """Return the exact chance that a continuous test ever rejects without an excess.

    Args:
        boundary: log-likelihood ratio that rejects.
        until: expected count at which surveillance ends, fixed beforehand.
        min_events: events that there must be to reject.
    """
    return 1 - survive(*_schedule(boundary, until, min_events))


def poisson_boundary(until: float, alpha: float = 0.05, min_events: int = 1) -> Boundary:
    """Return the boundary of a continuous Poisson MaxSPRT.

    Errors:
        ValueError: alpha cannot be spent: with so many events needed, no boundary rejects so often.
    """
    value = solve(lambda b: poisson_alpha(b, until, min_events), alpha)
    return Boundary(value, poisson_alpha(value, until, min_events))


def solve(alpha_of: Callable[[float], float], alpha: float) -> float:
    """Return the boundary that spends alpha exactly.

    Errors:
        ValueError: none spends as much.
    """
    if alpha_of(_BOUNDARIES[0]) < alpha:
        msg = "no boundary spends this alpha; ask for fewer events or a longer surveillance"
        raise ValueError(msg)
    return float(optimize.brentq(lambda b: alpha_of(b) - alpha, *_BOUNDARIES, xtol=1e-10))


def poisson_power(boundary: float, until: float, rate_ratio: float, min_events: int = 1) -> Power:
    """Return power and mean time to signal of a continuous test where the rate is a multiple.

    The time is in expected counts without an excess, given that there is a signal.
    """
    times, caps = _schedule(boundary, until, min_events)
    states = walk(times, caps, rate_ratio)
    power = 1 - float(states[-1].sum())
    starts = np.append(0.0, times[:-1])
    mean = 0.0
    for start, end, cap, state in zip(starts, times, caps, states, strict=False):
        need = cap + 1 - np.arange(len(state))  # events from here to a crossing
        reach = (end - start) * rate_ratio
        come = special.gammainc(need, reach)
        waited = need / rate_ratio * special.gammainc(need + 1, reach)
        mean += float(np.sum(state * (start * come + waited)))
    return Power(power, mean / power if power > 0 else None)


def group_alpha(thresholds: Sequence[int], increments: Sequence[float]) -> float:
    """Return the exact chance that any look reaches its threshold without an excess.

    Args:
        thresholds: per look the cumulative number of events that rejects.
        increments: per look the expected events since the look before.
    """
    return 1 - survive(np.cumsum(increments), [n - 1 for n in thresholds])


def group_boundary(
    increments: Sequence[float], alpha: float = 0.05, min_events: int = 1
) -> Boundary:
    """Return the largest region of one boundary over planned looks whose alpha is not above alpha.

    Counts jump, so alpha can seldom be spent whole, and many boundaries give one region: region and
    exact alpha are the result. A region without any alpha left (no look can reject) has alpha 0.
    """
    expected = np.cumsum(increments)
    reach = [int(stats.poisson.isf(alpha * 1e-6, mean)) + min_events + 2 for mean in expected]
    ratios = {
        poisson_llr(n, mean)
        for mean, most in zip(expected, reach, strict=True)
        for n in range(min_events, most)
    }
    candidates = sorted(ratios - {0.0})

    def thresholds(boundary: float) -> tuple[int, ...]:
        return tuple(
            next(n for n in range(min_events, 10**9) if poisson_llr(n, mean) >= boundary)
            for mean in expected
        )

    return largest(candidates, thresholds, lambda found: group_alpha(found, increments), alpha)


def largest(
    candidates: Sequence[float],
    thresholds: Callable[[float], tuple[int, ...]],
    alpha_of: Callable[[tuple[int, ...]], float],
    alpha: float,
) -> Boundary:
    """Return the smallest candidate whose region costs at most alpha; alpha falls along them."""
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        if alpha_of(thresholds(candidates[middle])) <= alpha:
            high = middle
        else:
            low = middle + 1
    found = thresholds(candidates[low])
    return Boundary(candidates[low], alpha_of(found), found)
