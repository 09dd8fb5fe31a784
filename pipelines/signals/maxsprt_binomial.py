"""The sequential test of self-controlled counts: of each event, is it a case or a control?

An event lies in the risk window of its patient or in the control window; without an excess the
chance is the share of the risk window in both. Nothing has to be known of the rate.

Source: Kulldorff et al. 2011, Sequential Analysis 30:58-78.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from pipelines.signals.maxsprt import Boundary, largest


def binomial_llr(cases: int, total: int, p: float) -> float:
    """Return the log-likelihood ratio of more cases in the risk window than chance `p` gives."""
    if total == 0 or cases <= total * p:
        return 0.0
    inside = special.xlogy(cases, cases / (total * p))
    return float(inside + special.xlogy(total - cases, (total - cases) / (total * (1 - p))))


def binomial_alpha(thresholds: Sequence[int], p: float) -> float:
    """Return the exact chance that, after any event n, at least thresholds[n - 1] are cases.

    Args:
        thresholds: per total number of events; more than the total means never.
        p: chance that an event is a case: length of the risk window over that of both.
    """
    state = np.ones(1)
    crossed = 0.0
    for threshold in thresholds:
        state = np.convolve(state, [1 - p, p])
        crossed += float(state[threshold:].sum())
        state[threshold:] = 0.0
    return crossed


def binomial_boundary(most: int, p: float, alpha: float = 0.05, min_events: int = 1) -> Boundary:
    """Return the largest region of a binomial MaxSPRT (self-controlled) that ends after `most`.

    Args:
        most: events, cases and controls, at which surveillance ends; fixed beforehand.
        p: chance that an event is a case without an excess.
        alpha: error that may be spent.
        min_events: events that there must be to reject.
    """
    totals = range(1, most + 1)

    def thresholds(boundary: float) -> tuple[int, ...]:
        return tuple(
            next(
                (k for k in range(n + 1) if n >= min_events and binomial_llr(k, n, p) >= boundary),
                n + 1,
            )
            for n in totals
        )

    ratios = {binomial_llr(k, n, p) for n in totals for k in range(n + 1)} - {0.0}
    candidates = [*sorted(ratios), max(ratios) + 1]  # the last one never rejects
    return largest(candidates, thresholds, lambda found: binomial_alpha(found, p), alpha)
