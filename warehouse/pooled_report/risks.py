"""Risks over hospitals: the answer on the first screen, and every outcome and window."""

from __future__ import annotations

from collections.abc import Sequence

from warehouse.pooled_report import told
from warehouse.pooled_report.read import KEY, Pooled, main_window
from warehouse.report import words
from warehouse.report.charts import svg
from warehouse.report.dots import Group, dot_chart
from warehouse.report.page import Answer, Cell, Figure, Table
from warehouse.report.page import Row as TableRow
from warehouse.report.read import Row

#: What is drawn; the tables have all.
MAX_OUTCOMES = 8
_HEAD = (
    "Outcome",
    "Window",
    "Hospitals",
    "With event",
    "Of",
    "Risk",
    "95 % interval",
    "Another hospital's",
    "I²",
    "tau²",
    "As if one hospital",
    "Data",
    "Remark",
)
_READING = (
    "A diamond is the risk of the middle hospital, its line the 95 % interval; broken thin line: "
    "where another hospital's risk is expected (95 %); pale bar: what the risk can be where a "
    "hospital masks its counts."
)


def rows(file: Pooled, study: Row) -> list[Row]:
    """Return the undivided headline risks of a study, those first of which most is told."""
    labels = file.outcomes(study)
    found = file.rows(
        f"SELECT *, {KEY} AS key FROM pooled.risk WHERE study_id = ? AND is_headline "
        "AND stratum = 'all' ORDER BY risk IS NULL, n_events_low DESC, outcome, window_name",
        [study["study_id"]],
    )
    return [
        {
            **row,
            "label": labels[row["outcome"]]["label"],
            "is_main": row["window_name"] == main_window(labels[row["outcome"]]),
            "data": file.data(file.sites_of(row["key"])),
        }
        for row in found
    ]


def answers(file: Pooled, risks: Sequence[Row]) -> tuple[Answer, ...]:
    """Return the risk after all and after first-in-record infusions of the first outcome."""
    main = next((row for row in risks if row["is_main"]), None)
    if main is None:
        return ()
    first = file.rows(
        f"SELECT *, {KEY} AS key FROM pooled.risk WHERE study_id = ? AND outcome = ? "
        "AND window_name = ? AND is_headline AND stratum = 'ordinal' AND stratum_value = 'first'",
        [main["study_id"], main["outcome"], main["window_name"]],
    )
    asked = [(main, "after all infusions"), *((row, _FIRST) for row in first)]
    return tuple(_answer({**main, **row}, question) for row, question in asked)


_FIRST = "after the first infusion in the record"


def _answer(row: Row, question: str) -> Answer:
    counts = f"{told.count(row, 'n_events')} of {told.count(row, 'n_units')} infusions"
    spread = f"95 % interval {told.limits(row)}"
    if row["risk"] is None:
        spread = (
            f"What it can be; 95 % limits {told.limits(row)}"
            if row["risk_lowest"] is not None
            else told.sentence(f"no number: {row['note']}")
        )
    around = ""
    if row["prediction_low"] is not None:
        ends = words.interval(row["prediction_low"], row["prediction_high"])
        around = f" Another hospital's risk is expected between {ends.replace(' to ', ' and ')}."
    few = " ".join(filter(None, (told.few(row), told.crude(row))))
    text = f"{counts}, {told.sites(row)}.{around} {few} Data: {row['data']}."
    return Answer(
        f"{row['label']} {question}", told.risk(row), " ".join(text.split()), spread, row["key"]
    )


def pooled(risks: Sequence[Row], prefix: str) -> Figure:
    """Return the picture of every outcome's pooled risk, with where another hospital's lies."""
    name, title = f"{prefix}-pooled", "After all infusions"
    if not risks:
        return Figure(name, title, absent="No hospital has an infusion of a closed window.")
    drawn = [row for row in risks if row["is_main"]][:MAX_OUTCOMES]
    groups = [Group(row["label"], (told.dot(row, _who(row)), *told.expected(row))) for row in drawn]
    table = Table(f"{title}: every outcome and window.", _HEAD, tuple(map(_row, risks)))
    finding = f"{drawn[0]['label']}: {told.risk(drawn[0])}. The table below has all numbers."
    few = min(risks, key=lambda row: row["n_sites"])
    notes = (_READING, told.few(few), "Look at the age of the data (table) before comparing.")
    picture = svg(dot_chart(groups, "Risk, 95 % interval"), name, title, finding)
    return Figure(name, title, svg=picture, notes=notes, table=table)


def _who(row: Row) -> str:
    """Return how many hospitals a line rests on, in as few letters as a picture has room for."""
    n, masked = row["n_sites"], row["n_sites_masked"]
    return f"{n - masked} of {n} tell" if masked else words.many(n, "hospital")


def _row(row: Row) -> TableRow:
    cells = (
        Cell(row["label"], is_head=True),
        Cell(row["window_name"], "window_name"),
        Cell(told.sites(row), "n_sites"),
        Cell(told.count(row, "n_events"), "n_events", is_number=True),
        Cell(told.count(row, "n_units"), "n_units", is_number=True),
        Cell(told.risk(row), "risk", is_number=True),
        Cell(told.limits(row), "ci", is_number=True),
        Cell(
            words.interval(row["prediction_low"], row["prediction_high"]),
            "prediction",
            is_number=True,
        ),
        Cell(words.percent(row["i2"]), "i2", is_number=True),
        Cell(words.number(row["tau2"]), "tau2", is_number=True),
        Cell(words.percent(row["crude_risk"]), "crude_risk", is_number=True),
        Cell(row["data"], "data"),
        Cell(" ".join(filter(None, (row["note"], told.few(row))))),
    )
    return TableRow(cells, row["key"])
