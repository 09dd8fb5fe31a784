"""Intervals of a proportion and of a Poisson mean, of single numbers or of whole columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]

CONFIDENCE = 0.95


def interval_text(
    value: float, low: float, high: float, note: str | None, form: str = ".3g", unit: str = ""
) -> str:
    """Return an estimate with its limits in words; what is nan is not told, and `note` says why."""
    why = f": {note}" if note else ""
    if np.isnan(value) and np.isnan(low):
        return f"no estimate{why}"
    told = "no estimate" if np.isnan(value) else f"{value:{form}}{unit}"
    if np.isnan(low):
        return f"{told} (no limits{why})"
    to = "no upper limit" if np.isnan(high) else f"{high:{form}}"
    return f"{told} ({low:{form}} to {to}{f'; {note}' if note else ''})"


def _array(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def clopper_pearson(
    events: ArrayLike, units: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """Return the exact binomial interval; events and units may be fractional (effective counts).

    Source: Clopper and Pearson 1934, Biometrika 26:404, in its beta form.
    """
    e, n = _array(events), _array(units)
    tail = (1 - confidence) / 2
    with np.errstate(invalid="ignore"):
        low = np.where(e <= 0, 0.0, special.betaincinv(e, n - e + 1, tail))
        high = np.where(e >= n, 1.0, special.betaincinv(e + 1, n - e, 1 - tail))
    return low, high


def wilson(
    events: ArrayLike, units: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """Return the score interval of independent units (Wilson 1927, JASA 22:209)."""
    e, n = _array(events), _array(units)
    z = float(special.ndtri(1 - (1 - confidence) / 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        p = e / n
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n**2)) ** 0.5
    # At 0 and at all events the limit is exactly 0 or 1; the arithmetic leaves dust.
    low = np.where(e == 0, 0.0, np.maximum(0.0, centre - half))
    return low, np.where(e == n, 1.0, np.minimum(1.0, centre + half))


def garwood(events: ArrayLike, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Return the exact interval of a Poisson mean of which `events` were seen.

    Source: Garwood 1936, Biometrika 28:437.
    """
    e = _array(events)
    tail = (1 - confidence) / 2
    low = np.where(e <= 0, 0.0, special.gammaincinv(np.maximum(e, 0.5), tail))
    return low, np.asarray(special.gammainccinv(e + 1, tail), dtype=np.float64)
