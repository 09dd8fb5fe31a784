"""Calcium and phosphate around infusions: bands of quantiles over patients, never a patient."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from warehouse.report import words
from warehouse.report.charts import (
    BAND,
    BAND_DEEP,
    BLUE,
    INK,
    MUTED,
    WIDTH,
    Spec,
    data,
    layered,
    svg,
)
from warehouse.report.masking import is_small
from warehouse.report.page import Cell, Figure, Table
from warehouse.report.page import Row as TableRow
from warehouse.report.read import Row, Source

_HEAD = ("Day", "Patients", "10 %", "25 %", "Median", "75 %", "90 %")
#: Quantiles, each with the share of patients beyond it on its nearer side.
_QUANTILES = {"p10": 0.1, "p25": 0.25, "median": 0.5, "p75": 0.25, "p90": 0.1}
_NOTES = (
    "Light band: from the tenth to the ninetieth percentile; dark band: between the quartiles; "
    "line: the median. Over patients: each counts once a day, with the median of its results. Day "
    "0 is the first 24 hours; results are as reported, not corrected for albumin.",
    "Who is tested is no sample: blood is drawn for a reason, and after many infusions not at all.",
)
_LEFT, _RIGHT, _HEIGHT = 56, WIDTH - 12, 190


def bands(source: Source, study_id: str, prefix: str) -> tuple[Figure, ...]:
    """Return a picture of each analyte that a published outcome grades."""
    name, title = f"{prefix}-lab", "Laboratory values around infusions"
    if not source.has("signals.laboratory"):
        return (Figure(name, title, absent="The file has no table of them (signals.laboratory)."),)
    rows = source.rows(
        "FROM signals.laboratory WHERE study_id = ? ORDER BY concept, day", [study_id]
    )
    if not rows:
        return (Figure(name, title, absent="No result was found around an infusion."),)
    by_analyte = groupby(rows, key=lambda row: str(row["concept"]))
    return tuple(
        _figure(source, concept, list(some), f"{prefix}-{concept}") for concept, some in by_analyte
    )


def _told(source: Source, row: Row) -> Row:
    """Return a day as it may be told: as it was, until enough patients have come or gone."""
    masked = _masked(row, source.min_cell)
    name = _name(row)
    shown = {column: masked[column] for column in (*_ABOUT, *_QUANTILES)}
    if masked["n_patients"] is None and not source.held.has(name):
        return masked
    found = source.held.rows(name, [shown], {"n_patients": row["n_patients"]})
    return {**masked, **dict.fromkeys((*_QUANTILES, "n_patients")), **(found[0] if found else {})}


def _name(row: Row) -> str:
    """Return the name of a day's bands, the same every night."""
    return f"laboratory/{row['study_id']}/{row['concept']}/{row['day']}"


_ABOUT = ("concept", "day", "unit", "n_patients")


def _masked(row: Row, min_cell: int) -> Row:
    """Hide a day of few patients, and each quantile with few patients beyond it.

    The tenth percentile of 20 patients is nearly the value of one of them.
    """
    few = is_small(row["n_patients"], min_cell)
    told = {**row, "n_patients": None if few else row["n_patients"]}
    for name, share in _QUANTILES.items():
        beyond = int(share * row["n_patients"] + 1e-9)
        if few or (min_cell > 1 and beyond < min_cell):
            told[name] = None
    return told


def _figure(source: Source, concept: str, days: Sequence[Row], name: str) -> Figure:
    rows = [_told(source, row) for row in days]
    notes = (*_NOTES, *source.held.notes(*map(_name, days)))
    title = f"{concept.replace('_', ' ').capitalize()} around infusions, {rows[0]['unit']}"
    table = Table(f"{title}: quantiles over patients by day.", _HEAD, tuple(map(_row, rows)))
    drawn = [row for row in rows if row["median"] is not None]
    if len(drawn) < 2:
        absent = "Too few patients were tested on all days but one to draw a band."
        return Figure(name, title, absent=absent, notes=notes, table=table)
    chart = _chart(rows)
    first, last = drawn[0]["day"], drawn[-1]["day"]
    least = min(drawn, key=lambda row: row["median"])
    finding = (
        f"Days {first} to {last}; the lowest median is {words.number(least['median'], 1)} "
        f"{least['unit']}, on day {least['day']}. The table below has all numbers."
    )
    return Figure(name, title, svg=svg(chart, name, title, finding), notes=notes, table=table)


def _chart(rows: Sequence[Row]) -> Spec:
    import altair as alt

    told = [row[name] for row in rows for name in _QUANTILES if row[name] is not None]
    spread = max(told) - min(told) or 1.0
    domain = [min(told) - 0.08 * spread, max(told) + 0.08 * spread]
    drawn = [row["day"] for row in rows if row["median"] is not None]
    ends = [min(drawn) - 0.6, max(drawn) + 0.6]
    days = alt.Scale(domain=ends, range=[_LEFT, _RIGHT], nice=False)
    below = alt.Axis(title="days since the start", tickMinStep=1, grid=False, format="d")
    x = alt.X("day:Q", scale=days, axis=below)
    scale = alt.Scale(domain=domain, range=[_HEIGHT, 0], nice=False, zero=False)
    axis = alt.Axis(title=None, tickCount=4, offset=-_LEFT + 10, format=".1f")
    layers: list[Any] = []
    for low, high, colour in (("p10", "p90", BAND), ("p25", "p75", BAND_DEEP)):
        boxes = _boxes(rows, low, high)
        layers.append(
            data(boxes)
            .mark_rect(color=colour, opacity=1)
            .encode(
                x=alt.X("from:Q", scale=days, axis=below),
                x2="to:Q",
                y=alt.Y(f"{low}:Q", scale=scale, axis=axis),
                y2=f"{high}:Q",
            )
        )
    points = [{"day": row["day"], "median": row["median"]} for row in rows]
    y = alt.Y("median:Q", scale=scale, axis=axis)
    start = data([{"day": 0}]).mark_rule(color=MUTED, strokeDash=[3, 3]).encode(x=x)
    layers += [
        start,
        data(_boxes(rows, "median", "median"))
        .mark_rule(color=BLUE, strokeWidth=3)
        .encode(x=alt.X("from:Q", scale=days, axis=below), x2="to:Q", y=y),
        data([one for one in points if one["median"] is not None])
        .mark_point(color=INK, filled=True, size=25, opacity=1)
        .encode(x=x, y=y),
    ]
    return layered(layers, _HEIGHT)


def _boxes(rows: Sequence[Row], low: str, high: str) -> list[dict[str, float]]:
    return [
        {"from": row["day"] - 0.4, "to": row["day"] + 0.4, low: row[low], high: row[high]}
        for row in rows
        if row[low] is not None and row[high] is not None
    ]


def _row(row: Row) -> TableRow:
    patients = words.HIDDEN if row["n_patients"] is None else words.count(row["n_patients"])
    cells = [
        Cell(f"{row['day']}", is_head=True),
        Cell(patients, "n_patients", is_number=True),
    ]
    for name in _QUANTILES:
        text = words.HIDDEN if row[name] is None else words.number(row[name])
        cells.append(Cell(text, name, is_number=True))
    return TableRow(tuple(cells), f"laboratory/{row['concept']}/{row['day']}")
