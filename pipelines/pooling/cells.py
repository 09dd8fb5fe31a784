"""What each pack says of a row of counts: the counts, or how few and how many they can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.disclosure import FEW
from pipelines.disclosure.rule import fewest_patients, is_coarse
from pipelines.pooling.packs import Pack
from pipelines.signals.counts import COUNTS, KEY_COLUMNS
from pipelines.signals.risk import Risks, estimate_risks

#: What a pooled row is about: a key of `signals.counts` without the site.
ABOUT = tuple(name for name in KEY_COLUMNS if name != "site_id")
_SUMS = ("n_events", "n_units", "n_patients", "sum_e2", "sum_en", "sum_n2")

Key = tuple[str, ...]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """A row of one site.

    Attributes:
        site_id: whose.
        row: its counts; None where they are masked.
        reason: why they are, or why the number of patients is.
        least, most: events and units at which its risk is lowest and highest; both are the counts
            where they are told, None where nothing bounds them.
        n_units: fewest and most units, where they are not told either.
        is_coarse: whether sums over patients may be told coarsely.
    """

    site_id: str
    row: Row | None
    reason: str | None
    least: tuple[int, int] | None
    most: tuple[int, int] | None
    n_units: tuple[int, int] | None = None
    is_coarse: bool = False

    @property
    def ends(self) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """Fewest and most events, then units; None where nothing bounds them."""
        if self.least is None or self.most is None:
            return None
        (e, n), (other_e, other_n) = self.least, self.most
        ordered = min(n, other_n), max(n, other_n)
        return (min(e, other_e), max(e, other_e)), self.n_units or ordered

    @property
    def corners(self) -> tuple[tuple[int, int], ...] | None:
        """Events and units that all they can be lies between; None where nothing bounds them.

        Units that are not told are at least the events, and at most those of `n_units` that
        are left when the events that are not its own are not its units either.
        """
        if self.least is None or self.most is None:
            return None
        if self.n_units is None:
            return tuple(dict.fromkeys((self.least, self.most)))
        fewest, most = self.n_units
        return tuple(dict.fromkeys(((0, fewest), self.least, self.most, (self.most[0], most))))


def cells_of(packs: Iterable[Pack]) -> dict[Key, list[Cell]]:
    """Return the rows of all packs by what they are about, sites in order.

    A site without a unit in a row has no cell there.
    """
    found = {key: [cell for cell in cells if _has_units(cell)] for key, cells in every_cell(packs)}
    return {key: cells for key, cells in found.items() if cells}


def every_cell(packs: Iterable[Pack]) -> list[tuple[Key, list[Cell]]]:
    """Return the same with the sites that have a row, but no unit in it."""
    found: dict[Key, list[Cell]] = {}
    for pack in sorted(packs, key=lambda one: one.site_id):
        rows = {
            tuple(str(row[name]) for name in ABOUT): row
            for row in pack.tables[COUNTS.name].to_pylist()
        }
        threshold = int(pack.facts["threshold"])
        groups = _groups(rows)
        for key, row in rows.items():
            cell = _cell(pack.site_id, key, row, rows, groups, threshold)
            found.setdefault(key, []).append(cell)
    return sorted(found.items())


def _has_units(cell: Cell) -> bool:
    return cell.most is None or bool(cell.most[1] or (cell.least and cell.least[1]))


def _groups(rows: Mapping[Key, Row]) -> dict[Key, list[Row]]:
    """Return the told rows of each stratum, by key without the value."""
    groups: dict[Key, list[Row]] = {}
    for key, row in rows.items():
        if row["n_events"] is not None:
            groups.setdefault(_without_value(key), []).append(row)
    return groups


def _without_value(key: Key) -> Key:
    place = ABOUT.index("stratum_value")
    return (*key[:place], *key[place + 1 :])


def _whole(key: Key) -> Key:
    start, end = ABOUT.index("stratum"), ABOUT.index("denominator")
    return (*key[:start], "all", "all", *key[end:])


def _cell(
    site_id: str,
    key: Key,
    row: Row,
    rows: Mapping[Key, Row],
    groups: Mapping[Key, Sequence[Row]],
    threshold: int,
) -> Cell:
    reason = row["suppressed_reason"]
    if row["n_events"] is not None:
        both = row["n_events"], row["n_units"]
        return Cell(site_id, row, reason, both, both, is_coarse=is_coarse(row, threshold))
    whole = rows[_whole(key)]
    told = groups.get(_without_value(key), [])
    if reason == FEW and row["n_units"] is not None:
        n = int(row["n_units"])
        return Cell(site_id, None, reason, (1, n), (threshold - 1, n))
    if whole["n_events"] is not None:
        # What the told values leave; figures may be of different nights, so never below none.
        e = max(0, whole["n_events"] - sum(one["n_events"] for one in told))
        n = max(e, whole["n_units"] - sum(one["n_units"] for one in told))
        return Cell(site_id, None, reason, (0, n - e), (e, e), (0, n))
    if whole["suppressed_reason"] == FEW and whole["n_units"] is not None:
        n = int(whole["n_units"])
        return Cell(site_id, None, reason, (0, n), (threshold - 1,) * 2, (0, n))
    return Cell(site_id, None, reason, None, None)


def estimated(cells: Sequence[Cell]) -> Risks:
    """Return the risk of each told cell, with its effective units; patients as few as can be."""
    rows = [cell.row for cell in cells if cell.row is not None]
    return estimate_risks(*(np.array([sums(row)[name] for row in rows]) for name in _SUMS))


def sums(row: Row) -> dict[str, int]:
    """Return the sums of a told row; where patients are not told, as few as there can be."""
    found = {name: row[name] for name in _SUMS}
    if found["n_patients"] is None:
        found["n_patients"] = fewest_patients(row["n_units"], row["sum_n2"])
    return found


def summed(cells: Sequence[Cell]) -> dict[str, int]:
    """Return the sums over told cells: sites have no patient in common."""
    every = [sums(cell.row) for cell in cells if cell.row is not None]
    return {name: sum(one[name] for one in every) for name in _SUMS}


def bounds(cells: Sequence[Cell]) -> dict[str, int | None]:
    """Return how few and how many events and units there can be; None where nothing says."""
    row: dict[str, int | None] = {}
    told = [cell.ends for cell in cells if cell.ends is not None]
    for place, name in enumerate(("n_events", "n_units")):
        row[f"{name}_low"] = sum(ends[place][0] for ends in told)
        is_bounded = len(told) == len(cells)
        row[f"{name}_high"] = sum(ends[place][1] for ends in told) if is_bounded else None
    return row
