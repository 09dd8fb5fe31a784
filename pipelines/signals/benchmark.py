"""Observed against published: the number that was printed as the interval that it stands for.

The denominator is `all`, as in charts that are read backwards: every unit counts, and one whose
follow-up ended early counts as without event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.signals.columns import first_note, make_table, numbers, sorted_by
from pipelines.signals.risk import estimate_risks
from studies.load import Study
from studies.published import published_values

DENOMINATOR = "all"

_KEY = ("study_id", "site_id", "measure", "outcome", "window_name", "stratum", "stratum_value")
_MOMENTS = ("n_events", "n_units", "n_patients", "sum_e2", "sum_en", "sum_n2")
_PUBLISHED = {
    "published_risk": "value",
    "published_low": "low",
    "published_high": "high",
    "n_published_events_low": "n_events_low",
    "n_published_events_high": "n_events_high",
    "n_published_units": "n_units",
}

_GIVEN = pa.schema(
    [(name, pa.string()) for name in _KEY]
    + [(name, pa.float64()) for name in list(_PUBLISHED)[:3]]
    + [(name, pa.int64()) for name in list(_PUBLISHED)[3:]]
    + [("is_derived", pa.bool_()), ("source", pa.string())]
)

BENCHMARK_SCHEMA = pa.schema(
    [
        *_GIVEN,
        *(pa.field(name, pa.int64()) for name in ("n_units", "n_events", "n_patients")),
        *(pa.field(name, pa.float64()) for name in ("risk", "ci_low", "ci_high")),
        *(pa.field(name, pa.bool_()) for name in ("is_within", "is_overlapping")),
        pa.field("note", pa.string()),
    ]
)


def benchmark_table(counts: pa.Table, studies: Sequence[Study]) -> pa.Table:
    """Return `signals.benchmark` (BENCHMARK_SCHEMA): each published row at each site.

    Estimand: the risk per unit over all closed, eligible units at risk, censored ones as without
    event, with the interval of `estimate_risks`. That others saw a sample too is not allowed for:
    their interval is that of rounding alone.
    """
    keys = [name for name in _KEY if name != "measure"]
    seen = counts.filter(pc.field("denominator") == DENOMINATOR).select([*keys, *_MOMENTS])
    rows = sorted_by(_published(counts, studies).join(seen, keys, join_type="left outer"), *_KEY)
    low, high = numbers(rows, "published_low", "published_high")
    # Nobody counted is a count of 0.
    moments = [np.nan_to_num(column) for column in numbers(rows, *_MOMENTS)]
    found = estimate_risks(*moments)
    is_told = ~(np.isnan(low) | np.isnan(found.risk))
    made = {
        **dict(zip(_MOMENTS[:3], (column.astype(np.int64) for column in moments), strict=False)),
        "risk": found.risk,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "is_within": _where(is_told, (found.risk >= low) & (found.risk <= high)),
        "is_overlapping": _where(is_told, (found.ci_low <= high) & (found.ci_high >= low)),
        "note": first_note(
            low,
            (np.isnan(low) & np.isnan(found.risk), "nothing published, no units"),
            (np.isnan(low), "nothing published"),
            (np.isnan(found.risk), "no units"),
        ),
    }
    return make_table(BENCHMARK_SCHEMA, made, rows)


def _published(counts: pa.Table, studies: Sequence[Study]) -> pa.Table:
    """Return the published rows of each study at each site that has counts of it."""
    sites = counts.group_by(["study_id", "site_id"]).aggregate([]).to_pylist()
    rows: list[dict[str, Any]] = []
    for study in studies:
        told = [published_values(row) for row in study.published]
        for site in sites:
            if site["study_id"] == study.id:
                rows += [
                    site
                    | {name: one[name] for name in (*_KEY[2:], "is_derived", "source")}
                    | {name: one[given] for name, given in _PUBLISHED.items()}
                    for one in told
                ]
    return pa.Table.from_pylist(rows, schema=_GIVEN)


def _where(is_told: NDArray[np.bool_], value: NDArray[np.bool_]) -> pa.BooleanArray:
    return pa.array(value, pa.bool_(), mask=~is_told)
