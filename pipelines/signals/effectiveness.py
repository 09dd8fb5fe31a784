"""Bone density and fractures before and after treatment began: `signals.effectiveness`.

Nothing here is causal. Children grow, are treated because of a fracture, and whoever leaves is not
measured again. Needs rows of patients; estimates and standard errors may leave a site.

Sources: the change has the paired t interval, which is that of estimating equations with the two
scans of a patient as a cluster (Liang and Zeger 1986, Biometrika 73:13), times G / (G - 1); the
ratio of rates is linearised over patients, as are ratios of sums in surveys (Binder 1983, Int Stat
Rev 51:279).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pipelines.signals.columns import first_note, group_numbers, make_table, numbers, sorted_by
from pipelines.signals.comparison import FEW, FEWEST_EVENTS
from pipelines.signals.intervals import CONFIDENCE, Floats, interval_text

LABEL = "before-after, not causal"
DENSITY, FRACTURE = "density_z_change", "fracture_rate_ratio"
#: One child with a fracture before and one after, and others without any, would be 1 (1 to 1).
NO_VARIANCE = "the same change in every patient: no variance"
#: Notes that stand beside an estimate; any other stands in its place.
_SPEAKING = frozenset({None, NO_VARIANCE, FEW})
#: Squares below this share are those of rounding.
_DUST = 1e-24

_YEAR_DAYS = 365.25
_STRATA = ("all", "drug", "indication_type")
_KEY = ("site_id", "stratum", "stratum_value")

Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Compared:
    """Columns of before-after estimates, one row a group; nan where there is no number.

    Attributes:
        estimate: mean change (after less before), or rate after over rate before.
        low, high: 95 % limits over patients.
        error: standard error, of the logarithm for ratios.
        before, after: mean value, or events per patient-year, of the patients compared.
        n_patients: patients compared.
        note: why there is no estimate, or an estimate without limits; None where there are both.
    """

    estimate: Floats
    low: Floats
    high: Floats
    error: Floats
    before: Floats
    after: Floats
    n_patients: Floats
    note: NDArray[np.object_]

    def __str__(self) -> str:
        told = zip(self.estimate, self.low, self.high, self.n_patients, self.note, strict=True)
        return "\n".join(
            f"{interval_text(estimate, low, high, note)}"
            + ("" if np.isnan(estimate) else f", {n:.0f} patients; {LABEL}")
            for estimate, low, high, n, note in told
        )


def mean_changes(
    before: ArrayLike,
    after: ArrayLike,
    group: Ints | None = None,
    n_groups: int = 1,
    min_patients: int = 2,
) -> Compared:
    """Estimate the mean change within patients, with the paired t interval.

    Estimand: mean over patients who have both values of after less before, in their unit.

    Args:
        before: one value a patient.
        after: the same patients' later values.
        group: number of each patient's group; None where there is one group.
        n_groups: how many groups there are.
        min_patients: with fewer there is no estimate.
    """
    first, then = (np.asarray(x, dtype=np.float64) for x in (before, after))
    group = np.zeros(len(first), dtype=np.intp) if group is None else group
    n = _sums(group, n_groups, np.ones(len(first)))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = _sums(group, n_groups, then - first) / n
        squares = _sums(group, n_groups, (then - first - mean[group]) ** 2)
        is_flat = squares <= _DUST * _sums(group, n_groups, first**2 + then**2)
        error = np.where(is_flat, np.nan, np.sqrt(squares / (n - 1) / n))
        half = special.stdtrit(n - 1, 1 - (1 - CONFIDENCE) / 2) * error
        means = [_sums(group, n_groups, x) / n for x in (first, then)]
    note = first_note(
        n,
        (n == 0, "no patient has a value before and after"),
        (n < min_patients, "fewer patients with a value before and after than min_patients"),
        (is_flat, NO_VARIANCE),
    )
    return _told(note, n, n >= min_patients, (mean, mean - half, mean + half, error), means)


def rate_ratios(
    before: tuple[ArrayLike, ArrayLike],
    after: tuple[ArrayLike, ArrayLike],
    group: Ints | None = None,
    n_groups: int = 1,
    min_patients: int = 2,
) -> Compared:
    """Estimate the ratio of two rates of the same patients, whose events hang together.

    Estimand: events per patient-year after over the same before, of patients followed on both
    sides. Limits by t over patients on the log scale; none without an event on either side.

    Args:
        before: events and years of each patient before.
        after: the same after.
        group: number of each patient's group; None where there is one group.
        n_groups: how many groups there are.
        min_patients: with fewer there is no estimate.
    """
    (e0, t0), (e1, t1) = (
        [np.asarray(x, dtype=np.float64) for x in side] for side in (before, after)
    )
    group = np.zeros(len(e0), dtype=np.intp) if group is None else group
    n, all_e0, all_t0, all_e1, all_t1 = (
        _sums(group, n_groups, x) for x in (np.ones(len(e0)), e0, t0, e1, t1)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        rate0, rate1 = all_e0 / all_t0, all_e1 / all_t1
        part = (e1 - rate1[group] * t1) / all_e1[group] - (e0 - rate0[group] * t0) / all_e0[group]
        squares = _sums(group, n_groups, part**2)
        error = np.where(squares <= _DUST, np.nan, np.sqrt(squares * n / (n - 1)))
        half = special.stdtrit(n - 1, 1 - (1 - CONFIDENCE) / 2) * error
        log = np.log(rate1 / rate0)
        found = (np.exp(log), np.exp(log - half), np.exp(log + half), error)
    note = first_note(
        n,
        (n == 0, "no patient is followed before and after"),
        (n < min_patients, "fewer patients followed before and after than min_patients"),
        (all_e0 + all_e1 == 0, "no event before or after: none, or none recorded"),
        (all_e0 == 0, "no event before: no ratio"),
        (all_e1 == 0, "no event after: no ratio"),
        (squares <= _DUST, NO_VARIANCE),
        (np.minimum(all_e0, all_e1) < FEWEST_EVENTS, FEW),
    )
    # No event at all may be no feed of events: no rate of 0.
    is_shown = (n >= min_patients) & (all_e0 + all_e1 > 0)
    return _told(note, n, is_shown, found, [rate0, rate1])


def _sums(group: Ints, n_groups: int, values: Floats) -> Floats:
    return np.bincount(group, values, minlength=n_groups).astype(np.float64)


def _told(
    note: NDArray[np.object_],
    n: Floats,
    is_shown: NDArray[np.bool_],
    found: tuple[Floats, ...],
    means: list[Floats],
) -> Compared:
    """Return what may be shown: a mean of too few patients is nearly a patient's own value."""
    is_silent = np.array([text not in _SPEAKING for text in note], dtype=np.bool_)
    estimate, low, high, error = (np.where(is_silent, np.nan, x) for x in found)
    before, after = (np.where(is_shown, x, np.nan) for x in means)
    return Compared(estimate, low, high, error, before, after, n, note)


_NUMBERS = {
    "estimate": "estimate",
    "ci_low": "low",
    "ci_high": "high",
    "standard_error": "error",
    "value_before": "before",
    "value_after": "after",
    "note": "note",
}
_COUNTS = (
    "n_treated",
    "n_patients",
    "n_open",
    "n_without_before",
    "n_without_after",
    "n_measure_switch",
    "n_height_adjusted",
    "n_events_before",
    "n_events_after",
)

EFFECTIVENESS_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("study_id", "site_id", "measure", *_KEY[1:])]
    + [(name, pa.float64()) for name in _NUMBERS if name != "note"]
    + [("ci_method", pa.string())]
    + [(name, pa.int64()) for name in _COUNTS]
    + [("person_years_before", pa.float64()), ("person_years_after", pa.float64())]
    + [("label", pa.string()), ("note", pa.string())]
)


def density_rows(patients: pa.Table, study_id: str, min_patients: int) -> pa.Table:
    """Return rows of `signals.effectiveness` on bone density.

    Args:
        patients: site_id, patient_key, drug, indication_type, status, z_before, z_after and
            is_adjusted, one row a treated patient, in the order in which sums are made.
        study_id: of the rows.
        min_patients: with fewer there is no estimate.
    """
    people, group, keys = _by_stratum(patients)
    status = people["status"].to_numpy(zero_copy_only=False)
    z_before, z_after = numbers(people, "z_before", "z_after")
    is_in = status == "compared"
    found = mean_changes(z_before[is_in], z_after[is_in], group[is_in], len(keys), min_patients)
    is_adjusted = np.asarray(people["is_adjusted"].to_numpy(zero_copy_only=False), dtype=np.bool_)
    made = {
        "n_open": status == "open",
        "n_without_before": status == "no_before",
        "n_without_after": status == "no_after",
        "n_measure_switch": status == "measure_switch",
        "n_height_adjusted": is_in & is_adjusted,
    }
    counts = {name: _sums(group, len(keys), is_so) for name, is_so in made.items()}
    return _rows(keys, group, found, counts, (DENSITY, "paired t", study_id))


def fracture_rows(patients: pa.Table, study_id: str, min_patients: int) -> pa.Table:
    """Return rows of `signals.effectiveness` on fractures.

    Args:
        patients: site_id, patient_key, drug, indication_type, days_before, days_after, n_before
            and n_after, one row a treated patient, in the order in which sums are made.
        study_id: of the rows.
        min_patients: with fewer there is no estimate.
    """
    people, group, keys = _by_stratum(patients)
    days_before, days_after, e0, e1 = numbers(
        people, "days_before", "days_after", "n_before", "n_after"
    )
    is_in = (days_before > 0) & (days_after > 0)
    t0, t1 = days_before / _YEAR_DAYS, days_after / _YEAR_DAYS
    found = rate_ratios(
        (e0[is_in], t0[is_in]), (e1[is_in], t1[is_in]), group[is_in], len(keys), min_patients
    )
    made = {
        "n_without_before": days_before == 0,
        "n_without_after": (days_before > 0) & (days_after == 0),
        "n_events_before": np.where(is_in, e0, 0),
        "n_events_after": np.where(is_in, e1, 0),
    }
    counts = {name: _sums(group, len(keys), is_so) for name, is_so in made.items()}
    # Whole days are added up: years would round on the way.
    years = {
        f"person_years_{side}": _sums(group, len(keys), np.where(is_in, days, 0)) / _YEAR_DAYS
        for side, days in (("before", days_before), ("after", days_after))
    }
    return _rows(keys, group, found, counts | years, (FRACTURE, "t over patients", study_id))


def _by_stratum(patients: pa.Table) -> tuple[pa.Table, Ints, pa.Table]:
    """Return patients once a stratum, the number of each row's group, and the groups' keys."""
    whole = pa.array(["all"] * patients.num_rows, pa.string())
    parts = [
        patients.append_column(
            "stratum", pa.array([name] * patients.num_rows, pa.string())
        ).append_column("stratum_value", whole if name == "all" else patients[name])
        for name in _STRATA
    ]
    people = pa.concat_tables(parts).combine_chunks()
    group = group_numbers(people, *_KEY)
    _, at = np.unique(group, return_index=True)
    return people, group, people.select(list(_KEY)).take(at)


def _rows(
    keys: pa.Table,
    group: Ints,
    found: Compared,
    counts: dict[str, Floats],
    said: tuple[str, str, str],
) -> pa.Table:
    measure, method, study_id = said
    n = keys.num_rows
    nothing = np.full(n, np.nan)
    made: dict[str, Any] = {name: counts.get(name, nothing) for name in EFFECTIVENESS_SCHEMA.names}
    made |= {name: getattr(found, attribute) for name, attribute in _NUMBERS.items()}
    made |= {
        "study_id": [study_id] * n,
        "measure": [measure] * n,
        "n_treated": _sums(group, n, np.ones(len(group))),
        "n_patients": found.n_patients,
        "ci_method": np.where(np.isnan(found.low), "none", method),
        "label": [LABEL] * n,
    }
    made = {name: column for name, column in made.items() if name not in _KEY}
    return sorted_by(make_table(EFFECTIVENESS_SCHEMA, made, keys), *_KEY)
