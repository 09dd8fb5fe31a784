"""Observed against published: the literature's number as the interval that rounding leaves."""

from __future__ import annotations

from collections.abc import Sequence

from warehouse.report import words
from warehouse.report.charts import svg
from warehouse.report.dots import Dot, Group, dot_chart
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


def benchmark(source: Source, study_id: str, risks: Sequence[Row], prefix: str) -> Figure:
    """Return the picture of observed risks beside published ones.

    Args:
        source: the warehouse.
        study_id: whose benchmark.
        risks: the masked risks of the page, those with denominator `all` among them.
        prefix: of the figure's id.
    """
    name, title = f"{prefix}-published", "Published and observed"
    rows = _rows(source, study_id, risks)
    if not rows:
        return Figure(name, title, absent="The study lists no published number.")
    told = [row for row in rows if row["published_low"] is not None]
    table = Table(f"{title}.", _HEAD, tuple(_row(row) for row in rows))
    if not told:
        absent = "Nothing that was published on these outcomes has a number."
        return Figure(name, title, absent=absent, notes=(_NOTE,), table=table)
    groups = [Group(_what(row), (_published(row), _observed(row))) for row in told]
    chart = dot_chart(groups, "Risk, 95 % interval; published: rounding")
    finding = "; ".join(f"{_what(row)}: here {_observed(row).text}" for row in told)
    drawn = svg(chart, name, title, f"{finding}. The table below has all numbers.")
    return Figure(name, title, svg=drawn, notes=(_NOTE,), table=table)


def _rows(source: Source, study_id: str, risks: Sequence[Row]) -> list[Row]:
    """Return the benchmark's rows, hidden where the same risk is."""
    if not source.has("signals.benchmark"):
        return []
    rows = source.rows(
        """SELECT b.*, o.label, concat_ws('/', b.study_id, b.measure, b.outcome, b.window_name,
                b.stratum || '=' || b.stratum_value) AS signal_key
        FROM signals.benchmark AS b JOIN reference.outcome AS o USING (study_id, outcome)
        WHERE b.study_id = ?
        ORDER BY b.outcome, b.stratum = 'all' DESC, b.stratum, b.stratum_value""",
        [study_id],
    )
    told = {
        _key(row): row
        for row in risks
        if row["denominator"] == "all" and row["n_units"] is not None
    }
    return [
        _as_told(row, told[_key(row)])
        if _key(row) in told
        else row
        if not row["n_units"]
        else _hidden(row)
        for row in rows
    ]


def _as_told(row: Row, risk: Row) -> Row:
    """Return a row with the risk that the page tells, which can be older than the file's."""
    same = ("n_units", "n_events", "n_patients", "risk", "ci_low", "ci_high", "as_of")
    return {**row, **{name: risk[name] for name in same}}


def _key(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in ("outcome", "window_name", "stratum", "stratum_value"))


def _hidden(row: Row) -> Row:
    mine = ("n_units", "n_events", "n_patients", "risk", "ci_low", "ci_high", "is_within")
    return {**row, **dict.fromkeys(mine), "note": words.HIDDEN}


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
        Cell(". ".join(filter(None, (row["source"], words.as_of(row.get("as_of", "")))))),
    )
    return TableRow(cells, row["signal_key"])
