"""Small counts: what the report may show of them, which is nothing that they follow from.

A count from 1 to min_cell - 1 is not shown, and neither is what it could be worked out from: the
rest of its row, a second value of the same margin, a step of a flow, a difference between looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.signals.counts import KEY_COLUMNS

if TYPE_CHECKING:
    from pipelines.disclosure.nested import Nested, Where

Row = dict[str, Any]

#: Counts that the rule reads, and sums over patients: many events of few patients are few patients.
_MOMENTS = ("n_units", "n_events", "n_patients", "sum_e2", "sum_en", "sum_n2")

#: Columns that a row which is not shown keeps: what it is, not what it counts.
_KEPT = frozenset(
    {"site_id", "study_id", "outcome", "label", "window_name", "stratum", "stratum_value"}
) | {"denominator", "is_headline", "signal_key"}


def is_small(count: int | None, min_cell: int) -> bool:
    """Whether a count must not be shown: 1 to min_cell - 1."""
    return count is not None and 0 < count < min_cell


def told(count: int | None, min_cell: int) -> str:
    """Return a count that stands alone as the page tells it; one that is small as a bound."""
    if count is None:
        return "not known"
    return f"fewer than {min_cell}" if is_small(count, min_cell) else f"{count:,}"


def mask(
    rows: Sequence[Mapping[str, Any]],
    min_cell: int,
    study: Mapping[str, Any],
    outcomes: Sequence[str] = (),
) -> list[Row]:
    """Return rows of risks with what may not be told made null, and `suppressed_reason`.

    What is told is decided by `pipelines.disclosure`, for all rows of the page at once.

    Args:
        rows: of one study, keyed and counted as in `signals.counts`; all that the page shows.
        min_cell: smallest count that is shown; 1 shows everything.
        study: the study's settings, which say what holds what.
        outcomes: those first that matter most.
    """
    from pipelines.disclosure import mask_rows

    if not rows:
        return []
    names = (*KEY_COLUMNS, *_MOMENTS)
    counted = pa.Table.from_pylist([{name: row[name] for name in names} for row in rows])
    nested = _nested(study, {(row["outcome"], row["window_name"]) for row in rows})
    told = mask_rows(counted, min_cell, nested=nested, outcomes=outcomes).to_pylist()
    return [_as_told(row, one) for row, one in zip(rows, told, strict=True)]


def _nested(study: Mapping[str, Any], places: set[Where]) -> Nested:
    """Return which outcomes hold which; where another version's settings say it, any may."""
    from pydantic import ValidationError

    from pipelines.disclosure import nested_counts
    from studies.load import Study
    from studies.model import StudyModel

    try:
        model = StudyModel.model_validate(study)
    except ValidationError:
        return frozenset(frozenset(pair) for pair in combinations(sorted(places), 2))
    return nested_counts(Study(model, (), {}, Path()))


def _as_told(row: Mapping[str, Any], told: Mapping[str, Any]) -> Row:
    """Return a row with its counts as they may be told; hidden ones take along all else."""
    if told["n_units"] is None:
        kept = {name: value if name in _KEPT else None for name, value in row.items()}
        return {**kept, "suppressed_reason": told["suppressed_reason"]}
    counts = {name: told[name] for name in ("n_units", "n_events", "n_patients")}
    return {**row, **counts, "suppressed_reason": None}


def shown_steps(counts: Sequence[int], min_cell: int, known: Iterable[int] = ()) -> list[bool]:
    """Say which totals of a flow are shown: no two of them may differ by a small number.

    Args:
        counts: totals from the widest to the narrowest; the narrowest stands elsewhere on the
            page, so it is the one that is kept.
        min_cell: smallest count that is shown.
        known: numbers of the same things that stand elsewhere on the page.
    """
    shown = [False] * len(counts)
    told = set(known)
    for place in range(len(counts) - 1, -1, -1):
        count = counts[place]
        if not any(is_small(abs(count - one), min_cell) for one in (0, *told)):
            shown[place] = True
            told.add(count)
    return shown


def shown_parts(parts: Sequence[int], min_cell: int) -> list[bool]:
    """Say which parts of a known total are shown: all, or none where one of them is small."""
    is_safe = not any(is_small(count, min_cell) for count in parts)
    return [is_safe] * len(parts)


def shown_sums(sums: Sequence[int], min_cell: int) -> list[bool]:
    """Say which numbers of a running sum are shown: none is small, nor adds a small number."""
    shown, last = [], 0
    for count in sums:
        is_shown = not is_small(count, min_cell) and not is_small(abs(count - last), min_cell)
        shown.append(is_shown)
        if is_shown:
            last = count
    return shown
