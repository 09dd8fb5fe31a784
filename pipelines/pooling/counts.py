"""The counts of all hospitals in one table, as each hospital has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipelines.pooling.cells import ABOUT, Cell, bounds, every_cell
from pipelines.pooling.packs import Pack
from pipelines.signals.counts import SUM_COLUMNS

Row = dict[str, Any]


def pooled_counts(packs: Iterable[Pack]) -> list[Row]:
    """Return the rows of `pooled.counts`: sums over the sites that tell, bounds over all of them.

    Sites have no patient in common, so that patients and sums over them add up as units do.
    """
    return [
        {**dict(zip(ABOUT, key, strict=True)), **_row(cells)} for key, cells in every_cell(packs)
    ]


def _row(cells: Sequence[Cell]) -> Row:
    told = [cell.row for cell in cells if cell.row is not None]
    sums = {name: _sum([row[name] for row in told]) for name in SUM_COLUMNS}
    ends = bounds(cells)
    return {"n_sites": len(cells), "n_sites_masked": len(cells) - len(told), **sums, **ends}


def _sum(counts: Sequence[int | None]) -> int | None:
    """Return a sum; None where one of those who tell the row leaves this number out."""
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None
