"""Bone density and fractures, after treatment against before: of the same patients, not causal."""

from __future__ import annotations

from collections.abc import Sequence

from warehouse.report import words
from warehouse.report.charts import svg
from warehouse.report.dots import Dot, Group, number_chart
from warehouse.report.masking import is_small
from warehouse.report.page import Cell, Figure, Table
from warehouse.report.page import Row as TableRow
from warehouse.report.read import Row, Source

_TITLES = {
    "density_z_change": "Bone density: change of the lumbar-spine Z-score",
    "fracture_rate_ratio": "Fractures per patient-year: after over before",
}
MEASURES = tuple(_TITLES)
_AXES = {
    "density_z_change": "Change in standard deviations, 95 % interval",
    "fracture_rate_ratio": "Ratio, 95 % interval; 1 is no change",
}
_HEAD = ("Who", "Patients", "Before", "After", "Estimate", "95 % interval", "Remark")
_NOTES = (
    "Before-after, not causal: children grow, are treated because of a fracture, and who leaves is "
    "not measured again.",
    "A patient counts once: the interval is over patients. Times around the start are left out, as "
    "the study says (docs/reference/study.md, effectiveness).",
)
#: Counts of patients or of their fractures: one that is small hides the row.
_COUNTS = ("n_patients", "n_events_before", "n_events_after")


def effect(source: Source, study_id: str, measure: str, known: set[int], prefix: str) -> Figure:
    """Return the picture of one measure of `signals.effectiveness`.

    Args:
        source: the warehouse.
        study_id: whose rows.
        measure: density_z_change or fracture_rate_ratio.
        known: numbers of patients that the page shows elsewhere.
        prefix: of the figure's id.
    """
    name, title = f"{prefix}-{measure.replace('_', '-')}", _TITLES[measure]
    rows = _rows(source, study_id, measure, known)
    if not rows:
        return Figure(name, title, absent="The study compares nothing before and after.")
    table = Table(f"{title}. Before-after, not causal.", _HEAD, tuple(map(_row, rows)))
    drawn = [row for row in rows if row["estimate"] is not None]
    if not drawn:
        why = sorted({row["note"] or words.HIDDEN for row in rows})
        return Figure(name, title, absent=f"No estimate: {words.listed(why)}.", table=table)
    chart = number_chart(_groups(drawn), _AXES[measure])
    finding = f"{_who(drawn[0])}: {_text(drawn[0])}. The table below has all numbers."
    names = [_name(study_id, measure, one) for one in {row["stratum"] for row in rows}]
    notes = (*_NOTES, *source.held.notes(*names))
    return Figure(name, title, svg=svg(chart, name, title, finding), notes=notes, table=table)


def _rows(source: Source, study_id: str, measure: str, known: set[int]) -> list[Row]:
    if not source.has("signals.effectiveness"):
        return []
    rows = source.rows(
        """SELECT *, concat_ws('/', study_id, measure, stratum || '=' || stratum_value) AS key
        FROM signals.effectiveness WHERE study_id = ? AND measure = ?
        ORDER BY stratum = 'all' DESC, stratum, stratum_value""",
        [study_id, measure],
    )
    masked = _masked(rows, known, source.min_cell)
    told: list[Row] = []
    for stratum in dict.fromkeys(row["stratum"] for row in rows):
        some = [_without_run(row) for row in masked if row["stratum"] == stratum]
        counts = {
            f"{row['stratum_value']}/{name}": row[name]
            for row in rows
            for name in _COUNTS
            if row["stratum"] == stratum and row[name] is not None
        }
        name = _name(study_id, measure, stratum)
        if not source.held.has(name) and all(row["note"] == words.HIDDEN for row in some):
            told += some
            continue
        # A stratum adds up to all patients: it is told anew only with them.
        may_move = all(_without_run(row) in told for row in masked if row["stratum"] == "all")
        found = source.held.rows(name, some, counts, may_move=may_move or stratum == "all")
        told += found or [_hidden(row) for row in some]
    return told


def _name(study_id: str, measure: str, stratum: str) -> str:
    """Return the name of what is held, the same every night."""
    return f"effect/{study_id}/{measure}/{stratum}"


def _without_run(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "run_id"}


def _masked(rows: Sequence[Row], known: set[int], min_cell: int) -> list[Row]:
    """Hide a stratum as a whole where one of its rows is small; numbers of patients by themselves.

    The patients compared are among those treated: where nearly all are, both numbers would tell
    how many are not.
    """
    small = {
        row["stratum"] for row in rows if any(is_small(row[name], min_cell) for name in _COUNTS)
    }
    told = []
    for row in rows:
        if row["stratum"] in small:
            told.append(_hidden(row))
        elif row["stratum"] != "all" or any(
            is_small(abs(row["n_patients"] - one), min_cell) for one in known
        ):
            told.append({**row, "n_patients": None})
        else:
            told.append(row)
    return told


def _hidden(row: Row) -> Row:
    kept = ("stratum", "stratum_value", "key")
    return {**{name: row[name] if name in kept else None for name in row}, "note": words.HIDDEN}


def _groups(rows: Sequence[Row]) -> list[Group]:
    whole = [row for row in rows if row["stratum"] == "all"]
    groups = [Group("", tuple(map(_dot, whole)))] if whole else []
    for stratum in dict.fromkeys(row["stratum"] for row in rows if row["stratum"] != "all"):
        some = tuple(_dot(row) for row in rows if row["stratum"] == stratum)
        groups.append(Group(f"By {words.STRATA.get(stratum, stratum)}", some))
    return groups


def _dot(row: Row) -> Dot:
    return Dot(_who(row), row["ci_low"], row["estimate"], row["ci_high"], _text(row))


def _who(row: Row) -> str:
    if row["stratum"] == "all":
        return "all patients"
    return words.value_words(row["stratum"], row["stratum_value"])


def _text(row: Row) -> str:
    patients = f" ({row['n_patients']:,} patients)" if row["n_patients"] is not None else ""
    return f"{words.number(row['estimate'])}{patients}"


def _row(row: Row) -> TableRow:
    spread = words.DASH
    if row["ci_low"] is not None:
        spread = f"{words.number(row['ci_low'])} to {words.number(row['ci_high'])}"
    cells = (
        Cell(_who(row), is_head=True),
        Cell(_patients(row), "n_patients", is_number=True),
        Cell(words.number(row["value_before"]), "value_before", is_number=True),
        Cell(words.number(row["value_after"]), "value_after", is_number=True),
        Cell(words.number(row["estimate"]), "estimate", is_number=True),
        Cell(spread, "ci", is_number=True),
        Cell(row["note"] or ""),
    )
    return TableRow(cells, row["key"])


def _patients(row: Row) -> str:
    return words.HIDDEN if row["n_patients"] is None else words.count(row["n_patients"])
