"""The risk over hospitals: an estimate where all tell their counts, a range where one may not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from scipy import special

from pipelines.pooling.cells import Cell, bounds, estimated, summed
from pipelines.pooling.effects import FEWEST_FOR_PREDICTION
from pipelines.pooling.glmm import NO_MAXIMUM, PooledRisk, pool_risks
from pipelines.signals.risk import estimate_risk

ONE_SITE = "the site's own: korn-graubard"
MODEL = "binomial-normal model on effective counts"
FLAT = "clopper-pearson on effective counts: no events, or nothing but events"
NO_BOUND = "a site tells neither its counts nor a bound"
NO_END = "no range: a masked site may have no unit, and then there is no risk"
ALL_MASKED = "no site tells its counts"
RANGE = "a range: the counts of masked sites can be anything inside their bounds"
PATIENTS_RANGE = "a range: a site without events, or with nothing else, does not tell its patients"
COARSE = "patients, or few repeats of theirs, are not told exactly: a site may weigh too little"

#: Masked hospitals of which every choice is tried; a fit takes a twentieth of a second.
MOST_TRIED = 3

Row = dict[str, Any]
Counts = list[tuple[float, float]]


def pooled_risk(cells: Sequence[Cell]) -> Row:
    """Return the risk over hospitals of one row of counts.

    Estimand: the risk of the middle hospital (binomial-normal model, `glmm`), from events and units
    as many as they are worth given that infusions cluster in children. One hospital: its own.
    Where a hospital's counts are masked, `risk` is null and the lowest and highest that it can be
    are told, from its least and its most events and from what its units may be worth; where nothing
    bounds them, neither.

    Returns:
        the columns of `pooled.risk` besides what the row is about.
    """
    told = [cell for cell in cells if cell.row is not None]
    row: Row = {"n_sites": len(cells), "n_sites_masked": len(cells) - len(told), **_sums(cells)}
    if not told:
        return {**row, "method": "none", "note": ALL_MASKED}
    if any(cell.least is None for cell in cells):
        return {**row, "method": "none", "note": NO_BOUND}
    if len(told) == len(cells):
        found = _estimate(told)
        if len(told) > 1 and any(map(_hides_weight, told)) and found["risk"] not in (0.0, 1.0):
            names = ("crude_risk", "crude_low", "crude_high")
            return {**row, **{name: found[name] for name in names}, **_range(told)}
        ends = {
            f"{name}_{end}": found.get(name)
            for name, end in (("risk", "lowest"), ("risk", "highest"))
        }
        return {
            **row,
            **found,
            **ends,
            "ci_lowest": found["ci_low"],
            "ci_highest": found["ci_high"],
        }
    return {**row, **_range(cells)}


def _range(cells: Sequence[Cell]) -> Row:
    """Return between what the risk and its limits lie, whatever it is that is not told."""
    found: list[PooledRisk] = []
    for told in _told(cells):
        for one in _choices(told, cells):
            found.append(one)
            if not one.converged:
                break
    if not all(one.converged for one in found):
        return {"method": "none", "note": NO_MAXIMUM}
    known = [
        (one.risk, one.low, one.high)
        for one in found
        if one.risk is not None and one.low is not None and one.high is not None
    ]
    if len(known) < len(found):  # one end alone would pass for the range
        return {"method": "none", "note": NO_END}
    risks, lows, highs = zip(*known, strict=True)
    return {
        "risk_lowest": min(risks),
        "risk_highest": max(risks),
        "ci_lowest": min(lows),
        "ci_highest": max(highs),
        "method": MODEL,
        "note": RANGE if any(cell.row is None for cell in cells) else PATIENTS_RANGE,
    }


def _choices(told: Counts, cells: Sequence[Cell]) -> Iterator[PooledRisk]:
    """Yield the model at what masked counts can be where it could be lowest or highest.

    How much a masked hospital's units are worth is not known: where one child had all events it
    is next to nothing. So each goes in with all of its units or not at all: every choice of a few
    hospitals; of more, those whose end lies beyond the pooled risk.
    """
    yield _model(told)
    masked = [cell for cell in cells if cell.row is None]
    for sign, ends in ((-1, [one.least for one in masked]), (1, [one.most for one in masked])):
        counts: Counts = [(float(e), float(n)) for e, n in filter(None, ends) if n]
        added = counts
        for _ in range(len(counts) + 1):
            found = _model([*told, *added])
            yield found
            risk = found.risk
            beyond = [(e, n) for e, n in counts if risk is None or sign * (e / n - risk) > 0]
            if beyond == added:
                break
            added = beyond
        for size in range(1, len(counts)) if len(counts) <= MOST_TRIED else ():
            for some in combinations(counts, size):
                yield _model([*told, *some])


def _estimate(told: Sequence[Cell]) -> Row:
    total = summed(told)
    crude = estimate_risk(*total.values())
    row: Row = {"crude_risk": crude.risk, "crude_low": crude.low, "crude_high": crude.high}
    coarse = COARSE if any(map(_is_inexact, told)) else None
    if len(told) == 1:
        own = {"risk": crude.risk, "ci_low": crude.low, "ci_high": crude.high}
        return {**row, **own, "method": ONE_SITE, "note": crude.note or coarse}
    counts = _effective(told)
    found = _model(counts)
    row |= {"risk": found.risk, "ci_low": found.low, "ci_high": found.high}
    row["note"] = found.note or coarse
    if found.logit is None:
        return {**row, "method": "none" if found.risk is None else FLAT}
    return {**row, "tau2": found.tau2, "method": MODEL, **_spread(found, counts)}


def _model(counts: Counts) -> PooledRisk:
    """Return the model's risk; at none or nothing but events its interval is an exact one."""
    return _fitted(tuple(counts))


# Rows of different denominators often have the same counts.
@lru_cache(maxsize=4096)
def _fitted(counts: tuple[tuple[float, float], ...]) -> PooledRisk:
    found = pool_risks([e for e, _ in counts], [n for _, n in counts])
    if found.risk is None or found.low is not None:
        return found
    e, n = (sum(one[place] for one in counts) for place in (0, 1))
    low = 0.0 if e == 0 else float(special.betaincinv(e, n - e + 1, 0.025))
    high = 1.0 if e == n else float(special.betaincinv(e + 1, n - e, 0.975))
    return PooledRisk(found.n_sites, None, None, None, found.risk, low, high, note=found.note)


def _told(cells: Sequence[Cell]) -> list[Counts]:
    """Return effective events and units of the cells that are told; twice where they are a range.

    Of a hospital with no events, or nothing but events, units are worth as many as its patients.
    """
    found = [_effective(cells)]
    if any(map(_hides_weight, cells)):
        found.append(_effective([_with_most_patients(cell) for cell in cells]))
    return found


def _is_inexact(cell: Cell) -> bool:
    return cell.row is not None and (cell.is_coarse or cell.row["n_patients"] is None)


def _hides_weight(cell: Cell) -> bool:
    """Whether a told cell's effective units hang on a number of patients that is not told."""
    if cell.row is None or cell.row["n_patients"] is not None:
        return False
    return cell.row["n_events"] in (0, cell.row["n_units"])


def _with_most_patients(cell: Cell) -> Cell:
    if cell.row is None or cell.row["n_patients"] is not None:
        return cell
    # Each with one unit: their squares may be told coarsely, and then don't say how many of more.
    return replace(cell, row={**cell.row, "n_patients": cell.row["n_units"]})


def _effective(cells: Sequence[Cell]) -> Counts:
    if not any(cell.row for cell in cells):
        return []
    found = estimated(cells)
    n = np.where(np.isnan(found.effective_n), 0.0, found.effective_n)
    e = np.where(n > 0, found.risk * n, 0.0)
    return list(zip(e.tolist(), n.tolist(), strict=True))


def _spread(found: PooledRisk, counts: Counts) -> Row:
    """Return I2 and where another hospital's risk is expected.

    Source of I2 from tau2 and a typical variance within hospitals: Higgins and Thompson 2002, Stat
    Med 21:1539, equation 9.
    """
    units = np.array([n for _, n in counts if n > 0])
    if found.risk is None or found.tau2 is None or found.error is None or len(units) < 2:
        return {}
    weights = units * found.risk * (1 - found.risk)
    typical = (len(units) - 1) * weights.sum() / (weights.sum() ** 2 - (weights**2).sum())
    row: Row = {"i2": float(found.tau2 / (found.tau2 + typical))}
    if len(units) >= FEWEST_FOR_PREDICTION and found.logit is not None:
        quantile = float(special.stdtrit(len(units) - 2, 0.975))
        half = quantile * (found.tau2 + found.error**2) ** 0.5
        row["prediction_low"], row["prediction_high"] = (
            float(special.expit(found.logit + sign * half)) for sign in (-1, 1)
        )
    return row


def _sums(cells: Sequence[Cell]) -> Row:
    """Return the sums of events and units, and how few and many they can be."""
    row: Row = dict(bounds(cells))
    for name in ("n_events", "n_units"):
        row[name] = row[f"{name}_low"] if all(cell.row for cell in cells) else None
    return row


def left_out(cells: Sequence[Cell]) -> list[Row]:
    """Return the risk without each hospital in turn; none where fewer than three are there."""
    if len(cells) < FEWEST_FOR_PREDICTION:
        return []
    return [
        {"left_out": cell.site_id, **pooled_risk([one for one in cells if one is not cell])}
        for cell in cells
    ]


def forest(cells: Sequence[Cell], others: Sequence[Row] = ()) -> list[Row]:
    """Return what each hospital says: its risk with its interval, or the bounds of its counts.

    Args:
        cells: of one row of counts.
        others: see `left_out`; each hospital is held against what the others lead to expect.
    """
    expected = {row["left_out"]: row for row in others}
    rows: list[Row] = []
    told = [cell for cell in cells if cell.row is not None]
    risks = estimated(told) if told else None
    place = {cell.site_id: number for number, cell in enumerate(told)}
    for cell in cells:
        row: Row = {"site_id": cell.site_id, "suppressed_reason": cell.reason, **_sums([cell])}
        if cell.row is not None and risks is not None:
            at = place[cell.site_id]
            for name in ("risk", "ci_low", "ci_high", "effective_n"):
                value = float(getattr(risks, name)[at])
                row[name] = None if np.isnan(value) else value
            row["n_patients"] = cell.row["n_patients"]
        rows.append(row | _against(row, expected.get(cell.site_id, {})))
    return rows


def _against(row: Row, others: Row) -> Row:
    """Return where a hospital's risk is expected from the others, and whether it lies there.

    Its own data must not be in what it is held against. It is called outside where the whole
    interval is: an estimate of few units may lie anywhere.
    """
    low, high = others.get("prediction_low"), others.get("prediction_high")
    if low is None or high is None:
        return {}
    ends = row.get("ci_low"), row.get("ci_high")
    is_outside = None if None in ends else bool(ends[1] < low or ends[0] > high)
    return {"expected_low": low, "expected_high": high, "is_outside": is_outside}
