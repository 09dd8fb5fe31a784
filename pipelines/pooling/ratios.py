"""The ratio of two risks over hospitals: first and later infusions, two drugs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
from scipy import special

from pipelines.pooling.cells import ABOUT, Cell, Key, sums
from pipelines.pooling.effects import pool_effects
from pipelines.pooling.packs import Pack
from pipelines.signals.comparison import Group, Shared, risk_ratios
from pipelines.signals.counts import SHARED
from pipelines.signals.mantel_haenszel import CellPairs, Cells, common_risk_ratios

STRATA = ("ordinal", "drug")
METHOD = "REML over log ratios, each cluster-robust"
RANGE = "a range of Mantel and Haenszel's ratio: masked counts can be anything inside their bounds"
ALL_MASKED = "no site tells the counts of both sides"
NO_RATIO = "no site with events on both sides"
SELECTED = "sites without an event on a side are in Mantel and Haenszel's ratio alone"

_Z = float(special.ndtri(0.975))
_VALUE = ABOUT.index("stratum_value")
_STRATUM = ABOUT.index("stratum")
_SIDE = ("n_events", "n_units", "n_patients", "sum_e2", "sum_en", "sum_n2")
#: What a hospital adds above and below in Mantel and Haenszel's ratio.
Parts = tuple[float, float]
#: Sums that differ by less are the same.
_ROUNDING = 1e-12

Row = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """Both sides of a comparison at one hospital, and who is on both."""

    one: Cell
    other: Cell
    shared: Shared

    @property
    def is_told(self) -> bool:
        """Whether both sides are."""
        return self.one.row is not None and self.other.row is not None

    @property
    def sides(self) -> tuple[dict[str, int], dict[str, int]]:
        """Sums of both sides, where they are told."""
        return sums(self.one.row or {}), sums(self.other.row or {})

    @property
    def parts(self) -> list[Parts] | None:
        """What the pair can add to the ratio of all; None where nothing bounds it."""
        one, other = self.one.corners, self.other.corners
        if one is None or other is None:
            return None
        return [_parts(*mine, *theirs) for mine, theirs in product(one, other)]


def _parts(e: int, n: int, other_e: int, other_n: int) -> Parts:
    if not n + other_n:
        return 0.0, 0.0
    return e * other_n / (n + other_n), other_e * n / (n + other_n)


def pooled_ratios(
    cells: Mapping[Key, Sequence[Cell]], packs: Iterable[Pack]
) -> tuple[list[Row], list[Row]]:
    """Return the rows of `pooled.comparison`, and of `pooled.comparison_forest`: each hospital's.

    Estimand: the mean over hospitals of the log ratio of the proportions of units with the event on
    two sides (`effects`); beside it the ratio that all would share (Mantel and Haenszel, variance
    over patients). A hospital with masked counts on a side leaves a range.

    Args:
        cells: see `cells_of`.
        packs: whose shared patients are looked up.
    """
    shared = {pack.site_id: _shared(pack) for pack in packs}
    pooled: list[Row] = []
    own: list[Row] = []
    for key, pairs in sorted(_pairs(cells, shared)):
        about = dict(zip(_NAMES, key, strict=True))
        pooled.append({**about, **_pooled(pairs)})
        own += [{**about, **_own(pair)} for pair in pairs]
    return pooled, own


_NAMES = (*ABOUT[: _VALUE + 1], "other_value", *ABOUT[_VALUE + 1 :])


def _pairs(
    cells: Mapping[Key, Sequence[Cell]], shared: Mapping[str, Mapping[Key, Row]]
) -> Iterator[tuple[Key, list[Pair]]]:
    values: dict[Key, list[str]] = {}
    for key in cells:
        if key[_STRATUM] in STRATA:
            values.setdefault((*key[:_VALUE], *key[_VALUE + 1 :]), []).append(key[_VALUE])
    for about, found in values.items():
        for one, other in combinations(sorted(found), 2):
            mine, theirs = ((*about[:_VALUE], v, *about[_VALUE:]) for v in (one, other))
            others = {cell.site_id: cell for cell in cells[theirs]}
            pairs = [
                Pair(cell, others[cell.site_id], _both(mine, other, shared[cell.site_id], cell))
                for cell in cells[mine]
                if cell.site_id in others
            ]
            if pairs:
                yield (*mine[: _VALUE + 1], other, *mine[_VALUE + 1 :]), pairs


def _shared(pack: Pack) -> dict[Key, Row]:
    names = (*ABOUT[:-1], "contrast", "other_value", ABOUT[-1])
    return {
        tuple(str(row[name]) for name in names): row for row in pack.tables[SHARED.name].to_pylist()
    }


def _both(key: Key, other: str, rows: Mapping[Key, Row], cell: Cell) -> Shared:
    """Return what both sides share; nobody where it is not told: then the interval is wider."""
    # Of two values the rest is the other one.
    contrast = ("rest", "rest") if key[_STRATUM] == "ordinal" else ("pair", other)
    row = rows.get((*key[:-1], *contrast, key[-1]))
    if row is None or cell.row is None:
        return Shared()
    return Shared(
        row["n_patients"] or 0, *(row[f"sum_{name}"] for name in ("ee", "en", "ne", "nn"))
    )


def _pooled(pairs: Sequence[Pair]) -> Row:
    told = [pair for pair in pairs if pair.is_told]
    row: Row = {"n_sites": len(pairs), "n_sites_masked": len(pairs) - len(told)}
    if not told:
        return {**row, "note": ALL_MASKED}
    if len(told) < len(pairs):
        return {**row, **pooled_ranges(pairs), "note": RANGE}
    mh = _mantel_haenszel(told)
    row |= {"mh_ratio": mh[0], "mh_low": mh[1], "mh_high": mh[2]}
    row |= {"ratio_lowest": mh[0], "ratio_highest": mh[0]}
    logs, errors = _log_ratios(told)
    if not logs:
        return {**row, "note": NO_RATIO}
    found, common = pool_effects(logs, errors), pool_effects(logs, errors, "common")
    for name, value in (
        ("risk_ratio", found.effect),
        ("risk_ratio_low", found.low),
        ("risk_ratio_high", found.high),
        ("common_ratio", common.effect),
        ("common_low", common.low),
        ("common_high", common.high),
        ("prediction_low", found.prediction_low),
        ("prediction_high", found.prediction_high),
    ):
        row[name] = None if value is None else math.exp(value)
    return {
        **row,
        "n_sites_estimated": len(logs),
        "tau2": found.tau2,
        "i2": found.i2,
        "q": found.q,
        "q_p_value": found.q_p_value,
        "method": f"{METHOD}; {found.interval}",
        "note": SELECTED if len(logs) < len(told) else None,
    }


def _own(pair: Pair) -> Row:
    """Return what one hospital tells of a comparison: its ratio, or what it can be."""
    row: Row = {"site_id": pair.one.site_id}
    if not pair.is_told:
        reasons = [cell.reason for cell in (pair.one, pair.other) if cell.row is None]
        return {**row, **pooled_ranges([pair]), "suppressed_reason": reasons[0]}
    one, other = pair.sides
    found = risk_ratios(_group([one]), _group([other]), _together([pair]))
    for name in ("n_events", "n_units"):
        row[name], row[f"other_{name}"] = one[name], other[name]
    names = {"risk_ratio": found.value, "risk_ratio_low": found.low, "risk_ratio_high": found.high}
    return row | {
        name: float(ends[0]) if np.isfinite(ends[0]) else None for name, ends in names.items()
    }


def _group(found: Sequence[Mapping[str, int]]) -> Group:
    return Group(*(np.array([one[name] for one in found], dtype=np.float64) for name in _SIDE))


def _together(pairs: Sequence[Pair]) -> Shared:
    names = ("n_patients", "sum_ee", "sum_en", "sum_ne", "sum_nn")
    return Shared(*(np.array([getattr(p.shared, n) for p in pairs], np.float64) for n in names))


def _log_ratios(pairs: Sequence[Pair]) -> tuple[list[float], list[float]]:
    """Return log ratios and their standard errors, of hospitals that have both."""
    sides = [pair.sides for pair in pairs]
    found = risk_ratios(
        _group([a for a, _ in sides]), _group([b for _, b in sides]), _together(pairs)
    )
    has = np.isfinite(found.low) & (found.low > 0)
    logs = np.log(found.value[has])
    errors = np.log(found.high[has] / found.low[has]) / (2 * _Z)
    return logs.tolist(), errors.tolist()


def _mantel_haenszel(pairs: Sequence[Pair]) -> tuple[float | None, ...]:
    """Return the common ratio over hospitals with its limits."""
    sides = [one for pair in pairs for one in pair.sides]
    k = len(pairs)
    patients = sum(one["n_patients"] for one in sides) - sum(
        int(p.shared.n_patients) for p in pairs
    )
    found = common_risk_ratios(
        Cells(
            np.zeros(2 * k, dtype=np.intp),
            np.repeat(np.arange(k), 2),
            np.tile([False, True], k),
            _group(sides),
        ),
        CellPairs(np.arange(0, 2 * k, 2), np.arange(1, 2 * k, 2), _together(pairs)),
        np.array([float(patients)]),
    )
    ends = (float(end[0]) for end in (found.value, found.low, found.high))
    return tuple(None if math.isnan(one) else one for one in ends)


def pooled_ranges(pairs: Sequence[Pair]) -> Row:
    """Return the least and greatest that Mantel and Haenszel's ratio of plain counts can be.

    A sum above over a sum below: each side's counts enter both so that the ratio is farthest where
    each lies in a corner of what it can be. Which corners, is found by Dinkelbach 1967, Management
    Science 13:492: a ratio r is the greatest where no choice has more above than r times below.
    """
    parts = [pair.parts for pair in pairs]
    known = [one for one in parts if one is not None]
    if len(known) < len(parts):
        return {"ratio_lowest": None, "ratio_highest": None}
    return {"ratio_lowest": _farthest(known, -1), "ratio_highest": _farthest(known, 1)}


def _farthest(parts: Sequence[Sequence[Parts]], sign: int) -> float | None:
    """Return the greatest ratio of sums (sign 1) or the least; None where nothing is below."""
    top, bottom = _sum_of(max(one, key=lambda part: part[1]) for one in parts)
    while bottom:
        ratio = top / bottom
        top, bottom = _sum_of(_chosen(one, ratio, sign) for one in parts)
        if sign * (top - ratio * bottom) <= _ROUNDING * (top + ratio * bottom):
            return ratio
    return None


def _chosen(parts: Sequence[Parts], ratio: float, sign: int) -> Parts:
    return max(parts, key=lambda part: sign * (part[0] - ratio * part[1]))


def _sum_of(parts: Iterable[Parts]) -> Parts:
    above, below = zip(*parts, strict=True)
    return math.fsum(above), math.fsum(below)
