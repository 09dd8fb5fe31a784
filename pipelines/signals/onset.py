"""When an outcome begins: survival and cumulative incidence from counts of bins of time.

A bin is an instant at which something happened, or an interval in which it is not told when; its
row says how many were at risk at its start and how many then had the event, a competing event, or
left. Such rows add up over buckets and hospitals. Who leaves in a bin counts as at risk in it, also
where the event of another lies in the same bin.

Sources: Kaplan and Meier 1958, JASA 53:457; Kalbfleisch and Prentice 2002, The Statistical Analysis
of Failure Time Data (log-log limits); Aalen and Johansen 1978, Scand J Stat 5:141; Marubini and
Valsecchi 1995, Analysing Survival Data from Clinical Trials (its variance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pipelines.signals.intervals import Floats, interval_text

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

    def __str__(self) -> str:
        limits = "no limits" if self.low is None else f"{self.low:.1%}-{self.high:.1%}"
        return f"from {self.at:g} on {self.value:.1%} ({limits})"


@dataclass(frozen=True)
class Curves:
    """Values after each bin with 95 % limits; a limit that cannot be told is nan.

    Attributes:
        event_free: share without the event if nothing else took anybody away (Kaplan-Meier).
        free_low, free_high: limits by Greenwood's variance on the log-log scale.
        incidence: share that has had the event, others gone by a competing one (Aalen-Johansen).
        incidence_low, incidence_high: limits by its delta-method variance on the same scale.
    """

    event_free: Floats
    free_low: Floats
    free_high: Floats
    incidence: Floats
    incidence_low: Floats
    incidence_high: Floats

    def __str__(self) -> str:
        free = zip(self.event_free, self.free_low, self.free_high, strict=True)
        had = zip(self.incidence, self.incidence_low, self.incidence_high, strict=True)
        return "\n".join(
            f"event-free {interval_text(*a, None, '.1%')}, had it {interval_text(*b, None, '.1%')}"
            for a, b in zip(free, had, strict=True)
        )


def estimate_curves(
    curve: NDArray[np.intp], n_at_risk: Floats, n_events: Floats, n_competing: Floats
) -> Curves:
    """Estimate all curves at once, a row a bin.

    Units are taken as independent: limits are too narrow where few patients have most events.

    Args:
        curve: number of the curve of each bin; bins of one curve together, in order of time.
        n_at_risk: at the start of the bin; nobody at risk changes nothing.
        n_events: in the bin, of those at risk.
        n_competing: in the bin, of the others at risk: whom the event can no longer reach.
    """
    n, events = np.maximum(n_at_risk, 1.0), n_events
    gone = n_events + n_competing
    free, greenwood, incidence, variance = (np.empty(len(curve)) for _ in range(4))
    starts = np.flatnonzero(np.diff(curve, prepend=-1))
    lengths = np.diff(starts, append=len(curve))
    # From the longest on: who still has a bin at a place is a slice.
    starts = starts[np.argsort(-lengths, kind="stable")]
    state = _State(len(starts))
    for place, n_left in enumerate(_longer_than(lengths)):
        at = starts[:n_left] + place
        state.cut(n_left)
        state.step(n[at], events[at], gone[at])
        free[at], greenwood[at] = state.free, state.greenwood
        incidence[at], variance[at] = state.incidence, state.variance()
    low, high = _log_log(free, free * np.sqrt(greenwood))
    kept_low, kept_high = _log_log(1 - incidence, np.sqrt(np.maximum(0.0, variance)))
    # One less one less a share leaves dust: the limits hold the estimate all the same.
    around = np.minimum(1 - kept_high, incidence), np.maximum(1 - kept_low, incidence)
    return Curves(free, low, high, incidence, *around)


def _longer_than(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each place, from 0, how many curves have a bin there."""
    return len(lengths) - np.cumsum(np.bincount(lengths))[:-1] if len(lengths) else lengths


class _State:
    """Sums over the bins so far, an entry a curve.

    The variance of the incidence I after bin k sums, over bins j up to k, with rest = I_k - I_j:
    rest^2 * a_j + b_j - 2 * rest * c_j. Kept as sums that a step of I shifts, none is a difference
    of large numbers.
    """

    def __init__(self, n_curves: int) -> None:
        self.free = np.ones(n_curves)
        self.greenwood, self.incidence, self.share, self.competing = np.zeros((4, n_curves))
        self.share += 1.0  # neither had the event nor a competing one
        self._a, self._rest_a, self._rest2_a, self._b, self._c, self._rest_c = np.zeros(
            (6, n_curves)
        )

    def cut(self, n_curves: int) -> None:
        """Keep the first curves."""
        for name, values in vars(self).items():
            setattr(self, name, values[:n_curves])

    def step(self, n: Floats, events: Floats, gone: Floats) -> None:
        """Take one bin of each curve: at risk, with the event, and gone in whatever way."""
        left = n - events
        self.free = self.free * (left / n)
        self.greenwood = self.greenwood + _over(events, n * left)
        added = self.share * events / n
        self._rest2_a = self._rest2_a + added * (2 * self._rest_a + added * self._a)
        self._rest_a = self._rest_a + added * self._a
        self._rest_c = self._rest_c + added * self._c
        self._a = self._a + _over(gone, n * (n - gone))
        self._b = self._b + self.share**2 * events * left / n**3
        self._c = self._c + self.share * events / n**2
        self.share = self.share * ((n - gone) / n)
        self.competing = self.competing + (gone - events)
        # All of them: sums of shares would leave dust.
        is_all = (self.share == 0) & (self.competing == 0)
        self.incidence = np.where(is_all, 1.0, self.incidence + added)

    def variance(self) -> Floats:
        return self._rest2_a + self._b - 2 * self._rest_c


def _over(top: Floats, bottom: Floats) -> Floats:
    """Return a quotient; 0 where nobody is left to be uncertain about."""
    return np.divide(top, bottom, out=np.zeros_like(bottom), where=bottom > 0)


def _log_log(kept: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Return limits within 0 and 1 that hold the share, from its standard error."""
    share = np.where((kept > 0) & (kept < 1), kept, np.nan)
    factor = np.exp(_Z * error / (-share * np.log(share)))
    low, high = share**factor, share ** (1 / factor)
    return np.minimum(low, share), np.maximum(high, share)


def kaplan_meier(sets: Sequence[RiskSet]) -> list[Step]:
    """Return the share still free of the event after each time that has one, in order of time."""
    found, rows = _one_curve(sets)
    return _steps(rows, found.event_free, found.free_low, found.free_high)


def cumulative_incidence(sets: Sequence[RiskSet]) -> list[Step]:
    """Return the share that has had the event by each time, others gone by a competing one."""
    found, rows = _one_curve(sets)
    return _steps(rows, found.incidence, found.incidence_low, found.incidence_high)


def _one_curve(sets: Sequence[RiskSet]) -> tuple[Curves, list[RiskSet]]:
    rows = sorted(sets, key=lambda one: one.at)
    told = [(one.n_at_risk, one.n_events, one.n_competing) for one in rows]
    n, events, competing = np.array(told, dtype=np.float64).reshape(-1, 3).T
    return estimate_curves(np.zeros(len(rows), dtype=np.intp), n, events, competing), rows


def _steps(rows: Sequence[RiskSet], *columns: Floats) -> list[Step]:
    told = [
        Step(one.at, float(value), *(None if np.isnan(x) else float(x) for x in limits))
        for one, value, *limits in zip(rows, *columns, strict=True)
    ]
    return list(compress(told, (one.n_events for one in rows)))
