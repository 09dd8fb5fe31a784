"""Tables of counts, as the rule reads them: by study, column, stratum and value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipelines.disclosure.nested import Nested, windows_of_one
from pipelines.disclosure.release import ALL, Column, StudyCounts
from pipelines.disclosure.rule import Row
from pipelines.signals.counts import KEY_COLUMNS, MOMENT_COLUMNS

#: Study and site.
Whose = tuple[str, str]

#: Which of two that can't both be told is told: those that the headline is made of.
_DENOMINATORS = ("complete", "all", "observed", "tested", "determined", "tested_with_baseline")
_WINDOWS = ("risk", "extended", "peak", "control")


def by_study(rows: pa.Table) -> dict[Whose, pa.Table]:
    """Return the rows of each study and site, in their order."""
    studies, sites = (map(str, rows[name].to_pylist()) for name in ("study_id", "site_id"))
    keys = list(zip(studies, sites, strict=True))
    return {
        whose: rows.filter(pa.array([key == whose for key in keys])) for whose in sorted(set(keys))
    }


def study_counts(
    rows: pa.Table, nested: Nested | None = None, outcomes: Sequence[str] = ()
) -> StudyCounts:
    """Return the counts of one study and site.

    Args:
        rows: with the columns of a key, n_units, n_events and n_patients; sums where they are.
        nested: see `nested_counts`; None: two windows of one outcome are taken as nested.
        outcomes: those first that matter most; the others follow as they come.
    """
    whole: dict[Column, Row] = {}
    strata: dict[str, dict[Column, dict[str, Row]]] = {}
    seen: dict[str, None] = dict.fromkeys(outcomes)
    for column, stratum, value, row in keyed(rows, MOMENT_COLUMNS):
        seen.setdefault(column.outcome)
        if stratum == ALL:
            whole[column] = row
        else:
            strata.setdefault(stratum, {}).setdefault(column, {})[value] = row
    # Without its row of all units a column can't be checked, nor told.
    strata = {
        stratum: {column: values for column, values in columns.items() if column in whole}
        for stratum, columns in strata.items()
    }
    order = sorted(whole, key=lambda one: _rank(one, list(seen)))
    return StudyCounts(whole, strata, order, windows_of_one(whole) if nested is None else nested)


def keyed(
    rows: pa.Table, names: Sequence[str]
) -> Iterator[tuple[Column, str, str, dict[str, int | None]]]:
    """Yield of each row its column, stratum, value, and those of `names` that there are."""
    told = [name for name in names if name in rows.column_names]
    for one in rows.select([*KEY_COLUMNS, *told]).to_pylist():
        yield column_of(one), one["stratum"], one["stratum_value"], {n: one[n] for n in told}


def column_of(row: Mapping[str, Any]) -> Column:
    """Return the column that a row of counts belongs to."""
    return Column(row["outcome"], row["window_name"], row["denominator"])


def _rank(column: Column, outcomes: Sequence[str]) -> tuple[int, ...]:
    return (
        _place(column.window_name, _WINDOWS),
        _place(column.denominator, _DENOMINATORS),
        outcomes.index(column.outcome),
    )


def _place(name: str, names: Sequence[str]) -> int:
    return names.index(name) if name in names else len(names)
