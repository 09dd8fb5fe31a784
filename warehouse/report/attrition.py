"""From records to counted infusions: a flow of boxes, each with what was left out before it."""

from __future__ import annotations

from collections.abc import Iterator

from warehouse.report import words
from warehouse.report.masking import shown_parts, shown_steps
from warehouse.report.page import Figure, Step
from warehouse.report.read import Row, Source

_LOSSES = ("left out:", "merged with", "joined to")
_NOTE = (
    "Every record of a study drug ends in one box. A total is left blank where it differs from "
    "the next by a small number, and a reason where it is one."
)


def flow(source: Source, study_id: str, known: set[int], prefix: str) -> Figure:
    """Return the flow from records of study drugs to counted infusions.

    Args:
        source: the warehouse.
        study_id: whose flow.
        known: numbers of infusions that the page shows elsewhere: no box may differ from one of
            them by a small number.
        prefix: of the figure's id.
    """
    name, title = f"{prefix}-attrition", "From records to counted infusions"
    rows = source.rows(
        "SELECT step, n FROM linkage.attrition WHERE study_id = ? "
        "ORDER BY step_number, n DESC, step",
        [study_id],
    )
    if not rows:
        return Figure(name, title, absent="The file tells of no record of a study drug.")
    return Figure(name, title, notes=(_NOTE,), steps=tuple(_steps(rows, known, source.min_cell)))


def _steps(rows: list[Row], known: set[int], min_cell: int) -> Iterator[Step]:
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
    for row, is_shown, before in zip(totals, shown, told, strict=True):
        yield Step(row["step"], words.count(row["n"]) if is_shown else words.HIDDEN, before)


def _told(
    losses: list[list[Row]], shown: list[bool], min_cell: int
) -> list[tuple[tuple[str, str], ...]]:
    """Write the reasons before each total; those between two totals that are shown are one sum."""
    pools, places = [], []
    for place, is_shown in enumerate(shown):
        places.append(place)
        if is_shown or place == len(shown) - 1:
            pools.append(places)
            places = []
    told: list[tuple[tuple[str, str], ...]] = []
    for pool in pools:
        flags = iter(shown_parts([row["n"] for at in pool for row in losses[at]], min_cell))
        for at in pool:
            pairs = [(row, next(flags)) for row in losses[at]]
            told.append(tuple(_loss(row, flag) for row, flag in pairs if row["n"]))
    return told


def _loss(row: Row, is_shown: bool) -> tuple[str, str]:  # noqa: FBT001 - a pair of a zip
    reason = row["step"].removeprefix("left out: ").replace("_", " ")
    return reason, words.count(row["n"]) if is_shown else words.HIDDEN
