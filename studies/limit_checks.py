"""What can be wrong in a study's tables of cuts and limits, each with its file and line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipelines.base.errors import ConfigError
from pipelines.base.tomlcheck import did_you_mean
from studies.analytes import analytes
from studies.limit_tables import (
    CUT_COLUMNS,
    OF,
    OF_UNIT,
    SHARED,
    SIDES,
    TableUse,
    limit_files,
    numbered_rows,
    tables_used,
)

if TYPE_CHECKING:
    from studies.load import Study

SEXES = ("female", "male", "other", "unknown")
NO_BAND = (-math.inf, math.inf)


class Row(NamedTuple):
    """A row of a table and where it stands."""

    where: str
    text: dict[str, str]

    @property
    def band(self) -> tuple[float, float]:
        """First completed month of age, and the first that is no longer in."""
        start, until = self.text["from_months"], self.text["until_months"]
        return (float(start) if start else -math.inf, float(until) if until else math.inf)


def limit_mistakes(study: Study) -> list[str]:
    """Return every mistake of the tables that a study uses; none where they are sound."""
    files = limit_files(study.folder)
    found: list[str] = []
    for use in tables_used(study.model):
        file = files.get(use.table)
        if file is None:
            found.append(
                f"outcome {use.outcome}: there is no limits/{use.table}.csv"
                + (did_you_mean(use.table, files) or "; add it, or name another table")
            )
        else:
            found += _table_mistakes(use, file)
    return list(dict.fromkeys(found))


def _table_mistakes(use: TableUse, file: Path) -> list[str]:
    name = f"{'studies/' if file.parent == SHARED else ''}limits/{file.name}"
    try:
        rows = [Row(f"{name}:{line}", text) for line, text in numbered_rows(file)]
    except ConfigError as error:
        return [f"{Path(name).parent}/{error.where}: {error.what} {error.remedy}"]
    if not rows:
        return [f"{name}:1: the table has no rows"]
    if tuple(rows[0].text) != use.columns:
        return [f"{name}:1: the columns must be: {', '.join(use.columns)}"]
    if use.columns == CUT_COLUMNS:
        each, whole = _cut_mistakes, _scale_mistakes
    else:
        each, whole = _limit_mistakes, _band_mistakes
    found = [f"{row.where}: {said}" for row in rows for said in each(row.text, use.concept)]
    return found or list(whole(rows))


def _cut_mistakes(row: dict[str, str], concept: str) -> Iterator[str]:
    if row["grade"] not in {"1", "2", "3", "4"}:
        yield "grade must be 1, 2, 3 or 4"
    if row["side"] not in SIDES:
        yield f"there is no side {row['side']!r}; known are {', '.join(SIDES)}"
    if row["of"] not in OF:
        yield f"a cut is of {', '.join(OF)}, not of {row['of']!r}"
    elif row["of"] in OF_UNIT:
        yield from _unit_mistakes(row["unit"], concept)
    elif row["unit"]:
        yield f"a multiple of {row['of']} has no unit"
    if not _is_number(row["cut"]):
        yield "cut must be a number"
    elif row["of"] not in OF_UNIT and float(row["cut"]) <= 0:
        yield "a multiple must be above zero"
    yield from _month_mistakes(row, may_be_empty=True)


def _limit_mistakes(row: dict[str, str], concept: str) -> Iterator[str]:
    if "low" not in row:
        told = [row["high"]]
    else:
        told = [text for text in (row["low"], row["high"]) if text]
        if not told:
            yield "low, high or both must be given"
        yield from _unit_mistakes(row["unit"], concept)
        if row["sex"] not in SEXES:
            yield f"there is no sex {row['sex']!r}; known are {', '.join(SEXES)}"
    if not all(_is_number(text) for text in told):
        yield f"{' and '.join(sorted({'low', 'high'} & row.keys()))} must be a number"
    elif len(told) > 1 and float(row["low"]) >= float(row["high"]):
        yield "low must be below high"
    yield from _month_mistakes(row, may_be_empty=False)


def _unit_mistakes(unit: str, concept: str) -> Iterator[str]:
    """Results are compared in one unit of each unit system: only these can be met."""
    known = {one.system_unit for one in analytes() if one.concept == concept}
    if known and unit not in known:
        yield f"{unit!r} is no unit that {concept} is graded in: {', '.join(sorted(known))}"


def _month_mistakes(row: dict[str, str], *, may_be_empty: bool) -> Iterator[str]:
    months = [row["from_months"], row["until_months"]]
    if may_be_empty:
        months = [text for text in months if text]
    if not all(text.isascii() and text.isdigit() for text in months):
        yield "from_months and until_months must be a whole number"
    elif len(months) > 1 and int(months[0]) >= int(months[1]):
        yield "a band of age ends before it starts"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _band_mistakes(rows: list[Row]) -> Iterator[str]:
    """Bands of age, per sex and unit where the table has them, must neither overlap nor gape."""
    groups: dict[tuple[str | None, str | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.text.get("sex"), row.text.get("unit")), []).append(row)
    for group in groups.values():
        yield from _contiguous(group)


def _contiguous(rows: list[Row]) -> Iterator[str]:
    for one, other in pairwise(sorted(rows, key=lambda row: row.band)):
        if one.band == other.band:
            yield f"{other.where}: the same is told in {one.where}"
        elif one.band[1] != other.band[0]:
            yield f"{other.where}: bands of age overlap or leave a gap; compare {one.where}"


def _scale_mistakes(rows: list[Row]) -> Iterator[str]:
    """Each grade once at each age, cuts farther out from grade to grade, alike in every unit."""
    scales: dict[tuple[bool, str, str], dict[int, list[Row]]] = {}
    for row in rows:
        kind = (_looks_below(row), row.text["of"], row.text["unit"])
        scales.setdefault(kind, {}).setdefault(int(row.text["grade"]), []).append(row)
    for scale in scales.values():
        for grade in scale.values():
            yield from _contiguous(grade)
        for lower, higher in pairwise(sorted(scale)):
            yield from _not_farther_out(scale[lower], scale[higher])
    yield from _lacking_in_a_unit(rows)


def _looks_below(row: Row) -> bool:
    return row.text["side"].endswith("below")


def _reach(row: Row) -> tuple[float, bool]:
    """How far out a cut lies, growing outwards: at the same number, `at_or` is met first."""
    cut = float(row.text["cut"])
    return (-cut if _looks_below(row) else cut, not row.text["side"].startswith("at_or"))


def _not_farther_out(lower: list[Row], higher: list[Row]) -> Iterator[str]:
    for one in lower:
        for other in higher:
            is_shared = one.band[0] < other.band[1] and other.band[0] < one.band[1]
            if is_shared and _reach(other) <= _reach(one):
                yield f"{other.where}: its cut is not farther out than that of {one.where}"


def _lacking_in_a_unit(rows: list[Row]) -> Iterator[str]:
    """A grade that one unit has and another lacks would never be given to results in the other."""
    units = {row.text["unit"] for row in rows if row.text["unit"]}
    told = {
        unit: {
            (_looks_below(row), row.text["of"], row.text["grade"], row.band)
            for row in rows
            if row.text["unit"] == unit
        }
        for unit in units
    }
    for row in rows:
        what = (_looks_below(row), row.text["of"], row.text["grade"], row.band)
        for unit in sorted(units - {row.text["unit"]}) if row.text["unit"] else []:
            if what not in told[unit]:
                yield f"{row.where}: grade {row.text['grade']} is not told in {unit}"
