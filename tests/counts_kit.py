"""Rows of `signals.counts` of chosen strata, the rest of their columns plausible."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipelines.signals.counts import COUNTS, SUM_COLUMNS

DAY_US = 86_400_000_000
KEY = {
    "study_id": "s",
    "site_id": "north",
    "outcome": "fever",
    "window_name": "risk",
    "stratum": "all",
    "stratum_value": "all",
    "denominator": "complete",
}


def row(e: int, n: int, *, days: float | None = None, **key: Any) -> dict[str, Any]:
    """Return counts of n patients with one unit each, of which e have the event."""
    sums = dict.fromkeys(SUM_COLUMNS, n)
    moments = {"n_events": e, "sum_e2": e, "sum_en": e}
    time = {"person_us": round((3 * n if days is None else days) * DAY_US)}
    return KEY | key | sums | moments | time


def counts(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=COUNTS.schema)
