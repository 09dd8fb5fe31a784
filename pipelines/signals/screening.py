"""`signals.disproportionality`: each drug against those of other classes. Screening only.

A report is a unit of the headline denominator. The comparators are the drugs outside the drug's own
class: one of its class would hide what the class has in common. Under five of them there is
nothing to be out of proportion with, and every statistic is null.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.signals.columns import (
    group_numbers,
    joined_notes,
    make_table,
    numbers,
    sorted_by,
)
from pipelines.signals.disproportionality import (
    Ratios,
    chi_squares,
    information_components,
    reporting_odds_ratios,
    reporting_ratios,
)
from pipelines.signals.empirical_bayes import fit_prior, shrunk_ratios
from pipelines.signals.intervals import Floats
from pipelines.signals.risk import HEADLINE
from studies.load import Study

USE = "screening only"
MIN_COMPARATORS = 5
#: Ten for each of the prior's five parameters; a rule of ours.
MIN_PAIRS = 50

FEW = f"fewer than {MIN_COMPARATORS} comparator drugs outside the class"
_TABLE = ("study_id", "site_id", "outcome", "window_name")
_STATISTICS = (
    "expected",
    "prr",
    "prr_low",
    "prr_high",
    "ror",
    "ror_low",
    "ror_high",
    "chi_square_pearson",
    "chi_square_yates",
    "ic",
    "ic025",
    "ic975",
    "ebgm",
    "eb05",
    "eb95",
)
_COUNTED = (
    "n_units",
    "n_events",
    "n_comparator_drugs",
    "n_comparator_units",
    "n_comparator_events",
)

SCREENING_SCHEMA = pa.schema(
    [(name, pa.string()) for name in (*_TABLE, "drug", "drug_class", "use")]
    + [(name, pa.int64()) for name in _COUNTED]
    + [(name, pa.float64()) for name in _STATISTICS]
    + [("is_evans_met", pa.bool_()), ("note", pa.string())]
)


def screening_table(counts: pa.Table, studies: Sequence[Study]) -> pa.Table:
    """Return `signals.disproportionality` (SCREENING_SCHEMA) of rows of `signals.counts`.

    Estimand: how often an outcome is told of units of a drug over how often of its comparators; a
    unit stands for a report. No adjustment, no clusters: what stands out is looked at, not
    believed.
    """
    is_drug = (pc.field("stratum") == "drug") & (pc.field("denominator") == HEADLINE)
    # The fit adds up in the order of rows, and a night must equal a rebuild to the last digit.
    rows = sorted_by(counts.filter(is_drug), *_TABLE, "stratum_value")
    rows = rows.append_column("drug_class", pa.array(_classes(rows, studies), pa.string()))
    cells, n_comparators = _cells(rows)
    a, b, c, d = cells
    is_enough = (n_comparators >= MIN_COMPARATORS) & (a + b > 0)
    is_known = is_enough & (a + c > 0)
    found = _statistics(cells, is_known, group_numbers(rows, "study_id", "site_id", "window_name"))
    made = {
        **found,
        "drug": rows["stratum_value"],
        "use": [USE] * rows.num_rows,
        "n_comparator_drugs": n_comparators.astype(np.int64),
        "n_comparator_units": (c + d).astype(np.int64),
        "n_comparator_events": c.astype(np.int64),
        "note": joined_notes(
            a,
            (a + b == 0, "no units of the drug"),
            (n_comparators < MIN_COMPARATORS, FEW),
            (is_enough & (a + c == 0), "no event with any of the drugs"),
            (is_known & (a == 0), "PRR, ROR: no event with the drug"),
            (is_known & (c == 0), "PRR, ROR: no event with the comparators"),
            (is_known & (a > 0) & (c > 0) & (b + d == 0), "PRR, ROR: nothing but events"),
            (
                is_known & (a > 0) & (c > 0) & ((b == 0) != (d == 0)),
                "ROR: nothing but events on one side",
            ),
            (is_known & np.isnan(found["ebgm"]), _NO_EBGM),
        ),
    }
    made["is_evans_met"] = _evans(a, found)
    return make_table(SCREENING_SCHEMA, made, rows)


_NO_EBGM = f"EBGM: fewer than {MIN_PAIRS} pairs to fit its prior to, or the fit did not settle"


def _classes(rows: pa.Table, studies: Sequence[Study]) -> NDArray[np.object_]:
    """Return the class of each row's drug; that of no drug of the study is the drug's own name."""
    known = {
        (study.id, drug.name): drug.drug_class for study in studies for drug in study.model.drug
    }
    names = ("study_id", "stratum_value")
    _, first, drugs = np.unique(group_numbers(rows, *names), return_index=True, return_inverse=True)
    told = rows.select(names).take(first).to_pylist()
    pairs = [(one["study_id"], one["stratum_value"]) for one in told]
    return np.array([known.get(pair, pair[1]) for pair in pairs], dtype=object)[drugs]


def _cells(rows: pa.Table) -> tuple[tuple[Floats, Floats, Floats, Floats], Floats]:
    """Return units with and without the event, of drug and comparators, and how many those are."""
    n, a = numbers(rows, "n_units", "n_events")
    table, own = group_numbers(rows, *_TABLE), group_numbers(rows, *_TABLE, "drug_class")

    def outside(column: Floats) -> Floats:
        """Return the sum over a table's drugs, less that over the drug's class."""
        return np.asarray(
            np.bincount(table, column)[table] - np.bincount(own, column)[own], dtype=np.float64
        )

    others, c = outside(n), outside(a)
    return (a, n - a, c, others - c), outside((n > 0).astype(np.float64))


def _statistics(
    cells: tuple[Floats, ...], is_known: NDArray[np.bool_], fits: NDArray[np.intp]
) -> dict[str, Floats]:
    a, b, c, d = cells
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(is_known, (a + b) * (a + c) / (a + b + c + d), np.nan)
    ebgm = np.full((3, len(a)), np.nan)
    for number in range(fits.max(initial=-1) + 1):
        at = np.flatnonzero((fits == number) & is_known)
        if len(at) >= MIN_PAIRS:
            ebgm[:, at] = _shrunk(a[at], expected[at])
    columns: list[Any] = [
        expected,
        *reporting_ratios(*cells),
        *reporting_odds_ratios(*cells),
        chi_squares(*cells, yates=False),
        chi_squares(*cells, yates=True),
        *information_components(a, expected),
        *ebgm,
    ]
    told = zip(_STATISTICS, columns, strict=True)
    return {name: np.where(is_known, column, np.nan) for name, column in told}


def _shrunk(observed: Floats, expected: Floats) -> Ratios | float:
    prior = fit_prior(observed, expected)
    return shrunk_ratios(observed, expected, prior) if prior.converged else np.nan


def _evans(a: Floats, found: dict[str, Floats]) -> pa.BooleanArray:
    """Return whether PRR is 2 or more, chi-square (Yates) 4 or more, and events 3 or more."""
    is_met = (found["prr"] >= 2) & (found["chi_square_yates"] >= 4) & (a >= 3)
    return pa.array(is_met, pa.bool_(), mask=np.isnan(found["prr"]))
