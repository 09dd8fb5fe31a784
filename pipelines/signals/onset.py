"""When an outcome begins: survival and cumulative incidence from counts of bins of time.

A bin is an instant at which something happened, or an interval in which it is not told when; its
row says how many were at risk at its start and how many then had the event, a competing event, or
left. Such rows add up over buckets and hospitals.

Sources: Kaplan and Meier 1958, JASA 53:457; Kalbfleisch and Prentice 2002, The Statistical Analysis
of Failure Time Data (log-log limits); Aalen and Johansen 1978, Scand J Stat 5:141.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from scipy import special

_Z = float(special.ndtri(0.975))


@dataclass(frozen=True)
class RiskSet:
    """Those at risk just before a time, and what became of them there."""

    at: float
    n_at_risk: int
    n_events: int
    n_competing: int = 0


@dataclass(frozen=True)
class Step:
    """Value of a curve from a time on, with 95 % limits; None where they cannot be told."""

    at: float
    value: float
    low: float | None
    high: float | None


def kaplan_meier(sets: Sequence[RiskSet]) -> list[Step]:
    """Return the share still free of the event after each time that has one, in order of time."""
    steps, survival, variance = [], 1.0, 0.0
    for one in sorted(sets, key=lambda found: found.at):
        if not one.n_events:
            continue
        left = one.n_at_risk - one.n_events
        survival *= left / one.n_at_risk
        if left:
            variance += one.n_events / (one.n_at_risk * left)
        steps.append(Step(one.at, survival, *_log_log(survival, variance)))
    return steps


def _log_log(survival: float, variance: float) -> tuple[float | None, float | None]:
    """Return limits that stay within 0 and 1, by Greenwood's variance on the log-log scale."""
    if survival in (0.0, 1.0):
        return None, None
    half = _Z * variance**0.5 / -log(survival)
    return survival ** exp(half), survival ** exp(-half)


def cumulative_incidence(sets: Sequence[RiskSet]) -> list[Step]:
    """Return the share that has had the event by each time, others gone by a competing one.

    Aalen and Johansen's estimate with the limits of its delta-method variance on the log-log scale.
    """
    free, incidence = 1.0, 0.0
    steps: list[Step] = []
    past: list[tuple[float, RiskSet, float]] = []  # incidence so far, the set, free before it
    for one in sorted(sets, key=lambda found: found.at):
        gone = one.n_events + one.n_competing
        if not gone:
            continue
        before = free
        incidence += before * one.n_events / one.n_at_risk
        free *= 1 - gone / one.n_at_risk
        past.append((incidence, one, before))
        if one.n_events:
            variance = _incidence_variance(past, incidence)
            low, high = _around(incidence, variance)
            steps.append(Step(one.at, incidence, low, high))
    return steps


def _incidence_variance(past: Sequence[tuple[float, RiskSet, float]], incidence: float) -> float:
    """Return the variance of Aalen and Johansen's estimate (Marubini and Valsecchi 1995)."""
    total = 0.0
    for so_far, one, free in past:
        n, events, gone = one.n_at_risk, one.n_events, one.n_events + one.n_competing
        rest = incidence - so_far
        if n > gone:
            total += rest**2 * gone / (n * (n - gone))
        total += free**2 * events * (n - events) / n**3
        total -= 2 * rest * free * events / n**2
    return max(0.0, total)


def _around(share: float, variance: float) -> tuple[float | None, float | None]:
    if share <= 0.0 or share >= 1.0:
        return None, None
    half = _Z * variance**0.5 / (-(1 - share) * log(1 - share))
    kept = log(1 - share)
    return 1 - exp(kept * exp(-half)), 1 - exp(kept * exp(half))
