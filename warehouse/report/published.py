"""Observed against published: the literature's number as the interval that rounding leaves."""

from __future__ import annotations

from warehouse.report import words
from warehouse.report.charts import svg
from warehouse.report.dots import Dot, Group, dot_chart
from warehouse.report.masking import is_small, mask
from warehouse.report.page import Cell, Figure, Table
from warehouse.report.page import Row as TableRow
from warehouse.report.read import Row, Source

_HEAD = (
    "What",
    "Published",
    "As an interval",
    "Here",
    "95 % interval",
    "With event",
    "Of",
    "Source",
)
_NOTE = (
    "A published 7 % stands for 6.5 to 7.5 %: that is rounding alone, not the error of the "
    "published sample. Here, every closed and eligible infusion at risk is counted, those whose "
    "follow-up ended early as without event, as chart reviews do. Agreement is no proof: the "
    "patients are others."
)


def benchmark(source: Source, study_id: str, prefix: str) -> Figure:
    """Return the picture of observed risks beside published ones."""
    name, title = f"{prefix}-published", "Published and observed"
    rows = _rows(source, study_id)
    if not rows:
        return Figure(name, title, absent="The study lists no published number.")
    told = [row for row in rows if row["published_low"] is not None]
    table = Table(f"{title}.", _HEAD, tuple(_row(row) for row in rows))
    if not told:
        absent = "Nothing that was published on these outcomes has a number."
        return Figure(name, title, absent=absent, notes=(_NOTE,), table=table)
    groups = [Group(_what(row), (_published(row), _observed(row))) for row in told]
    chart = dot_chart(groups, "Risk; published as the interval that rounding leaves")
    finding = "; ".join(f"{_what(row)}: here {_observed(row).text}" for row in told)
    drawn = svg(chart, name, title, f"{finding}. The table below has all numbers.")
    return Figure(name, title, svg=drawn, notes=(_NOTE,), table=table)


def _rows(source: Source, study_id: str) -> list[Row]:
    """Return the benchmark's rows, masked, and held against the risks that the page shows too.

    They differ by the infusions whose follow-up ended early: where those are few, and the risk is
    shown elsewhere, the row here is hidden.
    """
    if not source.has("signals.benchmark"):
        return []
    rows = source.rows(
        """SELECT b.*, o.label, r.n_units AS n_complete,
            concat_ws('/', b.study_id, b.measure, b.outcome, b.window_name,
                b.stratum || '=' || b.stratum_value) AS signal_key
        FROM signals.benchmark AS b JOIN reference.outcome AS o USING (study_id, outcome)
        LEFT JOIN signals.risk AS r ON r.is_headline AND (r.site_id, r.study_id, r.outcome,
            r.window_name, r.stratum, r.stratum_value) = (b.site_id, b.study_id, b.outcome,
            b.window_name, b.stratum, b.stratum_value)
        WHERE b.study_id = ?
        ORDER BY b.outcome, b.stratum = 'all' DESC, b.stratum, b.stratum_value""",
        [study_id],
    )
    shown = {_key(row): row for row in mask(_with_margins(source, study_id), source.min_cell)}
    return [_held_against(row, shown, source.min_cell) for row in rows]


def _with_margins(source: Source, study_id: str) -> list[Row]:
    """Return the risks by the denominator `all`: the benchmark lists single values of a stratum."""
    return source.rows(
        """SELECT * FROM signals.risk
        WHERE study_id = ? AND denominator = 'all' AND NOT contains(stratum, ' x ')""",
        [study_id],
    )


def _key(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in ("outcome", "window_name", "stratum", "stratum_value"))


def _held_against(row: Row, shown: dict[tuple[object, ...], Row], min_cell: int) -> Row:
    twin = shown.get(_key(row))
    is_hidden = twin is not None and twin["suppressed_reason"]
    early = (row["n_units"] or 0) - (row["n_complete"] or 0)
    if not is_hidden and not is_small(early, min_cell):
        return row
    mine = ("n_units", "n_events", "n_patients", "risk", "ci_low", "ci_high", "is_within")
    return {**row, **dict.fromkeys(mine), "note": "too small to be shown"}


def _what(row: Row) -> str:
    value = words.value_words(row["stratum"], row["stratum_value"])
    return f"{row['label']}, {'all infusions' if row['stratum'] == 'all' else value}"


def _published(row: Row) -> Dot:
    low, high = row["published_low"], row["published_high"]
    risk = row["published_risk"]
    text = words.percent(risk) if risk is not None else words.interval(low, high)
    middle = risk if risk is not None else (low + high) / 2
    return Dot("published", low, middle, high, text)


def _observed(row: Row) -> Dot:
    if row["risk"] is None:
        return Dot("observed here", None, None, None, row["note"] or words.HIDDEN, is_marked=True)
    text = f"{words.percent(row['risk'])} ({row['n_events']:,} of {row['n_units']:,})"
    return Dot("observed here", row["ci_low"], row["risk"], row["ci_high"], text, is_marked=True)


def _row(row: Row) -> TableRow:
    printed = words.percent(row["published_risk"])
    observed = words.percent(row["risk"]) if row["risk"] is not None else row["note"] or words.DASH
    cells = (
        Cell(_what(row), is_head=True),
        Cell(printed, "published_risk", is_number=True),
        Cell(
            words.interval(row["published_low"], row["published_high"]), "published", is_number=True
        ),
        Cell(observed, "risk", is_number=True),
        Cell(words.interval(row["ci_low"], row["ci_high"]), "ci", is_number=True),
        Cell(words.count(row["n_events"]), "n_events", is_number=True),
        Cell(words.count(row["n_units"]), "n_units", is_number=True),
        Cell(row["source"] or ""),
    )
    return TableRow(cells, row["signal_key"])
