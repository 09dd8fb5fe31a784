"""The risk by estimating equations, beside the headline risk: `signals.risk_gee`.

With an intercept alone the equations of Liang and Zeger (1986, Biometrika 73:13) need of each
patient only the number of events and of units. So they are solved for all rows at once from how
many patients have which pair: whole numbers, that add up over buckets to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pipelines.signals.columns import first_note, group_numbers, make_table, numbers, sorted_by
from pipelines.signals.counts import PATIENT, WATCHED_STRATA
from pipelines.signals.intervals import CONFIDENCE, Floats, interval_text
from pipelines.signals.risk import HEADLINE

_MOST_STEPS = 200
_SETTLED = 1e-12
_DUST = 1e-24
_KEY = PATIENT.keys[:-2]

Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class GeeRisks:
    """Columns of estimates, one row a group; nan where there is no number.

    Attributes:
        risk: the solution, a proportion.
        low, high: its 95 % limits, by t over patients on the logit scale, with G / (G - 1).
        log_odds: the solution on the logit scale.
        error: its sandwich standard error, as other software prints it (without G / (G - 1)).
        correlation: between two units of a patient; 0 where independence is assumed.
        is_converged: whether the exchangeable equations are solved.
        method: exchangeable, independence or none.
        note: what is missing, or fallen back on.
    """

    risk: Floats
    low: Floats
    high: Floats
    log_odds: Floats
    error: Floats
    correlation: Floats
    is_converged: Bools
    method: NDArray[np.object_]
    note: NDArray[np.object_]

    def __str__(self) -> str:
        told = zip(self.risk, self.low, self.high, self.method, self.note, strict=True)
        return "\n".join(
            interval_text(risk, low, high, note, form=".1%")
            + ("" if method == "none" else f", {method}")
            for risk, low, high, method, note in told
        )


class _Pairs:
    """Patients by their number of units n and of events e; `m` patients each, in groups."""

    def __init__(self, n: Floats, e: Floats, m: Floats, group: Ints, n_groups: int) -> None:
        self.n, self.e, self.m, self.group, self.n_groups = n, e, m, group, n_groups
        self.patients, self.units = self.sum(np.ones_like(n)), self.sum(n)
        self.events, self.pairs = self.sum(e), self.sum(n * (n - 1) / 2)

    def only(self, groups: Bools) -> _Pairs:
        """Return the rows of some groups, which keep their numbers; the others are empty."""
        at = np.flatnonzero(groups[self.group])
        return _Pairs(self.n[at], self.e[at], self.m[at], self.group[at], self.n_groups)

    def sum(self, values: Floats) -> Floats:
        summed = np.bincount(self.group, self.m * values, minlength=self.n_groups)
        return summed.astype(np.float64)

    def correlation(self, p: Floats) -> Floats:
        """Return the moment estimate of the correlation under risks p; 0 without pairs."""
        risk = p[self.group]
        variance = risk * (1 - risk)
        squares = (self.e * (1 - risk) ** 2 + (self.n - self.e) * risk**2) / variance
        products = ((self.e - self.n * risk) ** 2 / variance - squares) / 2
        scale = self.sum(squares) / (self.units - 1)
        return np.where(self.pairs > 0, self.sum(products) / scale / (self.pairs - 1), 0.0)

    def weights(self, alpha: Floats) -> Floats:
        return 1 / (1 + (self.n - 1) * alpha[self.group])

    def solution(self, weight: Floats) -> Floats:
        return self.sum(weight * self.e) / self.sum(weight * self.n)

    def error(self, p: Floats, weight: Floats) -> Floats:
        """Return the sandwich standard error on the logit scale."""
        meat = self.sum((weight * (self.e - self.n * p[self.group])) ** 2)
        # The same risk in every patient leaves the square of a rounding.
        meat = np.where(meat <= _DUST * self.sum((weight * self.e) ** 2), 0.0, meat)
        return np.sqrt(meat) / (p * (1 - p) * self.sum(weight * self.n))


def estimate_gee_risks(
    n_units: ArrayLike,
    n_events: ArrayLike,
    n_patients: ArrayLike,
    group: Ints | None = None,
    n_groups: int = 1,
) -> GeeRisks:
    """Solve the equations of an intercept with exchangeable correlation, for all groups at once.

    Estimand: the probability of an event of a unit, patients weighed by how much their units tell
    when these hang together: many units of one patient count for less than in events over units.

    Args:
        n_units: units of a patient, above zero, one row a pair.
        n_events: events of that patient.
        n_patients: patients who have this pair.
        group: number of each row's group; None where there is one group.
        n_groups: how many groups there are; one without rows has no units.
    """
    n, e, m = (np.asarray(x, dtype=np.float64) for x in (n_units, n_events, n_patients))
    group = np.zeros(len(n), dtype=np.intp) if group is None else group
    told = _Pairs(n, e, m, group, n_groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha, is_converged = _solve(told)
        weight = told.weights(alpha)
        p = told.solution(weight)
        error = told.error(p, weight)
        log_odds = special.logit(p)
        g = told.patients
        half = special.stdtrit(g - 1, 1 - (1 - CONFIDENCE) / 2) * error * np.sqrt(g / (g - 1))
    is_flat = (told.events == 0) | (told.events == told.units)
    is_none = is_flat | (g < 2)
    is_stiff = ~is_none & ~(error > 0)
    note = first_note(
        g,
        (told.units == 0, "no units"),
        (is_flat, "no event, or nothing but events: there is no logit"),
        (g < 2, "one patient: no variance between patients"),
        (is_stiff, "the same risk in every patient: no variance between patients"),
        (~is_converged, "not converged: units of a patient taken as independent, errors robust"),
        (told.pairs == 0, "one unit a patient: nothing to correlate"),
    )

    def shown(column: Floats, hidden: Bools) -> Floats:
        return np.where(hidden, np.nan, column)

    return GeeRisks(
        risk=shown(p, is_none),
        low=shown(special.expit(log_odds - half), is_none | is_stiff),
        high=shown(special.expit(log_odds + half), is_none | is_stiff),
        log_odds=shown(log_odds, is_none),
        error=shown(error, is_none | is_stiff),
        correlation=shown(alpha, is_none),
        is_converged=is_converged & ~is_none,
        method=np.where(is_none, "none", np.where(is_converged, "exchangeable", "independence")),
        note=note,
    )


def _solve(told: _Pairs) -> tuple[Floats, Bools]:
    """Return each group's correlation, 0 where the equations do not settle, and whether they did.

    A group that has settled is left alone: no row depends on which others are in the table.
    """
    largest = np.zeros(told.n_groups)
    np.maximum.at(largest, told.group, told.n)
    p = told.events / told.units
    alpha = np.zeros(told.n_groups)
    is_done = np.zeros(told.n_groups, dtype=np.bool_)
    is_lost = ~((p > 0) & (p < 1))
    for _ in range(_MOST_STEPS):
        is_open = ~is_done & ~is_lost
        if not is_open.any():
            break
        told = told.only(is_open)
        new = np.where(is_open, told.correlation(p), alpha)
        # Beyond these bounds there is no such correlation of so many units.
        is_lost |= is_open & ~((new < 1) & (1 + (largest - 1) * new > 0))
        alpha = np.where(is_lost, 0.0, new)
        risk = told.solution(told.weights(alpha))
        is_lost |= is_open & ~((risk > 0) & (risk < 1))
        is_done |= is_open & ~is_lost & (np.abs(special.logit(risk) - special.logit(p)) < _SETTLED)
        p = np.where(is_open, risk, p)
    return np.where(is_done, alpha, 0.0), is_done


RISK_GEE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in _KEY]
    + [(name, pa.int64()) for name in ("n_units", "n_events", "n_patients")]
    + [
        (name, pa.float64())
        for name in (
            *("risk", "gee_risk", "ci_low", "ci_high"),
            *("log_odds", "standard_error", "correlation"),
        )
    ]
    + [("is_converged", pa.bool_()), ("method", pa.string()), ("note", pa.string())]
)


def risk_gee_table(counts: pa.Table, by_patient: pa.Table) -> pa.Table:
    """Return `signals.risk_gee` (RISK_GEE_SCHEMA), by key.

    Args:
        counts: rows of `signals.counts`; each of the headline denominator in WATCHED_STRATA
            has a row.
        by_patient: rows of `signals.counts_patient`.
    """
    is_headline = pc.is_in(counts["denominator"], value_set=pa.array([HEADLINE]))
    has_row = pc.and_(is_headline, pc.is_in(counts["stratum"], value_set=pa.array(WATCHED_STRATA)))
    keys = sorted_by(counts.filter(has_row), *_KEY)
    # As numbers: the order of rows, and so of their sums, is that of no bucket.
    by_patient = sorted_by(by_patient, *PATIENT.keys)
    both = pa.concat_tables([keys.select(list(_KEY)), by_patient.select(list(_KEY))])
    group = group_numbers(both, *_KEY)
    place = np.full(int(group.max(initial=-1)) + 1, keys.num_rows, dtype=np.intp)
    place[group[: keys.num_rows]] = np.arange(keys.num_rows)
    units, events, patients = numbers(by_patient, "n_units", "n_events", "n_patients")
    found = estimate_gee_risks(
        units, events, patients, place[group[keys.num_rows :]], keys.num_rows
    )
    n, e = numbers(keys, "n_units", "n_events")
    with np.errstate(divide="ignore", invalid="ignore"):
        risk = e / n
    made = {
        "risk": risk,
        "gee_risk": found.risk,
        "ci_low": found.low,
        "ci_high": found.high,
        "log_odds": found.log_odds,
        "standard_error": found.error,
        "correlation": found.correlation,
        "is_converged": found.is_converged,
        "method": found.method,
        "note": found.note,
    }
    return make_table(RISK_GEE_SCHEMA, made, keys)
