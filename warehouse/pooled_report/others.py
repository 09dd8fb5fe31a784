"""Each hospital against the others: the result without it, and where they lead to expect it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from warehouse.pooled_report import told
from warehouse.pooled_report.forests import MAX_SITES
from warehouse.pooled_report.read import KEY, Pooled
from warehouse.report import words
from warehouse.report.charts import svg
from warehouse.report.dots import Group, dot_chart
from warehouse.report.page import Cell, Figure, Table
from warehouse.report.page import Row as TableRow
from warehouse.report.read import Row

MAX_OUTCOMES = 3
_HEAD = (
    "Outcome",
    "Left out",
    "Hospitals",
    "Risk",
    "95 % interval",
    "I²",
    "tau²",
    "Data",
    "Remark",
)
_AGAINST_HEAD = (
    "Outcome",
    "Hospital",
    "Its risk",
    "95 % interval",
    "Expected from the others",
    "So it lies",
    "Data",
)
_CARE = (
    "Outside is said of a hospital whose whole 95 % interval lies outside the 95 % prediction "
    "interval of the others, which its own data have no part in. That is a reason to ask, no "
    "finding about care: hospitals differ in whom they treat, with what, how often they look and "
    "what they write down, and where many are compared some lie outside by chance.",
    "A hospital with few infusions has a wide interval and is hardly ever outside: inside is no "
    "proof of likeness. Hospitals that mask their counts are not compared.",
)


def without_each(file: Pooled, risks: Sequence[Row], prefix: str) -> Figure:
    """Return the pooled risk without each hospital in turn: whether one makes the result."""
    name, title = f"{prefix}-without", "Without each hospital in turn"
    found = file.rows(
        f"SELECT *, {KEY} AS about, {KEY} || '/without ' || left_out AS key "
        "FROM pooled.leave_one_out WHERE study_id = ? ORDER BY left_out",
        [risks[0]["study_id"] if risks else ""],
    )
    if not found:
        return Figure(name, title, absent="Three hospitals are needed to leave one out.")
    by_risk = defaultdict(list)
    for row in found:
        by_risk[row["about"]].append(row)
    main = [row for row in risks if row["is_main"] and row["key"] in by_risk]
    groups = [
        Group(
            row["label"],
            (
                told.dot(row, "all hospitals"),
                *(
                    replace(told.dot(one, f"without {one['left_out']}"), is_marked=False)
                    for one in by_risk[row["key"]][:MAX_SITES]
                ),
            ),
        )
        for row in main[:MAX_OUTCOMES]
    ]
    body = tuple(_row(file, row, one) for row in main for one in by_risk[row["key"]])
    table = Table(f"{title}.", _HEAD, body)
    finding = f"{main[0]['label']}: all {told.risk(main[0])}. The table below has all numbers."
    note = "A line far from the first one says that the result hangs on the hospital that it lacks."
    picture = svg(dot_chart(groups, "Risk, 95 % interval"), name, title, finding)
    return Figure(name, title, svg=picture, notes=(note,), table=table)


def _row(file: Pooled, row: Row, one: Row) -> TableRow:
    others = file.data(file.sites_of(row["key"]) - {one["left_out"]})
    cells = (
        Cell(row["label"], is_head=True),
        Cell(one["left_out"], "left_out"),
        Cell(told.sites(one), "n_sites"),
        Cell(told.risk(one), "risk", is_number=True),
        Cell(told.limits(one), "ci", is_number=True),
        Cell(words.percent(one["i2"]), "i2", is_number=True),
        Cell(words.number(one["tau2"]), "tau2", is_number=True),
        Cell(others, "data"),
        Cell(one["note"] or ""),
    )
    return TableRow(cells, one["key"])


def against(file: Pooled, risks: Sequence[Row], prefix: str) -> Figure:
    """Return each hospital's risk against what the others lead to expect."""
    name, title = f"{prefix}-against", "Each hospital against the others"
    found = file.rows(
        f"SELECT *, {KEY} AS about, {KEY} || '/' || site_id || '/against' AS key "
        "FROM pooled.forest WHERE study_id = ? AND is_outside IS NOT NULL "
        "ORDER BY NOT is_outside, outcome, site_id",
        [risks[0]["study_id"] if risks else ""],
    )
    main = {row["key"]: row for row in risks if row["is_main"]}
    found = [row for row in found if row["about"] in main]
    if not found:
        absent = (
            "No hospital can be held against three others that all tell their counts: from fewer "
            "it cannot be said where its risk is expected."
        )
        return Figure(name, title, absent=absent)
    outside = [
        f"{one['site_id']} ({main[one['about']]['label']})" for one in found if one["is_outside"]
    ]
    said = f"Outside: {words.listed(outside)}." if outside else "No hospital lies outside."
    body = tuple(_against_row(file, main[one["about"]], one) for one in found)
    made = Table(f"{title}: {len(found):,} comparisons.", _AGAINST_HEAD, body, is_open=True)
    return Figure(name, title, notes=(said, *_CARE), table=made)


def _against_row(file: Pooled, row: Row, one: Row) -> TableRow:
    cells = (
        Cell(row["label"], is_head=True),
        Cell(one["site_id"], "site_id"),
        Cell(words.percent(one["risk"]), "risk", is_number=True),
        Cell(words.interval(one["ci_low"], one["ci_high"]), "ci", is_number=True),
        Cell(words.interval(one["expected_low"], one["expected_high"]), "expected", is_number=True),
        Cell("outside" if one["is_outside"] else "inside or across", "is_outside"),
        Cell(file.hospitals[one["site_id"]].data, "data"),
    )
    return TableRow(cells, one["key"])
