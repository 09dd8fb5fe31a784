"""Counts that merge: the columns of `signals.counts` and how two rows of one key become one."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

#: What a row is about; rows with equal keys are added up.
KEY_COLUMNS = (
    "study_id",
    "site_id",
    "outcome",
    "window_name",
    "stratum",
    "stratum_value",
    "denominator",
)
KEY_LENGTH = len(KEY_COLUMNS)

#: Sums over units, and over patients of events e and units n; patients never straddle buckets.
MOMENT_COLUMNS = (
    "n_units",
    "n_events",
    "n_patients",
    "sum_e2",
    "sum_en",
    "sum_n2",
    "person_us",
)
STATUS_COLUMNS = (
    "n_closed_units",
    "n_open",
    "n_open_event",
    "n_censored",
    "n_not_at_risk",
    "n_ineligible",
    "n_observed",
    "n_tested",
    "n_tested_with_baseline",
    "n_determined",
)
#: All units of the row, whatever became of them: a row without any is none.
PRESENCE_COLUMN = "n_rows"
SUM_COLUMNS = (*MOMENT_COLUMNS, *STATUS_COLUMNS, PRESENCE_COLUMN)

COUNT_SCHEMA = pa.schema(
    [(name, pa.string()) for name in KEY_COLUMNS] + [(name, pa.int64()) for name in SUM_COLUMNS]
)


def merge_counts(rows: Iterable[tuple[int | None, ...]]) -> tuple[int | None, ...]:
    """Add up rows of sums, column by column; an associative and commutative combiner.

    A column that does not apply to an outcome is null in all its rows, and stays null.
    """
    total: list[int | None] = []
    for row in rows:
        total = total or [None] * len(row)
        for index, value in enumerate(row):
            if value is not None:
                total[index] = (total[index] or 0) + value
    return tuple(total)
