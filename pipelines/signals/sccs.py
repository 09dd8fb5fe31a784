"""The self-controlled case series: is the rate higher in risk windows of the same patient?

Only patients with an event tell anything. Each patient's events are spread over stretches of their
observed time; given how many there are, where they fall is multinomial, with chances proportional
to length times rate ratio. Whatever does not change within a patient cancels out. The same
estimates as a Poisson regression with an intercept a patient, at a fraction of its size.

Sources: Farrington 1995, Biometrics 51:228; Whitaker et al. 2006, Stat Med 25:1768.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

_Z = float(special.ndtri(0.975))
_MOST_STEPS = 100
#: Beyond this a log rate ratio is no estimate: there is no event on one side.
_SEPARATED = 15.0


@dataclass(frozen=True)
class Series:
    """Stretches of observed time, one row each.

    Attributes:
        patient: number of the patient, any integers.
        days: length above zero.
        events: events in the stretch.
        exposure: columns that are 1 where the stretch lies in a risk window or an age band.
    """

    patient: NDArray[np.int_]
    days: Floats
    events: NDArray[np.int_]
    exposure: Floats


@dataclass(frozen=True)
class SeriesFit:
    """Log rate ratios of the columns of exposure, with their covariance.

    Attributes:
        log_ratio: one number a column.
        covariance: inverse of the information.
        n_patients: patients with an event.
        converged: whether the likelihood has its maximum here.
        note: why not, if not.
    """

    log_ratio: Floats
    covariance: Floats
    n_patients: int
    converged: bool
    note: str | None = None

    def __str__(self) -> str:
        """Return the ratios; none where the likelihood has no maximum, which is no estimate."""
        if not self.converged:
            return f"no ratios: {self.note} ({self.n_patients} patients)"
        told = (self.ratio(number) for number in range(len(self.log_ratio)))
        lines = [
            f"column {number}: rate ratio {value:.3g} ({low:.3g} to {high:.3g})"
            for number, (value, low, high) in enumerate(told)
        ]
        return "\n".join([*lines, f"{self.n_patients} patients with an event"])

    def ratio(self, column: int) -> tuple[float, float, float]:
        """Return a column's rate ratio with its 95 % limits."""
        half = _Z * float(self.covariance[column, column]) ** 0.5
        log = float(self.log_ratio[column])
        return float(np.exp(log)), float(np.exp(log - half)), float(np.exp(log + half))


def fit_series(series: Series) -> SeriesFit:
    """Fit the conditional likelihood by Newton's method with halved steps.

    Errors:
        ValueError: lengths are not above zero, or there is no event.
    """
    if (series.days <= 0).any():
        msg = "every stretch has a length above zero"
        raise ValueError(msg)
    patients, owner = np.unique(series.patient, return_inverse=True)
    per_patient = np.bincount(owner, series.events, minlength=len(patients)).astype(np.float64)
    kept = per_patient[owner] > 0
    if not kept.any():
        msg = "no patient has an event"
        raise ValueError(msg)
    likelihood = _Likelihood(series, owner, per_patient, kept)
    return likelihood.maximum(int((per_patient > 0).sum()))


class _Likelihood:
    def __init__(
        self, series: Series, owner: NDArray[np.int_], per_patient: Floats, kept: NDArray[np.bool_]
    ) -> None:
        self._x = np.asarray(series.exposure, dtype=np.float64)[kept]
        self._offset = np.log(series.days[kept])
        self._events = series.events[kept].astype(np.float64)
        self._owner, self._n = owner[kept], per_patient
        self._of = self._n[self._owner]

    def _sum(self, values: Floats) -> Floats:
        return np.bincount(self._owner, values, minlength=len(self._n)).astype(np.float64)

    def _share(self, beta: Floats) -> tuple[Floats, Floats]:
        """Return the linear predictor and each stretch's chance among those of its patient."""
        eta = self._offset + self._x @ beta
        eta -= eta.max()
        weight = np.exp(eta)
        return eta, weight / self._sum(weight)[self._owner]

    def value(self, beta: Floats) -> float:
        _, share = self._share(beta)
        return float(special.xlogy(self._events, share).sum())

    def slopes(self, beta: Floats) -> tuple[Floats, Floats]:
        """Return gradient and information."""
        _, share = self._share(beta)
        mean = self._of * share
        gradient = self._x.T @ (self._events - mean)
        inside = np.stack([self._sum(share * column) for column in self._x.T], axis=1)
        second = self._x.T @ (self._x * mean[:, None])
        return gradient, second - inside.T @ (inside * self._n[:, None])

    def maximum(self, n_patients: int) -> SeriesFit:
        beta = np.zeros(self._x.shape[1])
        value = self.value(beta)
        for _ in range(_MOST_STEPS):
            gradient, information = self.slopes(beta)
            step = np.linalg.lstsq(information, gradient, rcond=None)[0]
            if float(np.abs(step).max(initial=0.0)) < 1e-10:
                return SeriesFit(beta, _inverse(information), n_patients, *_told(information))
            while (new := self.value(beta + step)) < value and float(np.abs(step).max()) > 1e-12:
                step = step / 2
            beta, value = beta + step, new
            if float(np.abs(beta).max()) > _SEPARATED:
                break
        gradient, information = self.slopes(beta)
        note = "separated: no event inside or outside of a column's windows"
        return SeriesFit(beta, _inverse(information), n_patients, converged=False, note=note)


def _inverse(information: Floats) -> Floats:
    return np.asarray(np.linalg.pinv(information), dtype=np.float64)


def _told(information: Floats) -> tuple[bool, str | None]:
    if np.linalg.matrix_rank(information) < len(information):
        return False, "a column says nothing that the others do not"
    return True, None
