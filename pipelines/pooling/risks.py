"""The risk over hospitals: an estimate where all tell their counts, a range where one may not."""

from __future__ import annotations

from collections.abc import Sequence
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

Row = dict[str, Any]
Counts = list[tuple[float, float]]


def pooled_risk(cells: Sequence[Cell]) -> Row:
    """Return the risk over hospitals of one row of counts.

    Estimand: the risk of the middle hospital (binomial-normal model, `glmm`), from events and units
    as many as they are worth given that infusions cluster in children. One hospital: its own.
    Where a hospital's counts are masked, `risk` is null and the lowest and highest that it can be
    are told, from its least and its most events; where nothing bounds them, neither.

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
    least, most = (_model(_counts(cells, is_least=is_least)) for is_least in (True, False))
    if not (least.converged and most.converged):
        return {**row, "method": "none", "note": NO_MAXIMUM}
    known = [
        (one.risk, one.low, one.high)
        for one in (least, most)
        if one.risk is not None and one.low is not None and one.high is not None
    ]
    if len(known) < 2:  # one end alone would pass for the range
        return {**row, "method": "none", "note": NO_END}
    risks, lows, highs = zip(*known, strict=True)
    return {
        **row,
        "risk_lowest": min(risks),
        "risk_highest": max(risks),
        "ci_lowest": min(lows),
        "ci_highest": max(highs),
        "method": MODEL,
        "note": RANGE,
    }


def _estimate(told: Sequence[Cell]) -> Row:
    total = summed(told)
    crude = estimate_risk(*total.values())
    row: Row = {"crude_risk": crude.risk, "crude_low": crude.low, "crude_high": crude.high}
    if len(told) == 1:
        own = {"risk": crude.risk, "ci_low": crude.low, "ci_high": crude.high}
        return {**row, **own, "method": ONE_SITE, "note": crude.note}
    counts = _counts(told, is_least=True)
    found = _model(counts)
    row |= {"risk": found.risk, "ci_low": found.low, "ci_high": found.high, "note": found.note}
    if found.logit is None:
        return {**row, "method": "none" if found.risk is None else FLAT}
    return {**row, "tau2": found.tau2, "method": MODEL, **_spread(found, counts)}


def _model(counts: Counts) -> PooledRisk:
    """Return the model's risk; at none or nothing but events its interval is an exact one."""
    found = pool_risks([e for e, _ in counts], [n for _, n in counts])
    if found.risk is None or found.low is not None:
        return found
    e, n = (sum(one[place] for one in counts) for place in (0, 1))
    low = 0.0 if e == 0 else float(special.betaincinv(e, n - e + 1, 0.025))
    high = 1.0 if e == n else float(special.betaincinv(e + 1, n - e, 0.975))
    return PooledRisk(found.n_sites, None, None, None, found.risk, low, high, note=found.note)


def _counts(cells: Sequence[Cell], *, is_least: bool) -> Counts:
    """Return effective events and units of each cell; of a masked one its least or its most."""
    risks = iter(_effective(cells))
    found: Counts = []
    for cell in cells:
        if cell.row is not None:
            found.append(next(risks))
        else:
            bound = cell.least if is_least else cell.most
            found.append((float(bound[0]), float(bound[1])) if bound else (0.0, 0.0))
    return found


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
