"""The case series beside the risk interval: `signals.self_controlled`, method `sccs`.

Observed time is the risk and control windows of a patient's units, each with its own length; the
patient's age band at the index is a covariate, and risk windows are compared with control windows.
Where none was cut and nobody passed into another age band, it is the risk interval again.

Source: Whitaker et al. 2006, Stat Med 25:1768 (see `sccs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.signals.columns import group_numbers, numbers
from pipelines.signals.intervals import Floats
from pipelines.signals.sccs import Series, fit_series
from pipelines.signals.self_controlled import (
    CUT_BY_END,
    CUT_BY_NEXT,
    NO_EVENT,
    SELF_CONTROLLED_SCHEMA,
)

METHOD = "sccs"
NO_RISK_EVENT = "separated: no event in a risk window"
NO_CONTROL_EVENT = "separated: no event in a control window"
WITHOUT_AGE = "age left out: with it there is no maximum"

_DAY_US = 86_400_000_000
_KEY = ("site_id", "outcome", "stratum", "stratum_value")


@dataclass(frozen=True)
class CaseSeries:
    """The rate in risk windows over that in control windows, given each patient's events.

    Attributes:
        ratio: None where note says why.
        low, high: Wald's 95 % limits on the log scale.
        is_converged: whether the likelihood has its maximum here, with age where that was asked.
        has_age: whether age bands were in the model.
        note: why something is missing or was left out.
    """

    ratio: float | None
    low: float | None
    high: float | None
    is_converged: bool
    has_age: bool
    note: str | None = None

    def __str__(self) -> str:
        if self.ratio is None:
            return f"no ratio: {self.note}"
        told = f" ({self.note})" if self.note else ""
        return f"{self.ratio:.3g} ({self.low:.3g}-{self.high:.3g}){told}"


def estimate_case_series(
    patient: NDArray[np.intp],
    days: Floats,
    events: Floats,
    is_risk: NDArray[np.bool_],
    age_band: NDArray[np.intp],
) -> CaseSeries:
    """Estimate the rate ratio of risk against control windows, adjusted for age bands.

    Args:
        patient: number of the patient, a row a stretch of time.
        days: length, above zero.
        events: in the stretch.
        is_risk: whether it lies in risk windows.
        age_band: number of the age band.
    """
    if not events.sum():
        return CaseSeries(None, None, None, is_converged=False, has_age=False, note=NO_EVENT)
    for side, said in ((is_risk, NO_RISK_EVENT), (~is_risk, NO_CONTROL_EVENT)):
        if not events[side].sum():
            return CaseSeries(None, None, None, is_converged=False, has_age=False, note=said)
    columns = _columns(patient, is_risk, age_band, events)
    note = None
    fit = fit_series(Series(patient, days, events.astype(np.intp), columns))
    if not fit.converged and columns.shape[1] > 1:
        note, columns = WITHOUT_AGE, columns[:, :1]
        fit = fit_series(Series(patient, days, events.astype(np.intp), columns))
    if not fit.converged:
        return CaseSeries(None, None, None, is_converged=False, has_age=False, note=fit.note)
    return CaseSeries(*fit.ratio(0), note is None, columns.shape[1] > 1, note)


def _columns(
    patient: NDArray[np.intp], is_risk: NDArray[np.bool_], age_band: NDArray[np.intp], e: Floats
) -> Floats:
    """Return the risk window and the age bands that tell more than the columns before them.

    Only what differs within a patient tells anything: a band that nobody leaves is no column.
    """
    patients, owner = np.unique(patient, return_inverse=True)
    n_rows = np.bincount(owner)
    told = np.bincount(owner, e, minlength=len(patients)) > 0

    def within(columns: Floats) -> Floats:
        means = [np.bincount(owner, column) / n_rows for column in columns.T]
        centred = columns - np.stack(means, axis=1)[owner]
        return np.asarray(centred[told[owner]], dtype=np.float64)

    kept = is_risk.astype(np.float64)[:, None]
    for band in np.unique(age_band)[1:]:
        wider = np.column_stack([kept, age_band == band])
        if np.linalg.matrix_rank(within(wider)) == wider.shape[1]:
            kept = wider
    return kept


def case_series_rows(stretches: pa.Table, study_id: str) -> pa.Table:
    """Return rows of `signals.self_controlled` (SELF_CONTROLLED_SCHEMA), by outcome and stratum.

    Args:
        stretches: site_id, outcome, stratum, stratum_value, patient_key, age_band, is_risk,
            n_events, at_risk_us, is_cut_by_next and is_cut_by_end, sorted by all of the first
            seven.
        study_id: of the rows; the outcomes are independent.
    """
    return pa.Table.from_pylist(list(_rows(stretches, study_id)), schema=SELF_CONTROLLED_SCHEMA)


def _rows(stretches: pa.Table, study_id: str) -> Iterator[dict[str, object]]:
    """Yield a row a group: each is a fit of its own."""
    group = group_numbers(stretches, *_KEY)
    patient = group_numbers(stretches, "patient_key")
    _, age_band = np.unique(
        stretches["age_band"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True
    )
    events, time_us = numbers(stretches, "n_events", "at_risk_us")
    is_risk, by_next, by_end = (
        np.asarray(stretches[name].to_numpy(zero_copy_only=False), dtype=np.bool_)
        for name in ("is_risk", "is_cut_by_next", "is_cut_by_end")
    )
    # Rows of a group lie together.
    parts = np.split(np.arange(len(group)), np.flatnonzero(np.diff(group)) + 1)
    for at in parts if len(group) else ():
        [key] = stretches.select(list(_KEY)).slice(at[0], 1).to_pylist()
        found = estimate_case_series(
            patient[at], time_us[at] / _DAY_US, events[at], is_risk[at], age_band[at]
        )
        cases = np.unique(patient[at][events[at] > 0])
        at = at[np.isin(patient[at], cases)]
        risk, control = at[is_risk[at]], at[~is_risk[at]]
        n_next, n_end = (len(np.unique(patient[at][cut[at]])) for cut in (by_next, by_end))
        notes = [found.note]
        if found.ratio is not None:
            notes += [CUT_BY_NEXT if n_next else None, CUT_BY_END if n_end else None]
        yield key | {
            "study_id": study_id,
            "method": METHOD,
            "ascertainment": "independent",
            "n_patients": len(cases),
            "n_risk_events": int(events[risk].sum()),
            "n_control_events": int(events[control].sum()),
            "risk_days": float(time_us[risk].sum()) / _DAY_US,
            "control_days": float(time_us[control].sum()) / _DAY_US,
            "rate_ratio": found.ratio,
            "ci_low": found.low,
            "ci_high": found.high,
            "wald_low": found.low,
            "wald_high": found.high,
            "n_cut_by_next": n_next,
            "n_cut_by_end": n_end,
            "cut_by_next_share": n_next / len(cases) if len(cases) else None,
            "cut_by_end_share": n_end / len(cases) if len(cases) else None,
            "is_converged": found.is_converged,
            "adjusted_for": "age_band" if found.has_age else None,
            "note": "; ".join(note for note in notes if note) or None,
        }
