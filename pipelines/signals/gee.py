"""Generalised estimating equations: the sensitivity analysis beside the headline risk.

They weigh children, not infusions: a child who stops after a reaction counts as much as one who
goes on, so that the risk they give differs from events over units. Needs rows of units; only
estimates and standard errors may leave a site.

Source: Liang and Zeger 1986, Biometrika 73:13, with exchangeable correlation and robust errors.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

_Z = float(special.ndtri(0.975))
#: A chance this close to 0 or 1 is no estimate.
_CERTAIN = 1e-8


@dataclass(frozen=True)
class LogitFit:
    """Coefficients on the logit scale, their robust standard errors, and whether they settled.

    Attributes:
        coefficients, errors: one number a column; nan where there is none.
        correlation: between two units of one patient.
        converged: whether the equations are solved here.
        note: why not, if not.
    """

    coefficients: Floats
    errors: Floats
    correlation: float
    converged: bool
    note: str | None = None

    def __str__(self) -> str:
        if np.isnan(self.coefficients).all():
            return f"no logit: {self.note}"
        limits = (self.coefficients - _Z * self.errors, self.coefficients + _Z * self.errors)
        lines = [
            f"column {number}: odds ratio {value:.3g} ({low:.3g} to {high:.3g})"
            for number, (value, low, high) in enumerate(
                zip(*np.exp([self.coefficients, *limits]), strict=True)
            )
        ]
        settled = "converged" if self.converged else f"not converged: {self.note}"
        return "\n".join([*lines, f"correlation {self.correlation:.2g}; {settled}"])


def fit_exchangeable_logit(
    patient: NDArray[np.int_], event: NDArray[np.bool_], columns: Floats
) -> LogitFit:
    """Fit a logistic model whose units correlate within patients.

    Args:
        patient: number of the patient, a row a unit.
        event: whether the unit has the event.
        columns: covariates, a column of ones for the intercept included.
    """
    if event.all() or not event.any():
        return _nothing(columns, "no events, or nothing but events: there is no logit")
    import statsmodels.api as sm

    order = np.argsort(patient, kind="stable")
    model = sm.GEE(
        event[order].astype(np.float64),
        columns[order],
        groups=patient[order],
        family=sm.families.Binomial(),
        cov_struct=sm.cov_struct.Exchangeable(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # told by `converged`
        fit = model.fit(maxiter=200, ctol=1e-10)
    chance = np.asarray(fit.fittedvalues)
    if (np.minimum(chance, 1 - chance) < _CERTAIN).any():
        # The equations are solved ever better the further a coefficient runs away.
        return _nothing(columns, "separated: some units have no event, or all, for certain")
    settled = bool(fit.converged) and bool(np.isfinite(fit.bse).all())
    return LogitFit(
        np.asarray(fit.params, dtype=np.float64),
        np.asarray(fit.bse, dtype=np.float64),
        float(np.clip(model.cov_struct.dep_params, -1, 1)),
        converged=settled,
        note=None if settled else "the equations have no solution that can be found",
    )


def _nothing(columns: Floats, note: str) -> LogitFit:
    nothing = np.full(columns.shape[1], np.nan)
    return LogitFit(nothing, nothing, float("nan"), converged=False, note=note)
