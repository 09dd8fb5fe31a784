"""Masking a table of risks: for whoever shows figures outside the site's own warehouse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.disclosure.nested import Nested
from pipelines.disclosure.plan import plan
from pipelines.disclosure.reading import Whose, by_study, keyed, study_counts
from pipelines.disclosure.release import PATIENTS, Column, Release
from pipelines.disclosure.statuses import told_statuses
from pipelines.signals.counts import KEY_COLUMNS, PRESENCE_COLUMN, STATUS_COLUMNS

_STATUSES = (*STATUS_COLUMNS, PRESENCE_COLUMN)
#: From them, with the interval, the number of patients could be worked out.
_TELL_PATIENTS = ("n_patients", "effective_n", "design_effect")
#: What a row is about, and what follows from that alone.
_KEPT = frozenset({*KEY_COLUMNS, "is_headline", "signal_key", "run_id"})


def mask_rows(
    rows: pa.Table,
    threshold: int,
    *,
    nested: Nested | None = None,
    outcomes: Sequence[str] = (),
) -> pa.Table:
    """Return a table like `signals.risk` or `signals.counts` with what may not be told made null.

    Give it all rows that will be shown, and those of the stratum `all`, at once: it decides what
    can stand together. Two calls over different rows of one night can give away what neither does.

    Args:
        rows: key columns of `signals.counts`, n_units, n_events, n_patients, anything else. Sums
            over patients, where they are there, also keep back counts of few patients.
        threshold: smallest count that may be told; 1 masks nothing.
        nested: which outcomes hold which, see `nested_counts`; None: windows of one outcome do.
        outcomes: those first that matter most.

    Returns:
        The rows in their order, and `suppressed_reason`: null, `small_count` or `few_events` (all
        but the key is null), or `n_patients` (that alone is, and what would tell it).
    """
    reasons: list[str | None] = [None] * rows.num_rows
    has_statuses = [False] * rows.num_rows
    place = {key: number for number, key in enumerate(_keys(rows))}
    for whose, some in by_study(rows).items():
        release = plan_rows(some, threshold, nested=nested, outcomes=outcomes)
        for column, stratum, value, _ in keyed(some, ()):
            number = place[whose, column, stratum, value]
            told = release.row(column, stratum, value)
            is_known = (column.outcome, column.window_name) in release.statuses
            has_statuses[number] = stratum == "all" and is_known
            if told is None:
                reasons[number] = release.why_not(column, stratum)
            elif told["n_patients"] is None:
                reasons[number] = PATIENTS
    return _nulled(rows, reasons, has_statuses)


def plan_rows(
    rows: pa.Table,
    threshold: int,
    last: Release | None = None,
    *,
    nested: Nested | None = None,
    outcomes: Sequence[str] = (),
) -> Release:
    """Return what may be told of one study's rows at one site; see `mask_rows` and `plan`."""
    release = plan(study_counts(rows, nested, outcomes), threshold, last)
    names = [name for name in _STATUSES if name in rows.column_names]
    if set(names) < set(_STATUSES):
        return release  # Without all of them it can't be seen what they give away.
    now = {
        (column.outcome, column.window_name): row
        for column, stratum, _, row in keyed(rows, names)
        if stratum == "all"
    }
    before = last or Release(threshold)
    statuses = told_statuses(now, release.whole, before, threshold)
    return replace(release, statuses=statuses, other=before.other)


def _keys(rows: pa.Table) -> list[tuple[Whose, Column, str, str]]:
    told = [rows[name].to_pylist() for name in KEY_COLUMNS]
    return [
        ((study, site), Column(outcome, window, denominator), stratum, value)
        for study, site, outcome, window, stratum, value, denominator in zip(*told, strict=True)
    ]


def _nulled(
    rows: pa.Table, reasons: Sequence[str | None], has_statuses: Sequence[bool]
) -> pa.Table:
    is_told = [reason in {None, PATIENTS} for reason in reasons]
    says_patients = [reason is None for reason in reasons]
    columns = []
    for name in rows.column_names:
        keeps = is_told
        if name in _STATUSES:
            keeps = [a and b for a, b in zip(is_told, has_statuses, strict=True)]
        elif name in _TELL_PATIENTS:
            keeps = says_patients
        columns.append(rows[name] if name in _KEPT else _kept(rows[name], keeps))
    masked = pa.Table.from_arrays(columns, names=rows.column_names)
    return masked.append_column("suppressed_reason", pa.array(reasons, pa.string()))


def _kept(values: Any, keeps: Sequence[bool]) -> Any:  # noqa: ANN401 - a column of any type
    """Return a column, null where it is not to be kept."""
    return pc.if_else(pa.array(keeps, pa.bool_()), values, None)
