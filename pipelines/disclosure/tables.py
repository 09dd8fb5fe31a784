"""All tables of counts of one study at one site, masked, after what was told before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pipelines.disclosure.nested import Nested
from pipelines.disclosure.others import Key, Told, key_names, told_others
from pipelines.disclosure.reading import column_of, study_counts
from pipelines.disclosure.release import FEW, PATIENTS, Release
from pipelines.disclosure.rows import plan_rows
from pipelines.disclosure.rule import Row, coarse, may_be_told
from pipelines.disclosure.watched import NAME as WATCHED
from pipelines.disclosure.watched import REASON, masked_watched, told_watched
from pipelines.signals.counts import (
    COUNT_TABLES,
    COUNTS,
    MOMENT_COLUMNS,
    PRESENCE_COLUMN,
    STATUS_COLUMNS,
)

__all__ = ["REASON", "Masked", "mask_counts"]


@dataclass(frozen=True)
class Masked:
    """What leaves of a study: tables by their name in the warehouse, and what they tell.

    Attributes:
        tables: with the columns of their counts, and `suppressed_reason`.
        release: what is told; the next pack goes on from it.
    """

    tables: Mapping[str, pa.Table]
    release: Release


def mask_counts(
    counts: Mapping[str, pa.Table],
    threshold: int,
    last: Release | None = None,
    *,
    nested: Nested | None = None,
    outcomes: Sequence[str] = (),
    anew: Collection[Key] | None = None,
) -> Masked:
    """Return the tables of counts of one study at one site with what may not be told made null.

    Args:
        counts: all tables of COUNT_TABLES, by name; rows of one study and site. And, where it is
            to be told, what surveillance watches.
        threshold: smallest count that may be told.
        last: what was told before; figures stay until what has changed may be told.
        nested: see `nested_counts`.
        outcomes: those first that matter most.
        anew: of what surveillance watches, the pairs that may be told as they are now: outcome,
            window and what is watched; None: all.
    """
    rows = counts[COUNTS.name]
    before = last or Release(threshold)
    main = plan_rows(rows, threshold, last, nested=nested, outcomes=outcomes)
    counted = study_counts(rows, nested, outcomes)
    told = Told(counted, main, before, threshold)
    other, known = told_others(counts, told)
    if WATCHED in counts:
        other[WATCHED], known[WATCHED] = told_watched(counts[WATCHED], told, anew)
    elif WATCHED in before.other:
        other[WATCHED] = dict(before.other[WATCHED])
        known[WATCHED] = before.known.get(WATCHED, {})
    release = replace(main, other=other, known=known)
    makers: dict[str, Callable[[Mapping[str, Any]], Row | None]] = {
        name: _from_others(release, name) for name in COUNT_TABLES if name != COUNTS.name
    }
    makers[COUNTS.name] = _from_counts(release)
    tables = {
        name: _masked(table, name, makers[name], release)
        for name, table in counts.items()
        if name in COUNT_TABLES
    }
    if WATCHED in counts:
        tables[WATCHED] = masked_watched(counts[WATCHED], other[WATCHED])
    return Masked(tables, release)


def _from_counts(release: Release) -> Callable[[Mapping[str, Any]], Row | None]:
    names = (*STATUS_COLUMNS, PRESENCE_COLUMN)

    def told(row: Mapping[str, Any]) -> Row | None:
        column = column_of(row)
        found = release.row(column, row["stratum"], row["stratum_value"])
        # Told under a lower threshold once, it is known, but not told again.
        if found is None or not may_be_told({**found, **_patients(found)}, release.threshold):
            return None
        had: Row = {}
        if row["stratum"] == "all":
            had = release.statuses.get((column.outcome, column.window_name), {})
        shown = coarse(found, release.threshold)
        return {**{name: shown.get(name) for name in MOMENT_COLUMNS}, **dict.fromkeys(names), **had}

    return told


def _patients(row: Row) -> dict[str, int | None]:
    """Return as many patients as units where their number is left out: it is no reason to mask."""
    return {"n_patients": row["n_units"] if row["n_patients"] is None else row["n_patients"]}


def _from_others(release: Release, name: str) -> Callable[[Mapping[str, Any]], Row | None]:
    keys, rows = key_names(name), release.other.get(name, {})
    return lambda row: rows.get(tuple(row[key] for key in keys))


def _masked(
    table: pa.Table,
    name: str,
    told: Callable[[Mapping[str, Any]], Row | None],
    release: Release,
) -> pa.Table:
    form = COUNT_TABLES[name]
    rows = []
    for row in table.select(list(form.keys)).to_pylist():
        found = told(row)
        if found is None and name != COUNTS.name:
            continue  # That there is a row at an hour, or of two drugs, would tell of a child.
        reason = None if found is not None else release.why_not(column_of(row), row["stratum"])
        if found is not None and "n_patients" in found and found["n_patients"] is None:
            reason = PATIENTS
        told_row = found or dict.fromkeys(form.sums)
        if reason == FEW:
            told_row = {**told_row, "n_units": release.few[column_of(row)]}
        rows.append({**row, **told_row, REASON: reason})
    schema = form.schema.append(pa.field(REASON, pa.string()))
    return pa.Table.from_pylist(rows, schema=schema)
