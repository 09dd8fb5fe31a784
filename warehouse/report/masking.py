"""Small counts: what the report may show of them, which is nothing that they follow from.

A count from 1 to min_cell - 1 is not shown, and neither is what it could be worked out from: the
rest of its row, a second value of the same margin, a step of a flow, a difference between looks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.signals.counts import COUNTS, KEY_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.disclosure.nested import Nested, Where
    from pipelines.disclosure.release import Release

Row = dict[str, Any]

#: Counts that the rule reads, and sums over patients: many events of few patients are few patients.
_MOMENTS = ("n_units", "n_events", "n_patients", "sum_e2", "sum_en", "sum_n2")

#: What is computed from the counts that are told.
_ESTIMATES = ("risk", "ci_low", "ci_high", "wilson_low", "wilson_high", "note")

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


def told_risks(
    rows: Sequence[Mapping[str, Any]],
    counts: Mapping[str, pa.Table],
    min_cell: int,
    study: Mapping[str, Any],
    last: Release | None,
    *,
    anew: Collection[tuple[str, str, str]] | None = None,
) -> tuple[list[Row], Release]:
    """Return rows of risks as they may be told, and what is told from now on.

    What is told is decided by `pipelines.disclosure` for all counts of the study at once, as for a
    pack. A figure that stays as it was told is older than the row: its risk is computed from it.

    Args:
        rows: of one study, keyed and counted as in `signals.counts`; all that the page shows.
        counts: all tables of counts of the study, by name.
        min_cell: smallest count that is shown; 1 shows everything.
        study: the study's settings, which say what holds what, and which outcomes matter most.
        last: what was told before, by pages or packs.
        anew: of what surveillance watches, the pairs that may be told anew; None: all.

    Returns:
        the rows with `suppressed_reason`, null in all but what they are about where it is not, and
        `is_current`: whether they are told as they are now.
    """
    from pipelines.disclosure import by_weight
    from pipelines.disclosure.release import Release
    from pipelines.disclosure.tables import mask_counts
    from warehouse.counts import risks_of

    if min_cell == 1:
        shown = [{**row, "suppressed_reason": None, "is_current": True} for row in rows]
        return shown, last or Release(min_cell)
    places = {(row["outcome"], row["window_name"]) for row in rows}
    masked = mask_counts(
        counts,
        min_cell,
        last,
        nested=_nested(study, places),
        outcomes=by_weight(study),
        anew=anew,
    )
    table = masked.tables[COUNTS.name]
    told = {_about(row): row for row in table.to_pylist()}
    risks = {_about(row): row for row in risks_of(table).to_pylist()}
    return [_as_told(row, told[_about(row)], risks, min_cell) for row in rows], masked.release


def _about(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY_COLUMNS)


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


def _as_told(
    row: Mapping[str, Any],
    told: Mapping[str, Any],
    risks: Mapping[tuple[Any, ...], Row],
    min_cell: int,
) -> Row:
    """Return a row with its counts as they may be told; hidden ones take along all else."""
    from pipelines.disclosure.rule import coarse

    if told["n_events"] is None:
        kept = {name: value if name in _KEPT else None for name, value in row.items()}
        return {**kept, "suppressed_reason": told["suppressed_reason"], "is_current": False}
    found = risks[_about(row)]
    counts = {name: told[name] for name in ("n_units", "n_events", "n_patients")}
    now = coarse(row, min_cell)  # sums over patients are told so, whenever they are
    is_current = all(now[name] == told[name] for name in _MOMENTS if name != "n_patients")
    estimates = {name: found[name] for name in _ESTIMATES}
    return {**row, **counts, **estimates, "suppressed_reason": None, "is_current": is_current}


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
