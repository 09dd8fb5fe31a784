"""Counts that merge: which tables of them there are, and how two rows of one key become one.

All are sums of whole numbers over whole patients, who never straddle buckets: parts of a hospital
can be added up, and taken apart again, in any order and to the last digit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class CountTable:
    """A table of counts.

    Attributes:
        name: in the warehouse.
        sql_name: in the database of a bucket, as the SQL of linkage makes it, columns in order.
        keys: what a row is about; rows with equal keys are added up.
        sums: whole numbers.
        presence: the sum that is zero exactly where there is nothing that the row is about.
        whole_keys: keys that are whole numbers; the others are texts.
    """

    name: str
    sql_name: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]
    presence: str
    whole_keys: frozenset[str] = frozenset()

    @property
    def schema(self) -> pa.Schema:
        """Columns with their types: keys, then sums."""
        kinds = [pa.int64() if name in self.whole_keys else pa.string() for name in self.keys]
        return pa.schema(
            [*zip(self.keys, kinds, strict=True), *((name, pa.int64()) for name in self.sums)]
        )


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

COUNTS = CountTable("signals.counts", "out_counts", KEY_COLUMNS, SUM_COLUMNS, PRESENCE_COLUMN)

#: Strata of the counts of onset and of self-controlled windows, as their SQL names them.
WATCHED_STRATA = ("all", "drug", "ordinal")

_WINDOW = ("study_id", "site_id", "outcome", "window_name")
_STRATUM = ("stratum", "stratum_value")

#: Patients with units on both sides of a comparison: products of events e and units n of the sides.
SHARED = CountTable(
    "signals.counts_shared",
    "out_counts_shared",
    (*_WINDOW, *_STRATUM, "contrast", "other_value", "denominator"),
    ("n_patients", "n_again", "sum_ee", "sum_en", "sum_ne", "sum_nn"),
    "n_patients",
)
#: First and second units of the same patients.
PAIRED = CountTable(
    "signals.counts_paired",
    "out_counts_paired",
    (*_WINDOW, "drug_class", "denominator"),
    (
        "n_both",
        "n_first_only",
        "n_second_only",
        "n_neither",
        "n_event",
        "n_event_again",
        "n_none_again",
        "n_first",
    ),
    "n_first",
)
#: When units leave the risk, and why.
ONSET = CountTable(
    "signals.counts_onset",
    "out_counts_onset",
    (*_WINDOW, *_STRATUM, "scale", "bin"),
    ("n_events", "n_died", "n_censored", "n_completed", "n_left"),
    "n_left",
    frozenset({"bin"}),
)
#: Risk and control windows of patients with an event in one of them.
SELF_CONTROLLED = CountTable(
    "signals.counts_self_controlled",
    "out_counts_self_controlled",
    ("study_id", "site_id", "outcome", *_STRATUM),
    (
        "n_risk_events",
        "n_control_events",
        "risk_us",
        "control_us",
        "n_cut_by_next",
        "n_cut_by_end",
        "n_patients",
    ),
    "n_patients",
)

#: Patients by how many units and events they have: the headline denominator, few strata.
PATIENT = CountTable(
    "signals.counts_patient",
    "out_counts_patient",
    (*_WINDOW, *_STRATUM, "n_units", "n_events"),
    ("n_patients",),
    "n_patients",
    frozenset({"n_units", "n_events"}),
)

#: Every table of counts, by its name in the warehouse. One that is new is a line here, a table made
#: by a file `sql/13_counts*.sql` of linkage, and a model.
COUNT_TABLES = {
    table.name: table for table in (COUNTS, SHARED, PAIRED, ONSET, SELF_CONTROLLED, PATIENT)
}


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
