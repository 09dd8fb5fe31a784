"""Risk by what the infusions are divided by: pictures of dots and intervals, with their tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from warehouse.report import words
from warehouse.report.charts import svg
from warehouse.report.dots import Dot, Group, dot_chart
from warehouse.report.page import Cell, Figure, Table
from warehouse.report.page import Row as TableRow
from warehouse.report.read import Row

#: What a picture can hold; the table has the rest, up to its own end.
MAX_GROUPS, MAX_DOTS, MAX_ROWS = 8, 8, 400
#: Strata that the page tells of, in its order, with the heading of each.
STRATA = (
    ("ordinal", "First and later infusions"),
    ("drug", "By drug"),
    ("indication_type", "By type of osteoporosis"),
    ("setting", "By setting"),
    ("premedicated", "By premedication"),
)
#: What each of them can and can't say.
_CAUTION = {
    "all": "An outcome that nobody looked for is not told: fever needs a reading or a report, a "
    "low calcium a blood test. The table names the denominator.",
    "ordinal": "First is the first in this record, not always the first ever. Later infusions are "
    "those of patients who went on: were a reaction a reason to stop, even a constant risk would "
    "look higher after first infusions.",
    "drug": "Drugs are given to unlike patients, and over days or in one hour: a difference here "
    "is a reason to ask, not an effect of the drug.",
    "indication_type": "The first group of the study that fits names the type, from diagnoses "
    "before the infusion.",
    "setting": "At home fewer readings are taken: what nobody saw is not counted. First infusions "
    "are mostly given in hospital, so that settings differ by more than the place.",
    "premedicated": "Premedication in the 24 hours before the start. It is given to those who "
    "reacted before: a higher risk with it does not say that it harms.",
}
_COLUMNS = ("n_events", "n_units", "risk", "ci_low", "ci_high", "wilson_low", "wilson_high")
_HEAD = ("Outcome", "Infusions", "With event", "Of", "Risk", "95 % interval", "Wilson's", "Remark")
_WITHHELD = "a count is small, or would tell of one that is"
_READING = (
    "A dot is the share of infusions with the event, the line its 95 % interval "
    "(Korn-Graubard), which knows that one patient has several infusions."
)


def all_outcomes(risks: Sequence[Row], prefix: str) -> Figure:
    """Return the picture of every outcome, undivided."""
    rows = [row for row in risks if row["stratum"] == "all"]
    drawn = sorted(
        (row for row in rows if row["risk"] is not None),
        key=lambda one: (-one["risk"], one["outcome"]),
    )
    groups = [Group(row["label"], (_dot(row, "all infusions"),)) for row in drawn[: 2 * MAX_GROUPS]]
    return _figure(
        f"{prefix}-all",
        "After all infusions",
        groups,
        rows,
        (_READING, _CAUTION["all"], _trace(rows)),
    )


def by_stratum(risks: Sequence[Row], stratum: str, title: str, prefix: str) -> Figure:
    """Return the picture of one stratum: a group an outcome, a line a value."""
    rows = [row for row in risks if row["stratum"] == stratum]
    groups, left_out = _groups(rows, stratum)
    notes = [_READING, _CAUTION.get(stratum, "")]
    if left_out:
        notes.append("Outcomes of which nothing may be shown stand in the table alone.")
    return _figure(f"{prefix}-{stratum}", title, groups, rows, (*notes, _trace(rows)))


def _groups(rows: Sequence[Row], stratum: str) -> tuple[list[Group], list[str]]:
    """Return what is drawn, most events first, and the outcomes that are not."""
    by_outcome: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_outcome[row["outcome"]].append(row)
    told = {
        name: sum(row["n_events"] or 0 for row in one)
        for name, one in by_outcome.items()
        if any(row["risk"] is not None for row in one)
    }
    first = sorted(told, key=lambda name: (-told[name], name))[:MAX_GROUPS]
    groups = []
    for name in first:
        shown = [row for row in by_outcome[name] if row["note"] != "no units"]
        dots = tuple(
            _dot(row, words.value_words(stratum, row["stratum_value"])) for row in shown[:MAX_DOTS]
        )
        groups.append(Group(shown[0]["label"], dots))
    return groups, [by_outcome[name][0]["label"] for name in by_outcome if name not in first]


def _dot(row: Row, label: str) -> Dot:
    is_marked = row["stratum_value"] == "first"
    if row["risk"] is None:
        return Dot(label, None, None, None, words.HIDDEN, is_marked)
    text = f"{words.percent(row['risk'])} ({row['n_events']:,} of {row['n_units']:,})"
    return Dot(label, row["ci_low"], row["risk"], row["ci_high"], text, is_marked)


def _figure(
    name: str, title: str, groups: Sequence[Group], rows: Sequence[Row], notes: tuple[str, ...]
) -> Figure:
    if not rows:
        return Figure(name, title, absent="The study does not divide its infusions by this.")
    table = _table(rows, title)
    if not groups:
        absent = "No count may be shown: it is small, or would tell of one that is."
        return Figure(name, title, absent=absent, notes=notes, table=table)
    drawn = svg(dot_chart(groups, "Risk with 95 % interval"), name, title, _finding(groups))
    return Figure(name, title, svg=drawn, notes=notes, table=table)


def _finding(groups: Sequence[Group]) -> str:
    group = groups[0]
    told = [f"{dot.label} {dot.text}" for dot in group.dots]
    return f"{group.title}: {'; '.join(told)}. The table below has all numbers."


def _trace(rows: Sequence[Row]) -> str:
    keys = [row["signal_key"] for row in rows if row["risk"] is not None] or [""]
    if not keys[0]:
        return ""
    return f"To the infusions behind a number: dripwatch explain --signal '{keys[0]}'"


def _table(rows: Sequence[Row], title: str) -> Table:
    body = [_row(row) for row in rows[:MAX_ROWS]]
    cut = (
        f" The first {MAX_ROWS} of {len(rows):,} rows; signals.risk has all."
        if len(rows) > MAX_ROWS
        else ""
    )
    denominators = sorted({row["denominator"] for row in rows})
    means = "; ".join(f"{name}: {words.DENOMINATORS.get(name, name)}" for name in denominators)
    return Table(f"{title}. Denominator {means}.{cut}", _HEAD, tuple(body))


def _row(row: Row) -> TableRow:
    value = words.value_words(row["stratum"], row["stratum_value"])
    head = (
        Cell(row["label"], is_head=True),
        Cell("all" if row["stratum"] == "all" else value, "stratum_value"),
    )
    if row["suppressed_reason"]:
        numbers = (Cell(words.HIDDEN, is_number=True),) * 5
        return TableRow((*head, *numbers, Cell(_WITHHELD)), row["signal_key"])
    numbers = (
        Cell(words.count(row["n_events"]), "n_events", is_number=True),
        Cell(words.count(row["n_units"]), "n_units", is_number=True),
        Cell(words.percent(row["risk"]), "risk", is_number=True),
        Cell(words.interval(row["ci_low"], row["ci_high"]), "ci", is_number=True),
        Cell(words.interval(row["wilson_low"], row["wilson_high"]), "wilson", is_number=True),
    )
    remarks = (words.NOTES.get(row["note"], row["note"] or ""), words.as_of(row["as_of"]))
    remark = Cell(". ".join(one for one in remarks if one))
    return TableRow((*head, *numbers, remark), row["signal_key"])
