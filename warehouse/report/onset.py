"""When an outcome begins: the share of infusions that it has followed, by hours or by days.

By days where an event is known by its day alone: a curve by hours would have to leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from warehouse.report import words
from warehouse.report.charts import BLUE, INK, RUST, WIDTH, Spec, data, layered, svg
from warehouse.report.dots import round_up
from warehouse.report.masking import shown_steps
from warehouse.report.page import Cell, Figure, Table
from warehouse.report.page import Row as TableRow
from warehouse.report.read import Row, Source

#: A curve: its name, its colour, its points.
Line = tuple[str, str, list[Row]]
#: Outcomes that are drawn: those first that the page tells first.
MAX_OUTCOMES = 3
#: Points of a curve at most: an hour with one event more is one patient's hour.
N_POINTS = 12
_HEAD = ("Infusions", "{scale}s since the start", "With event by then", "Share", "95 % interval")
_NOTES = (
    "Share of infusions that the outcome has followed by then "
    "(Aalen-Johansen; who died without it counts as free of it for good). Infusions that nobody "
    "looked at count as free of it.",
    "Intervals take the infusions of one patient as independent, so that they are too narrow. A "
    "point is drawn where enough events have been added since the last one; "
    "between two points the curve is not told.",
)
_LEFT, _RIGHT, _HEIGHT = 48, WIDTH - 96, 190
_Lines = tuple[tuple[str, str, str], ...]
_LINES: _Lines = (("ordinal", "first", RUST), ("ordinal", "later", BLUE), ("all", "all", BLUE))


def curves(source: Source, risks: Sequence[Row], prefix: str) -> tuple[Figure, ...]:
    """Return the curves of the outcomes whose counts the page tells.

    Args:
        source: the warehouse.
        risks: the masked headline risks of the page, whose order of outcomes is kept.
        prefix: of the figures' ids.
    """
    name, title = f"{prefix}-onset", "Time to onset"
    if not source.has("signals.onset"):
        return (Figure(name, title, absent="The file has no table of onset (signals.onset)."),)
    told = [row for row in risks if row["stratum"] in ("all", "ordinal") and row["n_events"]]
    outcomes = [row for row in told if row["stratum"] == "all"]
    ranked = sorted(outcomes, key=lambda row: (-row["n_events"], row["outcome"]))[:MAX_OUTCOMES]
    found = [_figure(source, one, told, f"{name}-{at}") for at, one in enumerate(ranked)]
    drawn = tuple(one for one in found if one.svg)
    if drawn:
        return drawn
    absent = "No outcome has enough events with a time to be drawn hour by hour."
    return (Figure(name, title, absent=absent, notes=_NOTES),)


def _figure(source: Source, outcome: Row, told: Sequence[Row], name: str) -> Figure:
    mine = [row for row in told if row["outcome"] == outcome["outcome"]]
    divided = {row["stratum_value"] for row in mine if row["stratum"] == "ordinal"}
    # First and later add up to all: together, or the whole.
    wanted = _LINES[:2] if divided == {"first", "later"} else _LINES[2:]
    is_current = all(row["is_current"] for row in mine)
    for some, scale in forms_of(source, outcome, wanted):
        found = [
            (label, colour, points_of(source, outcome, line, scale, is_current=is_current))
            for label, colour, line in (
                (_label(stratum, value), colour, (stratum, value))
                for stratum, value, colour in some
            )
        ]
        lines = [one for one in found if len(one[2]) > 1]
        if lines:
            names = [_name(outcome, (stratum, value), scale) for stratum, value, _ in some]
            drawn = _drawn(outcome["label"], lines, scale, name)
            return replace(drawn, notes=(*drawn.notes, *source.held.notes(*names)))
    return Figure(name, outcome["label"])


def forms_of(source: Source, outcome: Row, wanted: _Lines) -> list[tuple[_Lines, str]]:
    """Return the lines and scales that may be drawn, the best first: those that were, once any was.

    Another division, or another scale, has no figures of its own to be held against: set beside
    those that were told, it would tell what few events have changed since.
    """
    every = [(lines, scale) for lines in (_LINES[:2], _LINES[2:]) for scale in ("hour", "day")]
    drawn = [
        (lines, scale)
        for lines, scale in every
        if any(len(source.held.told(_name(outcome, line[:2], scale))) > 1 for line in lines)
    ]
    return drawn or [(wanted, "hour"), (wanted, "day")]


def _drawn(title: str, lines: Sequence[Line], scale: str, name: str) -> Figure:
    told = "; ".join(_finding(label, points, scale) for label, _, points in lines)
    finding = f"{told[0].upper()}{told[1:]}."
    rows = tuple(_row(label, one) for label, _, points in lines for one in points)
    drawn = svg(_chart(lines, scale), name, title, f"{finding} The table below has all numbers.")
    head = tuple(text.format(scale=scale.capitalize()) for text in _HEAD)
    table = Table(f"{title}: share by {scale} since the start.", head, rows)
    return Figure(name, title, svg=drawn, notes=(finding, *_NOTES), table=table)


def _name(outcome: Row, line: tuple[str, str], scale: str) -> str:
    """Return the name of a curve, the same every night."""
    about = [outcome[name] for name in ("study_id", "outcome", "window_name")]
    return "/".join(("onset", *about, *line, scale))


def points_of(
    source: Source, outcome: Row, line: tuple[str, str], scale: str, *, is_current: bool
) -> list[Row]:
    """Return the points of a curve as they may be told: at the times that were told before.

    At other times the counts of two nights would be those of other groups, which differ by few.
    """
    name = _name(outcome, line, scale)
    before = [one["end"] for one in source.held.told(name)]
    points = _points(source, outcome, line, scale, before)
    if not points and not before:
        return []
    return source.held.rows(name, points, _counts(points), may_move=is_current)


def _counts(points: Sequence[Row]) -> dict[str, int]:
    """Return what the points of a curve count, and what is left between two of them and after each.

    Of 40 events 25 were on the first day, and then it is 38 of 55: two more came later.
    """
    counts = {str(one["end"]): one["n"] for one in points}
    for one, later in combinations(points, 2):
        counts[f"{one['end']} to {later['end']}"] = later["n"] - one["n"]
    for one in points:
        counts[f"after {one['end']}"] = one["n_all_events"] - one["n"]
    return counts


def _points(
    source: Source, outcome: Row, line: tuple[str, str], scale: str, before: Sequence[int]
) -> list[Row]:
    """Return the curve at a grid of bins, where nothing small was added between two of them.

    Nor may few be missing to all events, which the page tells elsewhere.
    """
    rows = source.rows(
        """SELECT bin_end, coalesce(sum(n_events) OVER (ORDER BY bin_end), 0)::BIGINT AS n,
            cumulative_incidence AS share, cumulative_incidence_low AS low,
            cumulative_incidence_high AS high, n_all_events, outcome, scale
        FROM signals.onset WHERE study_id = ? AND outcome = ? AND window_name = ?
            AND stratum = ? AND stratum_value = ? AND scale = ?
        ORDER BY bin_end""",
        [outcome["study_id"], outcome["outcome"], outcome["window_name"], *line, scale],
    )
    rows = [row for row in rows if row["share"] is not None]
    if not rows or rows[-1]["bin_end"] <= 0:
        return []
    end = rows[-1]["bin_end"]
    ends = sorted({*before, end}) if before else _grid(end)
    grid = [{**_last(rows, one), "end": one, "line": "=".join(line)} for one in ends]
    kept = [one for at, one in enumerate(grid) if not at or one["n"] != grid[at - 1]["n"]]
    shown = shown_steps([one["n"] for one in kept], source.min_cell, {rows[-1]["n_all_events"]})
    return [one for one, is_shown in zip(kept, shown, strict=True) if is_shown]


def _grid(end: int) -> list[int]:
    return [*range(0, end, max(1, -(-end // N_POINTS))), end]


def _last(rows: Sequence[Row], end: int) -> Row:
    return ([row for row in rows if row["bin_end"] <= end] or rows[:1])[-1]


def _label(stratum: str, value: str) -> str:
    return "all infusions" if stratum == "all" else words.value_words(stratum, value)


def _finding(label: str, points: Sequence[Row], scale: str) -> str:
    last = points[-1]
    found = f"{label}: {words.percent(last['share'])} by {words.many(last['end'], scale)}"
    half = [one for one in points if 2 * one["n"] >= one["n_all_events"]]
    return f"{found}, half of all by {words.many(half[0]['end'], scale)}" if half else found


def _chart(lines: Sequence[Line], scale: str) -> Spec:
    import altair as alt

    most = round_up(100 * max(one["share"] for _, _, points in lines for one in points))
    last = max(one["end"] for _, _, points in lines for one in points)
    few = last <= 8
    x = alt.X(
        "end:Q",
        scale=alt.Scale(domain=[0, last], range=[_LEFT, _RIGHT], nice=False),
        axis=alt.Axis(
            title=f"{scale}s since the start of the infusion",
            values=list(range(last + 1)) if few else alt.Undefined,
            tickCount=6,
            format="d",
            grid=False,
        ),
    )
    y = alt.Y(
        "percent:Q",
        scale=alt.Scale(domain=[0, most], range=[_HEIGHT, 0], nice=False),
        axis=alt.Axis(
            title=None, tickCount=4, labelExpr="datum.label + '\u00a0%'", offset=-_LEFT + 8
        ),
    )
    layers: list[Any] = []
    for label, colour, points in lines:
        told = [{"end": one["end"], "percent": round(100 * one["share"], 4)} for one in points]
        end = {**told[-1], "end": last, "name": label}
        layers += [
            data([*told, {**told[-1], "end": last}])
            .mark_line(color=colour, strokeWidth=2, strokeDash=[5, 3])
            .encode(x=x, y=y),
            data(told).mark_point(color=colour, filled=True, size=45, opacity=1).encode(x=x, y=y),
            data([end])
            .mark_text(align="left", dx=8, fontSize=13, color=INK)
            .encode(x=x, y=y, text="name:N"),
        ]
    return layered(layers, _HEIGHT)


def _row(label: str, one: Row) -> TableRow:
    cells = (
        Cell(label, is_head=True),
        Cell(f"{one['end']}", "bin_end", is_number=True),
        Cell(words.count(one["n"]), "n_events", is_number=True),
        Cell(words.percent(one["share"]), "cumulative_incidence", is_number=True),
        Cell(words.interval(one["low"], one["high"]), "ci", is_number=True),
    )
    return TableRow(cells, f"onset/{one['outcome']}/{one['line']}/{one['scale']}/{one['bin_end']}")
