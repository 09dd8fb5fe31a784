"""Month by month, whether each feed told of anything: a gap in the records is no gap in events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from warehouse.report import words
from warehouse.report.charts import (
    BAND,
    BAND_DEEP,
    BLUE,
    GRID,
    INK,
    MUTED,
    WIDTH,
    Spec,
    data,
    layered,
    svg,
)
from warehouse.report.masking import is_small, told
from warehouse.report.page import Cell, Figure, Table
from warehouse.report.page import Row as TableRow
from warehouse.report.read import Row, Source

N_MONTHS = 24
MAX_FEEDS = 30
CROSS = "\u00d7"
_LEFT, _STEP = 172, 24
_NOTE = (
    "Records by the month in which they happened, of the last two years that the data reach. A "
    "cross is a month without any record. Whether a source fell silent is judged by days "
    "(quality.silence); a feed that is quiet holds the windows open that need it."
)
#: Levels of a month against the feed's own busiest one, as words.
_LEVELS = ("none", "few", "some", "many")


def calendar(source: Source) -> Figure:
    """Return the calendar of records by feed and month."""
    name, title = "calendar", "Records by month"
    rows = [
        {**row, "n": source.held.count(f"records/{row['feed']}/{row['month']:%Y-%m}", row["n"])}
        for row in _rows(source)
    ]
    if not rows:
        return Figure(name, title, absent="No record has a date.")
    # Levels are of what is told: else one record more in the busiest month shows in the others.
    busiest = {
        feed: max(row["n"] for row in rows if row["feed"] == feed)
        for feed in {row["feed"] for row in rows}
    }
    rows = [{**row, "most": busiest[row["feed"]]} for row in rows]
    months = sorted({row["month"] for row in rows})
    feeds = list(dict.fromkeys(row["feed"] for row in rows))[:MAX_FEEDS]
    marks = [_mark(row, source.min_cell) for row in rows if row["feed"] in feeds]
    empty = [f"{one['feed']} {one['month']}" for one in marks if one["level"] == "none"]
    finding = f"{words.many(len(empty), 'month')} of a feed without a record."
    drawn = svg(_chart(marks, months, feeds), name, title, finding)
    table = _table(rows, months, feeds, source.min_cell)
    return Figure(name, title, svg=drawn, notes=(_NOTE,), table=table)


def _rows(source: Source) -> list[Row]:
    """Return every feed and month, with 0 where nothing was told."""
    return source.rows(
        f"""WITH last AS (SELECT date_trunc('month', coalesce(max(data_through_at)::DATE,
                max(last_occurred_date)))::DATE AS month FROM quality.feed),
            month AS (SELECT unnest(generate_series(last.month - INTERVAL {N_MONTHS - 1} MONTH,
                last.month, INTERVAL 1 MONTH))::DATE AS month FROM last),
            feed AS (SELECT source, event_type FROM quality.feed
                WHERE first_occurred_date IS NOT NULL),
            told AS (SELECT source, event_type, date_trunc('month', occurred_date)::DATE AS month,
                sum(n_rows)::BIGINT AS n FROM quality.completeness GROUP BY ALL)
        SELECT CASE WHEN (SELECT count(DISTINCT source) FROM feed) > 1
                THEN feed.source || ': ' ELSE '' END || feed.event_type AS feed,
            month.month, coalesce(told.n, 0) AS n
        FROM feed CROSS JOIN month LEFT JOIN told USING (source, event_type, month)
        ORDER BY feed, month"""
    )


def _mark(row: Row, min_cell: int) -> dict[str, str]:
    """Return what is drawn of a month: a level, never a number that is small."""
    count, most = row["n"], row["most"] or 0
    if not count:
        level = "none"
    elif is_small(count, min_cell) or count * 3 <= most:
        level = "few"
    else:
        level = "some" if count * 3 <= 2 * most else "many"
    return {"feed": row["feed"], "month": f"{row['month']:%Y-%m}", "level": level}


def _chart(marks: Sequence[dict[str, str]], months: Sequence[date], feeds: Sequence[str]) -> Spec:
    import altair as alt

    labels = [f"{month:%Y-%m}" for month in months]
    x = alt.X(
        "month:O",
        scale=alt.Scale(domain=labels, range=[_LEFT, WIDTH], padding=0.08),
        axis=alt.Axis(
            title=None, labelAngle=0, values=labels[:: max(1, len(labels) // 4)], grid=False
        ),
    )
    height = _STEP * len(feeds)
    y = alt.Y(
        "feed:N",
        scale=alt.Scale(domain=list(feeds), range=[0, height], paddingInner=0.15),
        axis=None,
    )
    colour = alt.Color(
        "level:N",
        scale=alt.Scale(domain=list(_LEVELS), range=["transparent", BAND, BAND_DEEP, BLUE]),
        legend=None,
    )
    base = data(marks).encode(y=y)
    names = data([{"feed": feed} for feed in feeds])
    layers = (
        base.mark_rect(stroke=GRID, strokeWidth=1).encode(x=x, color=colour),
        base.transform_filter("datum.level == 'none'")
        .mark_text(text=CROSS, fontSize=13, color=MUTED)
        .encode(x=x),
        names.mark_text(align="left", fontSize=13, color=INK, limit=_LEFT - 8).encode(
            y=y, x=alt.value(0), text="feed:N"
        ),
    )
    return layered(layers, height)


def _table(
    rows: Sequence[Row], months: Sequence[date], feeds: Sequence[str], min_cell: int
) -> Table:
    found = {(row["feed"], row["month"]): row["n"] for row in rows}
    body = tuple(
        TableRow(
            (
                Cell(f"{month:%Y-%m}", is_head=True),
                *(
                    Cell(told(found[feed, month], min_cell), "n_rows", is_number=True)
                    for feed in feeds
                ),
            ),
            f"{month:%Y-%m}",
        )
        for month in months
    )
    return Table("Records by month.", ("Month", *feeds), body)
