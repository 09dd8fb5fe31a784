"""From records to counted infusions: a flow of boxes, each with what was left out before it."""

from __future__ import annotations

from collections.abc import Mapping

from warehouse.report import words
from warehouse.report.masking import shown_parts, shown_steps
from warehouse.report.page import Figure, Step
from warehouse.report.read import Row, Source

#: A reason, how many were left out for it, and that number as it is told.
Loss = tuple[str, int, str]

_LOSSES = ("left out:", "merged with", "joined to")
_NOTE = (
    "Every record of a study drug ends in one box. A total is left blank where it differs from "
    "the next by a small number, and a reason where it is one."
)


def flow(
    source: Source, study_id: str, known: Mapping[str, int], prefix: str, *, is_current: bool
) -> Figure:
    """Return the flow from records of study drugs to counted infusions.

    Args:
        source: the warehouse.
        study_id: whose flow.
        known: numbers of infusions that the page shows elsewhere, by what they are of: no box may
            differ from one of them by a small number.
        prefix: of the figure's id.
        is_current: whether these numbers are told as they are now.
    """
    name, title = f"{prefix}-attrition", "From records to counted infusions"
    rows = source.rows(
        "SELECT step, n FROM linkage.attrition WHERE study_id = ? "
        "ORDER BY step_number, n DESC, step",
        [study_id],
    )
    if not rows:
        return Figure(name, title, absent="The file tells of no record of a study drug.")
    units = set(known.values())
    boxes, counts = _boxes(rows, units, source.min_cell)
    for step, n in list(counts.items()):
        counts |= {f"{step} less {column}": n - one for column, one in known.items()}
    told = source.held.rows(f"flow/{study_id}", boxes, counts, may_move=is_current)
    steps = tuple(Step(one["text"], one["count"], _pairs(one["left_out"])) for one in told)
    if not steps:
        return Figure(name, title, absent="It may not be told yet: too little has changed.")
    notes = (_NOTE, *source.held.notes(f"flow/{study_id}"))
    return Figure(name, title, notes=notes, steps=steps)


def _pairs(told: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((reason, count) for reason, count in told)


def _boxes(rows: list[Row], known: set[int], min_cell: int) -> tuple[list[Row], dict[str, int]]:
    """Return the boxes as they may be told, and all that can be counted from them."""
    totals: list[Row] = []
    losses: list[list[Row]] = [[]]
    for row in rows:
        if row["step"].startswith(_LOSSES):
            losses[-1].append(row)
        else:
            totals.append(row)
            losses.append([])
    shown = shown_steps([row["n"] for row in totals], min_cell, known)
    told = _told(losses, shown, min_cell)
    boxes: list[Row] = []
    counts: dict[str, int] = {}
    above: int | None = None
    for row, is_shown, before in zip(totals, shown, told, strict=True):
        count = words.count(row["n"]) if is_shown else words.HIDDEN
        left_out = [[reason, number] for reason, _, number in before]
        boxes.append({"text": row["step"], "count": count, "left_out": left_out})
        counts |= {
            f"{row['step']}: {reason}": n for reason, n, number in before if number != words.HIDDEN
        }
        if is_shown:
            counts[row["step"]] = row["n"]
            if above is not None:
                counts[f"above {row['step']}"] = above - row["n"]
            above = row["n"]
    return boxes, counts


def _told(losses: list[list[Row]], shown: list[bool], min_cell: int) -> list[tuple[Loss, ...]]:
    """Write the reasons before each total; those between two totals that are shown are one sum."""
    pools, places = [], []
    for place, is_shown in enumerate(shown):
        places.append(place)
        if is_shown or place == len(shown) - 1:
            pools.append(places)
            places = []
    told: list[tuple[Loss, ...]] = []
    for pool in pools:
        flags = iter(shown_parts([row["n"] for at in pool for row in losses[at]], min_cell))
        for at in pool:
            pairs = [(row, next(flags)) for row in losses[at]]
            told.append(tuple(_loss(row, flag) for row, flag in pairs if row["n"]))
    return told


def _loss(row: Row, is_shown: bool) -> Loss:  # noqa: FBT001 - a pair of a zip
    reason = row["step"].removeprefix("left out: ").replace("_", " ")
    return reason, row["n"], words.count(row["n"]) if is_shown else words.HIDDEN
