"""Sequential surveillance: events against those expected, and the boundary, look by look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from warehouse.report import words
from warehouse.report.charts import BLUE, INK, MUTED, RUST, WIDTH, Spec, data, layered, svg
from warehouse.report.masking import shown_sums
from warehouse.report.page import Cell, Figure, Table
from warehouse.report.page import Row as TableRow
from warehouse.report.read import Row, Source

_HEAD = ("Look", "Data through", "Events", "Expected", "Boundary", "Decision")
_NOTES = (
    "Events are patients with a first event since surveillance began; expected are those of the "
    "same infusions under the reference. A signal is a look at which events reach the boundary "
    "(MaxSPRT, Kulldorff 2011; the chance of any false signal is spent exactly over the looks). No "
    "interval is told: the ratio was looked at more than once.",
    "A look is shown where what was added since infusions and events were told last, by a page or "
    "a pack, is 0 or large enough; the decision of each look always is.",
)
_DECISIONS = {"continue": "go on", "signal": "SIGNAL", "end": "end, no signal"}
_LEFT, _RIGHT, _HEIGHT = 40, WIDTH - 110, 190


def charts(source: Source, study_id: str, prefix: str) -> tuple[Figure, ...]:
    """Return a picture for each pair that the study watches."""
    if not source.has("signals.sequential"):
        return ()
    rows = source.rows(
        """SELECT s.*, o.label, concat_ws('/', s.study_id, s.outcome, s.window_name, s.watched,
                s.look_number) AS key
        FROM signals.sequential AS s JOIN reference.outcome AS o USING (study_id, outcome)
        WHERE s.study_id = ? ORDER BY s.outcome, s.window_name, s.watched, s.exported_at,
            s.study_hash, s.look_number""",
        [study_id],
    )
    if not rows:
        absent = (
            "No look has been taken: the study watches no outcome in this way, or too few events "
            "are expected yet."
        )
        return (Figure(f"{prefix}-looks", "Surveillance", absent=absent),)
    pairs = groupby(rows, key=lambda row: (row["outcome"], row["window_name"], row["watched"]))
    return tuple(
        _figure(source, list(looks), f"{prefix}-look-{place}")
        for place, (_, looks) in enumerate(pairs, start=1)
    )


def _figure(source: Source, looks: Sequence[Row], name: str) -> Figure:
    # A revision of the study starts anew: the last one is drawn.
    current = [row for row in looks if row["study_hash"] == looks[-1]["study_hash"]]
    watched = "" if looks[0]["watched"] == "all" else f", {looks[0]['watched'].replace('_', ' ')}"
    title = f"{looks[0]['label']}{watched}"
    shown = shown_looks(source, current)
    table = Table(f"Looks at {title}.", _HEAD, tuple(map(_row, current, shown)))
    last = current[-1]
    finding = (
        f"{words.many(len(current), 'look')}; the last one says: {_DECISIONS[last['decision']]}."
    )
    if not any(shown):
        absent = f"{finding} Its counts are too small to be shown."
        return Figure(name, title, absent=absent, notes=_NOTES, table=table)
    told = [row for row, is_shown in zip(current, shown, strict=True) if is_shown]
    drawn = svg(_chart(told), name, title, f"{finding} The table below has all numbers.")
    return Figure(name, title, svg=drawn, notes=(finding, *_NOTES), table=table)


def shown_looks(source: Source, looks: Sequence[Row]) -> list[bool]:
    """Say which looks of a pair are shown.

    Packs tell the same units and events as of other nights: the page of a site shows a look only
    where it may be told beside them, and then for good.
    """
    if source.is_alone or source.min_cell == 1:
        return _shown(looks, source.min_cell)
    return [source.may_show(row, f"{row['study_hash']}/{row['key']}") for row in looks]


def _shown(looks: Sequence[Row], min_cell: int) -> list[bool]:
    """Say which looks are shown: neither events nor infusions may be small, nor grow by few."""
    names = ("n_events", "n_units_first", "n_units_later")
    told: list[Row] = []
    shown = []
    for row in looks:
        trial = [*told, row]
        is_safe = all(all(shown_sums([one[name] for one in trial], min_cell)) for name in names)
        shown.append(is_safe)
        told = trial if is_safe else told
    return shown


def _chart(looks: Sequence[Row]) -> Spec:
    import altair as alt

    points = [
        {
            "look": row["look_number"],
            "events": row["n_events"],
            "expected": round(row["expected"], 2),
            "boundary": row["threshold"],
        }
        for row in looks
    ]
    most = max(max(one["boundary"], one["events"]) for one in points) * 1.1
    x = alt.X(
        "look:O",
        title="look",
        scale=alt.Scale(range=[_LEFT, _RIGHT], type="point", padding=0.5),
        axis=alt.Axis(grid=False, labelAngle=0),
    )
    scale = alt.Scale(domain=[0, most], range=[_HEIGHT, 0], nice=False)
    axis = alt.Axis(title="patients", titlePadding=26, tickCount=4, offset=-_LEFT + 8)
    places = _spread({name: points[-1][name] for name in ("boundary", "expected", "events")}, most)
    layers: list[Any] = []
    for column, colour, dash in (
        ("boundary", RUST, [5, 3]),
        ("expected", MUTED, [2, 3]),
        ("events", BLUE, [1, 0]),
    ):
        y = alt.Y(f"{column}:Q", scale=scale, axis=axis)
        base = data(points).encode(x=x, y=y)
        ending = data([{**points[-1], column: places[column], "name": _named(points[-1], column)}])
        layers += [
            base.mark_line(color=colour, strokeDash=dash, strokeWidth=2),
            base.mark_point(color=colour, filled=True, size=55, opacity=1),
            ending.mark_text(align="left", dx=10, fontSize=13, color=INK).encode(
                x=x, y=y, text="name:N"
            ),
        ]
    return layered(layers, _HEIGHT)


def _named(point: Mapping[str, Any], column: str) -> str:
    return f"{column} {point[column]:.1f}" if column == "expected" else f"{column} {point[column]}"


def _spread(ends: Mapping[str, float], most: float) -> dict[str, float]:
    """Return where the names of lines stand: at their ends, but not upon each other."""
    apart = 17 / _HEIGHT * most
    placed: dict[str, float] = {}
    lowest = 0.0
    for name, value in sorted(ends.items(), key=lambda pair: (pair[1], pair[0])):
        placed[name] = max(value, lowest)
        lowest = placed[name] + apart
    return placed


def _row(row: Row, is_shown: bool) -> TableRow:  # noqa: FBT001 - mapped over two sequences
    def told(text: str) -> str:
        return text if is_shown else words.HIDDEN

    cells = (
        Cell(f"{row['look_number']}", is_head=True),
        Cell(words.day(row["data_through_at"])),
        Cell(told(words.count(row["n_events"])), "n_events", is_number=True),
        Cell(told(words.number(row["expected"])), "expected", is_number=True),
        Cell(told(words.count(row["threshold"])), "threshold", is_number=True),
        Cell(_DECISIONS[row["decision"]], "decision"),
    )
    return TableRow(cells, row["key"])
