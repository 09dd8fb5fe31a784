"""Forest plots: each hospital's risk, what they are together, and what another's may be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from warehouse.pooled_report import told
from warehouse.pooled_report.read import KEY, Pooled
from warehouse.report import words
from warehouse.report.charts import svg
from warehouse.report.dots import Dot, Group, dot_chart
from warehouse.report.page import Cell, Figure, Table
from warehouse.report.page import Row as TableRow
from warehouse.report.read import Row

#: What is drawn; the tables have every hospital.
MAX_FORESTS, MAX_SITES = 6, 40
_FOREST_HEAD = ("Hospital", "With event", "Of", "Risk", "95 % interval", "Data", "Remark")
_READING = (
    "A dot is a hospital's own risk with its 95 % interval (Korn-Graubard); a pale bar is what a "
    "masked one can be."
)
_OUTSIDE = "In the other colour: outside of what the other hospitals lead to expect; see below."


def forests(file: Pooled, risks: Sequence[Row], prefix: str) -> Iterator[Figure]:
    """Yield a forest plot for each outcome: hospitals, what they are together, what to expect."""
    for place, row in enumerate([row for row in risks if row["is_main"]][:MAX_FORESTS], start=1):
        found = file.rows(
            f"SELECT *, {KEY} || '/' || site_id AS key FROM pooled.forest WHERE {KEY} = ? "
            "ORDER BY site_id",
            [row["key"]],
        )
        yield _forest(file, row, found, f"{prefix}-forest-{place}")


def _forest(file: Pooled, row: Row, found: Sequence[Row], name: str) -> Figure:
    together = told.dot(row, "pooled") if row["n_sites"] > 1 else None
    dots = [_site_dot(one) for one in found[:MAX_SITES]]
    groups = [Group("", tuple(dots))]
    if together:
        groups.append(Group("", (together, *told.expected(row))))
    body = [_site_row(file, one) for one in found]
    total = (
        Cell("pooled", is_head=True),
        Cell(told.count(row, "n_events"), "n_events", is_number=True),
        Cell(told.count(row, "n_units"), "n_units", is_number=True),
        Cell(told.risk(row), "risk", is_number=True),
        Cell(told.limits(row), "ci", is_number=True),
        Cell(row["data"], "data"),
        Cell(row["note"] or ""),
    )
    table = Table(f"{row['label']}: hospitals.", _FOREST_HEAD, (*body, TableRow(total, row["key"])))
    spread = (
        f"Between hospitals: I² {words.percent(row['i2'])}, tau² {words.number(row['tau2'])} "
        "(log odds)."
        if row["tau2"] is not None and row["i2"] is not None
        else "How hospitals differ is not told: a count is masked, or there are too few of them."
    )
    outside = _OUTSIDE if any(one["is_outside"] for one in found) else ""
    notes = (
        _READING,
        outside,
        spread,
        told.sentence(row["note"]),
        told.few(row),
        told.crude(row),
        f"Data: {row['data']}.",
    )
    finding = f"Pooled: {told.risk(row)}; {told.sites(row)}. The table below has all numbers."
    picture = svg(dot_chart(groups, "Risk, 95 % interval"), name, row["label"], finding)
    return Figure(name, row["label"], svg=picture, notes=notes, table=table)


def _ends(one: Row) -> tuple[float, float] | None:
    """Return the lowest and highest risk that a masked hospital can have."""
    low, high, n_low, n_high = (
        one[name] for name in ("n_events_low", "n_events_high", "n_units_low", "n_units_high")
    )
    if high is None or not n_high or n_low != n_high:
        return None
    return low / n_high, min(1.0, high / n_high)


def _site_dot(one: Row) -> Dot:
    is_marked = bool(one["is_outside"])
    if one["risk"] is not None:
        text = f"{words.percent(one['risk'])} ({one['n_events']:,} of {one['n_units']:,})"
        return Dot(one["site_id"], one["ci_low"], one["risk"], one["ci_high"], text, is_marked)
    ends = _ends(one)
    if ends is None:
        return Dot(one["site_id"], None, None, None, _why(one), is_marked, "range")
    text = f"masked, {words.interval(*ends)}"
    return Dot(one["site_id"], ends[0], None, ends[1], text, is_marked, "range")


def _why(one: Row) -> str:
    return told.MASKED if one["suppressed_reason"] else words.DASH


def _site_row(file: Pooled, one: Row) -> TableRow:
    ends = _ends(one)
    risk = words.percent(one["risk"])
    if one["risk"] is None and one["suppressed_reason"]:
        risk = told.MASKED if ends is None else words.interval(*ends)
    cells = (
        Cell(one["site_id"], "site_id", is_head=True),
        Cell(told.count(one, "n_events"), "n_events", is_number=True),
        Cell(told.count(one, "n_units"), "n_units", is_number=True),
        Cell(risk, "risk", is_number=True),
        Cell(words.interval(one["ci_low"], one["ci_high"]), "ci", is_number=True),
        Cell(file.hospitals[one["site_id"]].data, "data"),
        Cell((one["suppressed_reason"] or "").replace("_", " ")),
    )
    return TableRow(cells, one["key"])
