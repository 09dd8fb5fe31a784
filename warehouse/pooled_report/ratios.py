"""First against later infusions: each hospital's ratio, and what they are together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from warehouse.pooled_report import told
from warehouse.pooled_report.forests import MAX_FORESTS, MAX_SITES
from warehouse.pooled_report.read import Pooled
from warehouse.report import words
from warehouse.report.charts import svg
from warehouse.report.dots import Dot, Group, ratio_chart
from warehouse.report.page import Cell, Figure, Table
from warehouse.report.page import Row as TableRow
from warehouse.report.read import Row

_KEY = (
    "concat_ws('/', study_id, outcome, window_name, stratum || '=' || stratum_value, other_value, "
    "denominator)"
)
_HEAD = (
    "Hospital",
    "First: with event",
    "Of",
    "Later: with event",
    "Of",
    "Ratio",
    "95 % interval",
    "Data",
    "Remark",
)
_READING = (
    "First over later infusions in the record; above 1 the first ones are followed more often. "
    "Children who stop after an event make it larger than 1 even where the risk never changes: "
    "1.25 to 1.45 where 30 to 60 % stop."
)
_FEW = {
    1: "One hospital: its own ratio.",
    2: "Two hospitals: the interval is Wald's, too narrow where hospitals differ; no prediction.",
}


def first_and_later(file: Pooled, risks: Sequence[Row], prefix: str) -> Iterator[Figure]:
    """Yield a forest plot of ratios for each outcome of which first and later are pooled."""
    for place, risk in enumerate([row for row in risks if row["is_main"]][:MAX_FORESTS], start=1):
        about = [risk[name] for name in ("study_id", "outcome", "window_name", "denominator")]
        pooled, own = (
            file.rows(
                f"SELECT *, {_KEY}{more} AS key FROM {table} WHERE study_id = ? AND outcome = ? "
                "AND window_name = ? AND denominator = ? AND stratum = 'ordinal' "
                "AND stratum_value = 'first' AND other_value = 'later' ORDER BY key",
                about,
            )
            for table, more in (
                ("pooled.comparison", ""),
                ("pooled.comparison_forest", " || '/' || site_id"),
            )
        )
        if pooled:
            yield _forest(file, risk["label"], pooled[0], own, f"{prefix}-ratio-{place}")


def _forest(file: Pooled, title: str, row: Row, own: Sequence[Row], name: str) -> Figure:
    groups = [Group("", tuple(_site_dot(one) for one in own[:MAX_SITES]))]
    if row["n_sites"] > 1:
        groups.append(Group("", _together(row)))
    data = file.data({one["site_id"] for one in own})
    body = (*(_site_row(file, one) for one in own), _pooled_row(row, data))
    few = row["n_sites_estimated"] or row["n_sites"]
    common = (
        f"If all shared one ratio: {_ratio(row, 'mh_ratio', 'mh_low', 'mh_high')} (Mantel-Haenszel)"
        f", {_ratio(row, 'common_ratio', 'common_low', 'common_high')} (inverse variance)."
        if 1 < row["n_sites"] < 5 and row["common_ratio"] is not None
        else ""
    )
    spread = (
        f"Between hospitals: I² {words.percent(row['i2'])}, tau² {words.number(row['tau2'])} "
        "(log ratio)."
        if row["i2"] is not None
        else ""
    )
    note = told.sentence(row["note"])
    notes = (_READING, spread, _FEW.get(few, ""), common, note, f"Data: {data}.")
    table = Table(f"{title}: first over later infusions.", _HEAD, body)
    finding = f"Pooled: {_text(row)}; {told.sites(row)}. The table below has all numbers."
    picture = svg(ratio_chart(groups, "Ratio, 95 % interval"), name, title, finding)
    return Figure(name, title, svg=picture, notes=notes, table=table)


def _together(row: Row) -> tuple[Dot, ...]:
    text = _text(row)
    if row["risk_ratio"] is not None:
        ends = row["risk_ratio_low"], row["risk_ratio_high"]
        dots = [
            Dot("pooled", ends[0], row["risk_ratio"], ends[1], text, is_marked=True, shape="pooled")
        ]
        low, high = row["prediction_low"], row["prediction_high"]
        if low is not None and high is not None:
            dots.append(
                Dot("another hospital", low, None, high, _span(low, high), shape="expected")
            )
        return tuple(dots)
    low, high = row["ratio_lowest"], row["ratio_highest"]
    return (Dot("pooled", low, None, high, text, is_marked=True, shape="range"),)


def _site_dot(one: Row) -> Dot:
    if one["suppressed_reason"]:
        low, high = one["ratio_lowest"], one["ratio_highest"]
        if low is None or high is None:
            low = high = None
        return Dot(one["site_id"], low, None, high, _text(one), shape="range")
    ends = one["risk_ratio_low"], one["risk_ratio_high"]
    return Dot(one["site_id"], ends[0], one["risk_ratio"], ends[1], _text(one))


def _text(row: Row) -> str:
    """Return a ratio with its limits, or what it can be, or that it is masked."""
    if row["risk_ratio"] is not None:
        return _ratio(row, "risk_ratio", "risk_ratio_low", "risk_ratio_high")
    if row["ratio_lowest"] is not None and row["ratio_highest"] is not None:
        return f"{_span(row['ratio_lowest'], row['ratio_highest'])}, range"
    return told.MASKED if row.get("suppressed_reason") or row.get("n_sites_masked") else words.DASH


def _ratio(row: Row, *names: str) -> str:
    value, low, high = (row[name] for name in names)
    spread = f" ({_span(low, high)})" if low is not None and high is not None else ""
    return f"{words.number(value)}{spread}"


def _span(low: float, high: float) -> str:
    return f"{words.number(low)} to {words.number(high)}"


def _limits(row: Row) -> str:
    low, high = row["risk_ratio_low"], row["risk_ratio_high"]
    return words.DASH if low is None or high is None else _span(low, high)


def _value(row: Row) -> str:
    return words.number(row["risk_ratio"]) if row["risk_ratio"] is not None else _text(row)


def _site_row(file: Pooled, one: Row) -> TableRow:
    counts = ("n_events", "n_units", "other_n_events", "other_n_units")
    cells = (
        Cell(one["site_id"], "site_id", is_head=True),
        *(
            Cell(told.MASKED if one[name] is None else words.count(one[name]), name, is_number=True)
            for name in counts
        ),
        Cell(_value(one), "risk_ratio", is_number=True),
        Cell(_limits(one), "ci", is_number=True),
        Cell(file.hospitals[one["site_id"]].data, "data"),
        Cell((one["suppressed_reason"] or "").replace("_", " ")),
    )
    return TableRow(cells, one["key"])


def _pooled_row(row: Row, data: str) -> TableRow:
    cells = (
        Cell("pooled", is_head=True),
        *(Cell("", is_number=True),) * 4,
        Cell(_value(row), "risk_ratio", is_number=True),
        Cell(_limits(row), "ci", is_number=True),
        Cell(data, "data"),
        Cell(row["method"] or ""),
    )
    return TableRow(cells, row["key"])
