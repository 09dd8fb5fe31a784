"""Sequential surveillance night by night: looks that come as they come, at one error in all.

Estimand: is the rate of first events of patients above its reference? Unit: a unit at risk (closed
window, complete follow-up) of a patient without an event so far; expected: these units times the
reference rate of their ordinal (first in record, later).

Looks are not planned, so the error is spent: up to an expected number t as much as a continuous
Poisson MaxSPRT of the fixed end would have spent by t, at each look by the smallest count that
keeps to it, exactly, by recursion over the counts that have not crossed. Where the reference was
estimated, the recursion is integrated over its two rates. Nothing here knows a store or a clock.

Source: Kulldorff et al. 2011, Sequential Analysis 30:58-78; Silva and Kulldorff 2015, Biometrics
71:851-858 (spending at looks that come); Li and Kulldorff 2010, Statistics in Medicine 29:284-295.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import special, stats

from pipelines.signals.maxsprt import (
    Floats,
    poisson_alpha,
    poisson_boundary,
    poisson_llr,
    walk,
)
from pipelines.signals.maxsprt_conditional import conditional_llr, gamma_nodes

Decision = Literal["signal", "continue", "end"]
ReferenceKind = Literal["fixed", "published", "baseline"]

#: Units or events of an ordinal: first in record, later.
Pair = tuple[int, int]

#: Points a rate, and the weight below which a point says nothing.
_N_NODES, _LEAST = 24, 1e-10
#: Chances are sums of many small ones: what is lost in them.
_ROUNDING = 1e-12
#: Digits that are recorded: the last ones differ between processors.
_DIGITS = 10


@dataclass(frozen=True)
class Plan:
    """What a study fixes beforehand.

    Attributes:
        alpha: error of the whole surveillance.
        max_expected: expected events at which it ends.
        min_events: fewest events that can be a signal.
        first_look_expected: expected events from which on there are looks.
    """

    alpha: float
    max_expected: float
    min_events: int = 1
    first_look_expected: float = 0.0


@dataclass(frozen=True)
class Reference:
    """Events expected of a unit at risk, by ordinal: known rates, or those that counts estimate.

    Attributes:
        rates: of first and later units; of an ordinal that the baseline lacks, None.
        events, units: that estimate the rates; None where the rates are known.
        kind: where they come from: the study, the site's own baseline, counts of others.
    """

    rates: tuple[float | None, float | None]
    events: Pair | None = None
    units: Pair | None = None
    kind: ReferenceKind = "fixed"

    @classmethod
    def of_counts(cls, events: Pair, units: Pair, kind: ReferenceKind = "baseline") -> Reference:
        """Return the rates that a baseline, or what others have counted, estimates."""
        first, later = (e / n if n else None for e, n in zip(events, units, strict=True))
        return cls((first, later), events, units, kind)

    def expected(self, units: Pair) -> float | None:
        """Return the events expected of units at risk; None where a rate of theirs is missing."""
        if any(n and rate is None for n, rate in zip(units, self.rates, strict=True)):
            return None
        return float(sum(n * (rate or 0) for n, rate in zip(units, self.rates, strict=True)))

    def nodes(self) -> tuple[Floats, Floats]:
        """Return rates (a row a point, first and later) and their weights, which add up to 1.

        A rate from k events of n units is gamma distributed with k + 1 events, as in the upper
        limit of a Poisson mean (Garwood 1936): one look is then the exact conditional test of two
        counts of fixed length.
        """
        if self.events is None or self.units is None:
            return np.array([[rate or 0.0 for rate in self.rates]]), np.ones(1)
        axes = [
            gamma_nodes(k + 1, _N_NODES) if n else (np.zeros(1), np.ones(1))
            for k, n in zip(self.events, self.units, strict=True)
        ]
        (first, w_first), (later, w_later) = axes
        n_first, n_later = (max(n, 1) for n in self.units)
        grid = np.stack(np.meshgrid(first / n_first, later / n_later, indexing="ij"), axis=-1)
        weights = np.outer(w_first, w_later).ravel()
        kept = weights > _LEAST
        return grid.reshape(-1, 2)[kept], weights[kept] / weights[kept].sum()


@dataclass(frozen=True)
class Look:
    """What a look saw and decided; everything so far, not since the look before.

    Attributes:
        number: 1 for the first.
        units: at risk, by ordinal.
        events: patients with an event.
        expected: events under the reference.
        threshold: events from which on the look signals (the region).
        statistic: log-likelihood ratio of the events.
        boundary: the same of the threshold.
        alpha_allowed: error that may be spent up to here.
        alpha_spent: exact chance of a signal up to here without an excess.
        decision: `end` where the fixed end is reached without a signal.
    """

    number: int
    units: Pair
    events: int
    expected: float
    threshold: int
    statistic: float
    boundary: float
    alpha_allowed: float
    alpha_spent: float
    decision: Decision

    def __str__(self) -> str:
        return (
            f"look {self.number}: {self.events} events, {self.expected:.2f} expected, signals from "
            f"{self.threshold} on; alpha spent {self.alpha_spent:.4f}; {self.decision}"
        )


@lru_cache(maxsize=256)
def _continuous(plan: Plan) -> float:
    return poisson_boundary(plan.max_expected, plan.alpha, plan.min_events).boundary


def allowed(plan: Plan, expected: float) -> float:
    """Return the error that may be spent up to an expected number of events.

    Errors:
        ValueError: no boundary spends this alpha (too few events are expected for `min_events`).
    """
    if expected >= plan.max_expected:
        return plan.alpha
    return poisson_alpha(_continuous(plan), expected, plan.min_events) if expected > 0 else 0.0


class SequentialTest:
    """A surveillance at work: what has not crossed so far, for each point of the reference."""

    def __init__(self, plan: Plan, reference: Reference) -> None:
        self.plan, self.reference = plan, reference
        self._rates, self._weights = reference.nodes()
        self._state = np.ones((len(self._weights), 1))
        self._reached = np.zeros(len(self._weights))  # the most that was expected so far
        self._known = sum(reference.events) if reference.events is not None else None
        self._most_expected = 0.0
        self._spent = 0.0
        self.last: Look | None = None

    def resume(self, looks: Sequence[Look]) -> SequentialTest:
        """Go through looks that were taken before, without judging them again; return itself."""
        for one in looks:
            self._take(one, self._counts(one.units))
        return self

    def look(self, units: Pair, events: int) -> Look | None:
        """Take a look; None where nothing has changed, it is too early, or all is decided.

        Args:
            units: at risk so far, by ordinal.
            events: patients with an event so far.

        Errors:
            ValueError: no boundary spends the plan's alpha.
        """
        last, expected = self.last, self.reference.expected(units)
        if expected is None or expected <= 0 or self._known == 0:
            return None
        if last is None and expected < self.plan.first_look_expected:
            return None
        if last and (last.decision != "continue" or (last.units, last.events) == (units, events)):
            return None
        counts = self._counts(units)
        found = self._judge(units, events, expected, counts)
        self._take(found, counts)
        return found

    def _judge(self, units: Pair, events: int, expected: float, counts: Floats) -> Look:
        most = max(self._most_expected, expected)
        may = allowed(self.plan, most)
        spread = self._weights @ counts
        # Chance that so many events, or more, are there and none of the looks before has crossed.
        tails = 1 - self._spent - np.concatenate(([0.0], np.cumsum(spread)))
        least = max(self.plan.min_events, int(expected) + 1)
        inside = np.flatnonzero(tails[least:] <= may - self._spent + _ROUNDING)
        threshold = least + int(inside[0]) if len(inside) else max(least, len(tails))
        cost = max(0.0, float(tails[threshold])) if threshold < len(tails) else 0.0
        decision: Decision = "end" if most >= self.plan.max_expected else "continue"
        return Look(
            number=self.last.number + 1 if self.last else 1,
            units=units,
            events=events,
            expected=round(expected, _DIGITS),
            threshold=threshold,
            statistic=round(self.ratio(events, expected), _DIGITS),
            boundary=round(self.ratio(threshold, expected), _DIGITS),
            alpha_allowed=round(may, _DIGITS),
            alpha_spent=round(self._spent + cost, _DIGITS),
            decision="signal" if events >= threshold else decision,
        )

    def ratio(self, events: int, expected: float) -> float:
        """Return the log-likelihood ratio of so many events."""
        if self._known is None:
            return poisson_llr(events, expected)
        return conditional_llr(events, expected / self._known, self._known)

    def _counts(self, units: Pair) -> Floats:
        """Return the chance, a row a point, of each count at these units that has not crossed."""
        added = np.maximum(self._rates @ np.array(units, dtype=np.float64) - self._reached, 0)
        most = int(stats.poisson.isf(1e-15, added.max())) + 1
        n, mean = np.arange(most + 1), added[:, None]
        # scipy's own function spends nine tenths of its time on checking its arguments.
        steps = np.exp(special.xlogy(n, mean) - mean - special.gammaln(n + 1))
        n_before = self._state.shape[1]
        counts = np.zeros((len(self._weights), n_before + most))
        for already in range(n_before):
            counts[:, already : already + most + 1] += self._state[:, already, None] * steps
        return counts

    def _take(self, look: Look, counts: Floats) -> None:
        reached = self._rates @ np.array(look.units, dtype=np.float64)
        self._state = counts[:, : look.threshold]
        self._reached = np.maximum(self._reached, reached)
        self._most_expected = max(self._most_expected, look.expected)
        # From the state, not the record, which is rounded: taken or resumed, both are the same.
        self._spent = float(1 - self._weights @ self._state.sum(axis=1))
        self.last = look


def crossing_chances(thresholds: Sequence[int], expected: Sequence[float]) -> Floats:
    """Return the chance that each look is the first to reach its threshold.

    Args:
        thresholds: per look the events from which on it signals.
        expected: per look the events that there truly are to be expected so far, rising.
    """
    states = walk(np.asarray(expected, dtype=np.float64), [n - 1 for n in thresholds])
    return -np.diff([float(state.sum()) for state in states])
